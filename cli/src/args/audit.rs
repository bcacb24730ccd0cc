//! `hessra audit …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hessra_settings::duration;

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
    /// Without a path every node is asked for all of its records, and they are checked here. With a path the files of a
    /// node (the folder `audit` of its data directory), or an export, are checked without asking anybody.
    Verify(VerifyAudit),
    /// All records of a node or of all nodes, for another system.
    Export(ExportAudit),
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
    /// From this record on; needs --node, because every node counts for itself.
    #[arg(long, value_name = "SEQ", requires = "node")]
    pub from: Option<u64>,
}
