//! `hessra identity …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hessra_settings::duration;

/// What to do with identity tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Get an identity token over mTLS.
    Authenticate(Authenticate),
    /// Make a token for an identity below, offline.
    Delegate(Delegate),
    /// Does a token prove an identity now? Exit 0 yes, 3 no, 10 cannot tell.
    Verify(VerifyIdentity),
    /// Replace a stored token by a fresh one; needs nothing but the token.
    Refresh(RefreshIdentity),
    /// Get a token for a subject of your realm.
    Mint(MintIdentity),
    /// Stored tokens.
    List(ListTokens),
    /// What a token says, without judging it.
    Inspect(InspectToken),
    /// Forget the stored tokens that have expired.
    Prune(PruneTokens),
    /// Forget a stored token. It stays valid: `hessra revoke` ends it.
    Delete(DeleteToken),
}

/// `identity authenticate`
#[derive(Debug, Args)]
pub(crate) struct Authenticate {
    /// Wished lifetime; the policy bounds it.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_argument)]
    pub ttl: Option<Duration>,
    /// Store the token under this name [default: default].
    #[arg(long, value_name = "NAME")]
    pub save_as: Option<String>,
    /// Print the token and store nothing.
    #[arg(long, conflicts_with = "save_as")]
    pub token_only: bool,
}

/// `identity delegate`
#[derive(Debug, Args)]
pub(crate) struct Delegate {
    /// Token to delegate from: `-`, `@FILE`, a stored name, or a token [default: HESSRA_IDENTITY, then `default`].
    #[arg(long, value_name = "TOKEN")]
    pub from_token: Option<String>,
    /// Identity to delegate to; it lies below the one of the token.
    #[arg(short, long)]
    pub identity: String,
    /// Lifetime of the delegated token.
    #[arg(long, default_value = "3600", value_name = "DURATION", value_parser = duration::parse_argument)]
    pub ttl: Duration,
    /// A further check, in Datalog, that every use must satisfy.
    #[arg(long, value_name = "DATALOG")]
    pub check: Option<String>,
    /// Store the token under this name.
    #[arg(long, value_name = "NAME")]
    pub save_as: Option<String>,
    /// Print the token and nothing else.
    #[arg(long)]
    pub token_only: bool,
    #[command(flatten)]
    pub public_key: PublicKeyArguments,
}

/// `identity verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyIdentity {
    #[command(flatten)]
    pub token: StoredTokenArguments,
    /// Identity that the token must prove [default: the one it was delegated to].
    #[arg(short, long)]
    pub identity: Option<String>,
    /// Fail when less than --min-ttl is left.
    #[arg(long)]
    pub check_expiry: bool,
    /// What --check-expiry asks for.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = duration::parse_argument, requires = "check_expiry")]
    pub min_ttl: Duration,
    /// Ask nobody about revocations, and say so; what is known here to be revoked is denied.
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub public_key: PublicKeyArguments,
}

/// `identity refresh`
#[derive(Debug, Args)]
pub(crate) struct RefreshIdentity {
    /// Name of the stored token [default: default].
    #[arg(long, value_name = "NAME")]
    pub token_name: Option<String>,
    /// Store the fresh token under another name [default: the same].
    #[arg(long, value_name = "NAME")]
    pub save_as: Option<String>,
}

/// `identity mint`
#[derive(Debug, Args)]
pub(crate) struct MintIdentity {
    /// Whose identity: below your own, which must be a realm of the policy.
    #[arg(long, value_name = "ID")]
    pub subject: String,
    /// Wished lifetime; the policy bounds it.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_argument)]
    pub ttl: Option<Duration>,
    /// Store the token under this name.
    #[arg(long, value_name = "NAME")]
    pub save_as: Option<String>,
    /// Print the token and nothing else.
    #[arg(long)]
    pub token_only: bool,
}

/// `identity prune`
#[derive(Debug, Args)]
pub(crate) struct PruneTokens {
    /// Show what would be forgotten, forget nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(short, long, visible_alias = "yes", short_alias = 'y')]
    pub force: bool,
}

/// `identity list`
#[derive(Debug, Args)]
pub(crate) struct ListTokens {
    /// Identity and expiry of each.
    #[arg(long)]
    pub details: bool,
}

/// `identity inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectToken {
    #[command(flatten)]
    pub token: StoredTokenArguments,
    /// Token itself: `-`, `@FILE`, a stored name, or a token.
    #[arg(value_name = "TOKEN", conflicts_with_all = ["token_name", "token_file"])]
    pub positional: Option<String>,
}

/// `identity delete`
#[derive(Debug, Args)]
pub(crate) struct DeleteToken {
    /// Name of the stored token.
    pub name: String,
}

/// Which stored token.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct StoredTokenArguments {
    /// Name of a stored token [default: HESSRA_IDENTITY, then `default`].
    #[arg(long, value_name = "NAME")]
    pub token_name: Option<String>,
    /// File with a token; `-` is stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "token_name")]
    pub token_file: Option<PathBuf>,
}

/// Which key signs the tokens, when it is not the one learnt from the cluster.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PublicKeyArguments {
    /// Signing key of the authority, PEM text.
    #[arg(
        long,
        env = "HESSRA_PUBLIC_KEY",
        hide_env_values = true,
        value_name = "PEM"
    )]
    pub public_key: Option<String>,
    /// Signing key of the authority, PEM file.
    #[arg(long, value_name = "FILE")]
    pub public_key_file: Option<PathBuf>,
}
