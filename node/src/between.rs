//! Stores between which members speak, in the metadata of every request between them.

use hessra_consensus::Between;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::raft as wire;
use hessra_sled::codec::{decode_start, encode_start};
use prost::Message as _;
use tonic::metadata::{MetadataMap, MetadataValue};

/// Metadata that carries a [`wire::Between`].
const METADATA: &str = "hessra-between-bin";

/// Adds the stores to the metadata of a request.
pub(crate) fn show(between: &Between, metadata: &mut MetadataMap) {
    let message = wire::Between {
        from: Some(encode_start(&between.from)),
        to: between.to.as_ref().map(encode_start),
        acknowledged: between.acknowledged,
    };
    let value = MetadataValue::from_bytes(&message.encode_to_vec());
    metadata.insert_bin(METADATA, value);
}

/// Reads the stores from the metadata of a request.
///
/// A sender that names none has the store of no member: who it is is asked first, and then refused for that.
///
/// # Errors
/// They have another form: the sender runs another version.
pub(crate) fn read(metadata: &MetadataMap) -> Result<Between, Failure> {
    let Some(value) = metadata.get_bin(METADATA) else {
        return Ok(Between::default());
    };
    let bytes = value.to_bytes().ok();
    let decoded = bytes.and_then(|bytes| wire::Between::decode(bytes).ok());
    decoded.and_then(|message| of_wire(&message)).ok_or_else(|| {
        let message = "the request does not say between which stores it is made: the sender runs another version. Upgrade it";
        Failure::new(Reason::InvalidArgument, message)
    })
}

fn of_wire(message: &wire::Between) -> Option<Between> {
    let to = message.to.as_ref().map(decode_start).transpose().ok()?;
    Some(Between {
        from: decode_start(message.from.as_ref()?).ok()?,
        to,
        acknowledged: message.acknowledged,
    })
}
