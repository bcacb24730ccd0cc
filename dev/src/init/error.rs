//! Error of a cluster's files that were not made. Nothing is half written: each is said before, or undone.

use std::path::{Path, PathBuf};

use hessra_policy::PolicyError;
use miette::Diagnostic;

use crate::error::DevError;

/// Error of a cluster's files that were not made.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[allow(missing_docs)]
pub enum InitError {
    #[error(
        "`{text}` is no node: {reason}. Write `ID=HOST`, `ID=HOST:PEER-PORT` or `ID=HOST:PEER-PORT:PUBLIC-PORT`, such as `1=node1.example`"
    )]
    Machine { text: String, reason: String },
    #[error("`{0}` is no name of a cluster: write 1 to 64 of `A-Z a-z 0-9 . _ -`")]
    ClusterName(String),
    #[error("two nodes have the id {0}: each has a number of its own, for ever")]
    SameId(u64),
    #[error(
        "id {id} was given to a node of cluster `{cluster}` before: no id is used twice, a node that forgot its vote could elect a second leader. Choose {free}"
    )]
    UsedId { id: u64, cluster: String, free: u64 },
    #[error(
        "nodes {one} and {other} are both on `{host}`: each needs a machine of its own. {what_to_do}"
    )]
    SameHost {
        one: u64,
        other: u64,
        host: String,
        what_to_do: String,
    },
    #[error("`{text}` is no operator: {reason}. Write an identity, such as `urn:hessra:ops:ann`")]
    Operator { text: String, reason: String },
    #[error(
        "operators `{one}` and `{other}` would both have the folder `operators/{folder}`: their last parts must differ"
    )]
    SameOperator {
        one: String,
        other: String,
        folder: String,
    },
    #[error(
        "`{directory}` is not empty: a new cluster gets a directory of its own. Name another one, or add to the cluster that is there with `--into`"
    )]
    NotEmpty { directory: PathBuf },
    #[error(
        "`{directory}` is there already: another `init` runs, or one was ended in the middle. When none runs, delete it"
    )]
    Unfinished { directory: PathBuf },
    #[error("`{directory}` is in use by another `init` or `renew`. Wait until that one is done")]
    InUse { directory: PathBuf },
    #[error("`{directory}` was not made by `hessra-node init`: it has no `cluster.json`")]
    NoCluster { directory: PathBuf },
    #[error(
        "`{directory}` has no CA that can sign: `{missing}` is not there. Bring it back from where it is kept; if the CA is one of your own, let that one sign, see docs/operations.md"
    )]
    NoAuthority {
        directory: PathBuf,
        missing: PathBuf,
    },
    #[error(
        "`{path}` is neither a folder `node-ID` of a node nor one of an operator that `hessra-node init` made"
    )]
    NothingToRenew { path: PathBuf },
    #[error("`{path}`: {reason}")]
    File { path: PathBuf, reason: String },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Certificate(#[from] DevError),
    /// Error of the node, in its own words.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Node(Box<dyn Diagnostic + Send + Sync>),
}

impl InitError {
    pub(crate) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::File {
            path: path.into(),
            reason: error.to_string(),
        }
    }
}
