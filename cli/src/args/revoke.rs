//! `hessra revoke …`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hessra_settings::duration;

use super::{Confirmation, Retry, WaitFor};

/// `revoke`
#[derive(Debug, Args)]
#[command(after_help = "\
Denies everything issued so far; a fresh token for the same name works again, a re-delegated old one does not.
The command returns when the verifiers enforce it (see --wait). Ctrl-C after the commit does not undo it.")]
pub(crate) struct RevokeArguments {
    #[command(flatten)]
    pub target: TargetArguments,
    /// Until lifted, also refuse to issue anything it covers.
    #[arg(long, conflicts_with = "until")]
    pub permanent: bool,
    /// Deny until then and no longer: a duration, or a timestamp.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Why: compromised, superseded, left, test, …
    #[arg(long, default_value = "unspecified", value_name = "WORD")]
    pub reason: String,
    /// Where it is discussed.
    #[arg(long, value_name = "ID")]
    pub ticket: Option<String>,
    /// For those who read it later.
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Even nearer to the root than the policy's minimum depth, and a name that nothing is known to have.
    #[arg(long)]
    pub force: bool,
    /// Return when: `none` and `commit` after the commit, `verifiers[:95%|:N]` when all, a share, or N enforce it.
    #[arg(long, default_value = "verifiers", value_name = "WHAT")]
    pub wait: WaitFor,
    /// How long to wait for the verifiers.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration::parse_argument)]
    pub wait_timeout: Duration,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}

/// What to revoke: exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArguments {
    /// An identity and everything below it (the same as --subtree).
    #[arg(value_name = "ID")]
    pub positional: Option<String>,
    /// An identity and everything below it.
    #[arg(long, value_name = "ID")]
    pub subtree: Option<String>,
    /// One identity, not what is below it.
    #[arg(long, value_name = "ID")]
    pub identity: Option<String>,
    /// A token by one of its block ids, in hex and whole.
    #[arg(long, value_name = "HEX")]
    pub token_id: Option<String>,
    /// A stored token, by its last block id.
    #[arg(long, value_name = "NAME")]
    pub token_name: Option<String>,
    /// A token in a file, by its last block id.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Signatures by this key of a service, party, attestor or activator: `ed25519/HEX` or `secp256r1/HEX`.
    #[arg(long, value_name = "KEY")]
    pub signer: Option<String>,
    /// Tokens and sessions issued over this client certificate (PEM or DER file).
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
}
