//! `hessra audit …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hessra_sdk_rust::v1::AuditChain;
use hessra_settings::duration;

use super::{Confirmation, Retry};

/// What to do with the audit.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// The newest records of all nodes, merged by time.
    Tail(TailAudit),
    /// Records that conditions mean, newest first, of all nodes.
    ///
    /// A condition is FIELD=VALUE or FIELD!=VALUE; all must hold. A field is a path as in the JSON (event, outcome,
    /// reason, actor.subject, actor.ip, target.subject, target.resource, target.token_ids, request.id, ticket,
    /// change.NAME, …); `subject` is the actor's or the target's, `token` an id of a token. A VALUE with `*` at its end
    /// is a prefix: event=authz.*
    Search(SearchAudit),
    /// Is the audit whole and unchanged? Names the first record that is wrong (exit 3).
    ///
    /// Without a path every node is asked for all of its records, and they are checked here, also against the heads that
    /// the other members have witnessed. With a path the files of a node (the folder `audit` of its data directory), or an
    /// export, are checked without asking anybody; with --witnessed, against what the members have witnessed. Records that
    /// retention deleted before anybody had exported them are lost, and fail the check.
    ///
    /// Each change by an operator must have the proof of its author: a signature of what was changed.
    Verify(VerifyAudit),
    /// All records of a node or of all nodes, for another system.
    ///
    /// When all of them are written, the nodes are told, and what their retention deletes afterwards is not lost.
    Export(ExportAudit),
    /// How far the audit of each node is, as the cluster has witnessed it. Keep it elsewhere: a copy of a folder that does
    /// not contain these heads was changed.
    Heads,
    /// Accept that the audit of a node is lost, so that it may begin a new one.
    ///
    /// A node whose audit is not the one that the cluster has witnessed records nothing, and so issues nothing. Keep a copy
    /// of its folder and find out why first: what is accepted here stands in the audit of every member.
    AcceptLoss(AcceptAuditLoss),
}

/// `audit tail`
#[derive(Debug, Args)]
pub(crate) struct TailAudit {
    /// FIELD=VALUE, as for `search`.
    pub conditions: Vec<String>,
    /// Go on with what comes.
    #[arg(short, long)]
    pub follow: bool,
    /// So many of each node first.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub last: u32,
}

/// `audit search`
#[derive(Debug, Args)]
pub(crate) struct SearchAudit {
    /// FIELD=VALUE
    pub conditions: Vec<String>,
    /// Only those of this time.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_argument)]
    pub since: Option<Duration>,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// `audit verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyAudit {
    /// A folder of segments, one segment, or an export [default: ask every node].
    pub path: Option<PathBuf>,
    /// Public audit keys, to check signatures of checkpoints: a JSON Web Key Set [default with nodes: theirs].
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Compare files with what the members of the cluster have witnessed.
    #[arg(long, requires = "path")]
    pub witnessed: bool,
    /// Do not fail for records that were deleted before anybody had exported them; they are named.
    #[arg(long)]
    pub allow_lost: bool,
    /// Authorities of operators (PEM file): each change must be signed with a certificate of one of them.
    #[arg(long, value_name = "FILE", env = "HESSRA_OPERATOR_CA")]
    pub operator_ca: Option<PathBuf>,
}

/// `audit accept-loss`
#[derive(Debug, Args)]
pub(crate) struct AcceptAuditLoss {
    /// Number of the node.
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub id: u64,
    /// Ticket that tells the story.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub ticket: String,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}

/// Chain of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditChainName {
    /// Changes of the cluster and issued tokens.
    Changes,
    /// Refusals.
    Refusals,
}

impl From<AuditChainName> for AuditChain {
    fn from(name: AuditChainName) -> Self {
        match name {
            AuditChainName::Changes => Self::Changes,
            AuditChainName::Refusals => Self::Refusals,
        }
    }
}

/// Form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditForm {
    /// One record a line, as in the files: `audit verify` can check it.
    Jsonl,
    /// Open Cybersecurity Schema Framework 1.6.0, one event a line.
    Ocsf,
}

/// `audit export`
#[derive(Debug, Args)]
pub(crate) struct ExportAudit {
    /// FIELD=VALUE, as for `search`.
    pub conditions: Vec<String>,
    /// Form of the lines.
    #[arg(long, default_value = "jsonl")]
    pub format: AuditForm,
    /// Of this node only [default: all, one after the other].
    #[arg(long, value_name = "ID")]
    pub node: Option<u64>,
    /// From this record on; needs --node and --chain, because every chain counts for itself.
    #[arg(long, value_name = "SEQ", requires = "node", requires = "chain")]
    pub from: Option<u64>,
    /// Of this chain only [default: both, one after the other].
    #[arg(long)]
    pub chain: Option<AuditChainName>,
}
