//! `hessra token …`

use clap::{Args, Subcommand};

use super::{OutputWithoutShort, PublicKeyArguments};

/// What to look at in a token.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// What a token says, without judging it.
    Inspect(InspectAny),
    /// Why a token is denied, or permitted: step by step, with the failing check, its facts and the limits. Exit 0 yes,
    /// 3 no, 10 cannot tell.
    Explain(ExplainToken),
}

/// `token inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectAny {
    /// The token: `-`, `@FILE`, a stored name, or a token [default: HESSRA_IDENTITY, then `default`].
    #[arg(value_name = "TOKEN")]
    pub token: Option<String>,
}

/// `token explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainToken {
    /// The token: `-`, `@FILE`, a stored name, or a token [default: HESSRA_IDENTITY, then `default`].
    #[arg(value_name = "TOKEN")]
    pub token: Option<String>,
    /// Identity that it should prove; of an identity token.
    #[arg(short, long, conflicts_with = "subject")]
    pub identity: Option<String>,
    /// Who wants to do it; of an authorization token.
    #[arg(short = 'S', long)]
    pub subject: Option<String>,
    /// Resource [default: the one that the token grants].
    #[arg(short, long)]
    pub resource: Option<String>,
    /// Operation [default: the one that the token grants].
    #[arg(short, long)]
    pub operation: Option<String>,
    /// Ask nobody about revocations, and say so; what is known here to be revoked is denied.
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub public_key: PublicKeyArguments,
    #[command(flatten)]
    pub without_short: OutputWithoutShort,
}
