//! `hessra policy …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Confirmation, Retry};

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Everything that is wrong with the files, with its place. Asks no server. Exit 3 when they are not valid.
    Validate(PolicyFiles),
    /// Who would gain or lose what, and the lines that differ. Exit 3 when something differs.
    Diff(DiffPolicy),
    /// Replace the policy: shows the difference, asks, and fails (exit 7) when somebody else was first.
    Apply(ApplyPolicy),
    /// May a subject do this, and which rule decides? Exit 3 when not.
    Check(CheckPolicy),
    /// The policy that stands, or an earlier one.
    Show(ShowPolicy),
    /// Versions, newest first: who, when, why.
    History {
        /// At most this many.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
        limit: u32,
    },
    /// Apply the files of an earlier revision anew, under a new revision.
    Rollback(RollbackPolicy),
}

/// The files of a policy.
#[derive(Clone, Debug, Args)]
pub(crate) struct PolicyFiles {
    /// A folder with `clients.toml` and perhaps `resources.toml`; or the clients file itself.
    #[arg(value_name = "FOLDER|CLIENTS")]
    pub clients: PathBuf,
    /// The resources file, when the clients file was named.
    #[arg(value_name = "RESOURCES")]
    pub resources: Option<PathBuf>,
}

/// `policy diff`
#[derive(Debug, Args)]
pub(crate) struct DiffPolicy {
    #[command(flatten)]
    pub files: PolicyFiles,
    /// Compare with this revision instead of the one that stands.
    #[arg(long, value_name = "REV")]
    pub revision: Option<u64>,
}

/// Why the policy is changed.
#[derive(Clone, Debug, Args)]
pub(crate) struct PolicyReason {
    /// Why, for people.
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Where the story is told.
    #[arg(long, value_name = "ID")]
    pub ticket: Option<String>,
    /// Also when its author, or everybody, would be locked out.
    #[arg(long)]
    pub allow_lockout: bool,
}

/// `policy apply`
#[derive(Debug, Args)]
pub(crate) struct ApplyPolicy {
    #[command(flatten)]
    pub files: PolicyFiles,
    /// Revision that the files were made from [default: the one whose difference is shown].
    #[arg(long, value_name = "REV")]
    pub based_on: Option<u64>,
    #[command(flatten)]
    pub reason: PolicyReason,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}

/// `policy check`
#[derive(Debug, Args)]
pub(crate) struct CheckPolicy {
    /// Who wants to.
    pub subject: String,
    /// What: `read`.
    pub operation: String,
    /// On what: `api`.
    pub resource: String,
    /// Ask these files instead of the cluster: a folder, or the clients file.
    #[arg(long, value_name = "FOLDER|CLIENTS")]
    pub policy: Option<PathBuf>,
}

/// `policy show`
#[derive(Debug, Args)]
pub(crate) struct ShowPolicy {
    /// This revision instead of the one that stands.
    #[arg(value_name = "REV")]
    pub revision: Option<u64>,
    /// Write the two files into this folder, to change and apply them.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// `policy rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackPolicy {
    /// Revision to go back to, of `hessra policy history`.
    #[arg(value_name = "REV", value_parser = clap::value_parser!(u64).range(1..))]
    pub revision: u64,
    /// Revision that stands [default: the one whose difference is shown].
    #[arg(long, value_name = "REV")]
    pub based_on: Option<u64>,
    #[command(flatten)]
    pub reason: PolicyReason,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}
