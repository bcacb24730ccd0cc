//! Wire and log formats, and the conversions between them and the types of the product that several crates need.
//!
//! Messages are generated from `hessra/v1/*.proto`; services exist behind the feature `grpc`.

pub mod as_of;
pub mod convert;
pub mod node_state;
pub mod statement;
pub mod status;
pub mod trace;

pub use convert::{
    Acknowledgement, ConvertError, Greeting, VerifierId, VerifierMessage, to_downstream,
};
pub use node_state::NodeState;
pub use status::{Failure, Reason};

/// `hessra.v1`: requests of operators to the cluster.
// Generated: the fields are documented in the proto file.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/hessra.v1.rs"));
    /// `hessra.v1.log`: records and log entries that a node keeps on disk and replicates.
    pub mod log {
        include!(concat!(env!("OUT_DIR"), "/hessra.v1.log.rs"));
    }
    /// `hessra.v1.raft`: between the members of one cluster.
    pub mod raft {
        include!(concat!(env!("OUT_DIR"), "/hessra.v1.raft.rs"));
    }
    /// `hessra.v1.feed`: the stream that verifiers follow.
    pub mod feed {
        include!(concat!(env!("OUT_DIR"), "/hessra.v1.feed.rs"));
    }
}
