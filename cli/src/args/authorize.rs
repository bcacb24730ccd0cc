//! `hessra authorize …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Format, PublicKeyArguments};

/// What to do with authorization tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorizeCommand {
    /// Ask for a token that permits one operation on one resource.
    Request(AuthorizeRequest),
    /// Does a token permit it now? Exit 0 yes, 3 no, 10 cannot tell.
    Verify(AuthorizeVerify),
}

/// `authorize request`
#[derive(Debug, Args)]
pub(crate) struct AuthorizeRequest {
    /// Resource.
    #[arg(short, long)]
    pub resource: String,
    /// Operation.
    #[arg(short, long)]
    pub operation: String,
    /// Domain of a domain-restricted identity.
    #[arg(long)]
    pub domain: Option<String>,
    /// Identity token to ask with: a stored name or `@FILE` [default: HESSRA_IDENTITY, then `default`, else mTLS].
    #[arg(
        id = "identity_token",
        short = 'i',
        long = "identity-token",
        global = true,
        value_name = "NAME|@FILE"
    )]
    pub with_token: Option<String>,
    /// File with the identity token to ask with.
    #[arg(short, long, value_name = "FILE", conflicts_with = "identity_token")]
    pub token_file: Option<PathBuf>,
    /// Print the token and nothing else, not even a newline.
    #[arg(long)]
    pub token_only: bool,
    #[command(flatten)]
    pub public_key: PublicKeyArguments,
    #[command(flatten)]
    pub without_short: OutputWithoutShort,
}

/// `authorize verify`
#[derive(Debug, Args)]
pub(crate) struct AuthorizeVerify {
    /// The token: `-`, `@FILE` or the token itself [default: stdin].
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Who wants to do it.
    #[arg(short, long)]
    pub subject: String,
    /// Resource.
    #[arg(short, long)]
    pub resource: String,
    /// Operation.
    #[arg(short, long)]
    pub operation: String,
    /// Ask nobody about revocations, and say so; what is known here to be revoked is denied.
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub public_key: PublicKeyArguments,
    #[command(flatten)]
    pub without_short: OutputWithoutShort,
    /// A node, `HOST[:PORT]`; more with commas or by repeating.
    #[arg(
        id = "server",
        long = "server",
        global = true,
        value_delimiter = ',',
        value_name = "HOST[:PORT]"
    )]
    #[arg(env = "HESSRA_SERVER", help_heading = "Connection")]
    pub without_short_server: Vec<String>,
}

/// The global `--output` without `-o`, which is the operation here.
#[derive(Debug, Args)]
pub(crate) struct OutputWithoutShort {
    /// Form of the answer on stdout [default: text].
    #[arg(
        id = "output",
        long = "output",
        global = true,
        env = "HESSRA_OUTPUT",
        value_name = "FORMAT"
    )]
    #[arg(help_heading = "Output")]
    pub format: Option<Format>,
}
