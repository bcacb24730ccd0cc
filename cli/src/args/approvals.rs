//! `hessra approvals …`

use clap::{Args, Subcommand};

use super::{Confirmation, Retry};

/// What to do with actions that wait for a second person.
#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// What waits.
    List,
    /// One of them, with everything that is to be read before approving.
    Show {
        /// Its name, `ap_…`.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Do it, as the second person.
    Approve(Approve),
    /// Take it back.
    Cancel {
        /// Its name, `ap_…`.
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        retry: Retry,
    },
}

/// `approvals approve`
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Its name, `ap_…`.
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}
