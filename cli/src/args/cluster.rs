//! `hessra cluster …`

use clap::{Args, Subcommand};

use super::{Confirmation, Retry};

/// What to do with members.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Members, their roles and addresses.
    Members,
    /// Add a node that has no vote yet and let it catch up.
    Add(AddMember),
    /// Give a node that has caught up a vote.
    Promote(PromoteMember),
    /// Take a node out. Refused when the rest would have no quorum.
    Remove(RemoveMember),
    /// Hand leadership to another voter.
    Transfer(TransferLeadership),
    /// Set the time of the cluster back, after the machines' clocks had jumped ahead and were put right.
    SetClockBack(SetClockBack),
}

/// `cluster add`
#[derive(Debug, Args)]
pub(crate) struct AddMember {
    /// Number of the new node, as in its configuration.
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub id: u64,
    /// Where the other nodes reach it, `HOST:PORT`.
    #[arg(long, value_name = "HOST:PORT")]
    pub peer: String,
    /// Where clients reach it, `HOST:PORT`.
    #[arg(long, value_name = "HOST:PORT")]
    pub public: String,
    #[command(flatten)]
    pub retry: Retry,
}

/// `cluster promote`
#[derive(Debug, Args)]
pub(crate) struct PromoteMember {
    #[command(flatten)]
    pub member: MemberArguments,
    #[command(flatten)]
    pub retry: Retry,
}

/// Which member.
#[derive(Debug, Args)]
pub(crate) struct MemberArguments {
    /// Number of the node.
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub id: u64,
}

/// `cluster remove`
#[derive(Debug, Args)]
pub(crate) struct RemoveMember {
    #[command(flatten)]
    pub member: MemberArguments,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}

/// `cluster transfer`
#[derive(Debug, Args)]
pub(crate) struct TransferLeadership {
    /// Number of the voter that shall lead.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub to: u64,
    #[command(flatten)]
    pub retry: Retry,
}

/// `cluster set-clock-back`
#[derive(Debug, Args)]
pub(crate) struct SetClockBack {
    /// How often it is set back then: for asking again for a change whose outcome is unknown.
    #[arg(long, value_name = "N", requires = "request_id")]
    pub number: Option<u64>,
    /// Ticket that tells the story.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub ticket: String,
    #[command(flatten)]
    pub retry: Retry,
}
