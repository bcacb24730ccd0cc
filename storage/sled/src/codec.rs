//! Codec of the log and the state's records, to protobuf ([`hessra_proto::v1::log`]) and back.
//!
//! Encoding cannot fail. Decoding is strict: a missing or unknown part is an error, never a default. Protobuf drops
//! unknown fields silently, so decoding encodes again and compares (`decode`): a node that meets a part it does not
//! know stops and says *upgrade*; it never skips.

mod author;
mod command;
mod entry;
mod key;
mod members;
mod message;
mod pending;
mod policy;
mod record;
mod revoke;
mod start;
mod statement;
mod witness;

pub use command::{
    decode_applied, decode_batch, encode_applied, encode_batch, stamped_len, target_len,
};
pub use entry::{
    decode_entry, decode_log_id, decode_membership, decode_snapshot_meta, decode_vote,
    encode_entry, encode_log_id, encode_membership, encode_snapshot_meta, encode_vote,
};
pub use message::CodecError;
pub(crate) use message::decode;
pub use record::{decode_record, encode_record};
pub use start::{decode_start, encode_start};
pub use statement::{action_digest, action_statement, statement, statement_digest};
