//! `hessra revocations …`

use std::time::Duration;

use clap::{Args, Subcommand};
use hessra_settings::duration;

use super::{Confirmation, Retry};

/// What to do with revocations.
#[derive(Debug, Subcommand)]
pub(crate) enum RevocationsCommand {
    /// Newest last.
    List(ListArguments),
    /// One, with everything known about it.
    Show {
        /// `rv_…`, or what was revoked.
        id: String,
    },
    /// How far one has got; without an id, every new one as it is made.
    Watch(WatchArguments),
    /// Permit again what is issued from now on. What was issued before stays denied, unless --restore.
    Lift(LiftArguments),
    /// Remove what one operator has revoked alone: its certificate was stolen, or it meant harm.
    Undo(UndoArguments),
}

/// `revocations list`
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only those made in this time.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_argument)]
    pub since: Option<Duration>,
    /// Only those that this operator made.
    #[arg(long, value_name = "OPERATOR")]
    pub by: Option<String>,
    /// Only those that this operator lifted.
    #[arg(long, value_name = "OPERATOR")]
    pub lifted_by: Option<String>,
    /// Also those lifted.
    #[arg(long)]
    pub all: bool,
    /// At most this many.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// `revocations watch`
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// `rv_…`
    pub id: Option<String>,
    /// Stop after this time [default: with an id 30s, else never].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_argument)]
    pub wait_timeout: Option<Duration>,
}

/// `revocations lift`
#[derive(Debug, Args)]
pub(crate) struct LiftArguments {
    /// `rv_…`, or what was revoked.
    pub id: String,
    /// Why.
    #[arg(long, default_value = "unspecified", value_name = "WORD")]
    pub reason: String,
    /// What was issued before lives again, too: the revocation was a mistake. May need a second person.
    #[arg(long)]
    pub restore: bool,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}

/// `revocations undo`
#[derive(Debug, Args)]
#[command(after_long_help = "\
What that operator made together with a second one stays, and so does what others have revoked of the same targets. First \
revoke the operator, or remove it from the policy: what it revokes afterwards is not removed. What it has lifted is named, \
and stays lifted. Its other changes: `hessra policy history`, `hessra keys list`, `hessra approvals list`.")]
pub(crate) struct UndoArguments {
    /// Operator, as the list of revocations names it.
    #[arg(long, value_name = "OPERATOR")]
    pub by: String,
    /// Only what was revoked from then on: so long ago, or a timestamp.
    #[arg(long, value_name = "DURATION|TIME")]
    pub since: Option<String>,
    /// Why.
    #[arg(long, default_value = "unspecified", value_name = "WORD")]
    pub reason: String,
    /// Ticket that tells the story.
    #[arg(long, default_value = "", value_name = "ID")]
    pub ticket: String,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}
