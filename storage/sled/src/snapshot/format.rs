//! Format of a snapshot image: built from records, and opened only when every byte of it is right.

use hessra_state::{Frozen, Record};
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::frame::check_format;
use crate::image::SnapshotImage;
use crate::{SnapshotMeta, StoreError, block, codec};

const MAGIC: &[u8; 8] = b"hessrasn";
const FORMAT: u8 = 2;
const HASH_BYTES: usize = 32;
/// Number of records in one block, after which other tasks get their turn: about half a millisecond.
const RECORDS_PER_BLOCK: usize = 256;
/// A block ends earlier at so many bytes: some records are large.
const BLOCK_BYTES: usize = 256 * 1024;

/// Bytes of all blocks of an image, unpacked: a state of some 10^7 rules with their revocations.
pub const PLAIN_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// Content of a good image.
pub(crate) struct Contents {
    /// Metadata of the snapshot.
    pub(crate) meta: SnapshotMeta,
    /// Records of the state.
    pub(crate) records: Vec<Record>,
}

/// Builds the image of a state machine.
pub(crate) async fn build(meta: &SnapshotMeta, machine: &Frozen) -> SnapshotImage {
    let mut bytes = head(meta);
    let mut hasher = Sha256::new_with_prefix(&bytes);
    let (mut plain, mut count) = (Vec::new(), 0u64);
    let mut records = machine.records().peekable();
    while records.peek().is_some() {
        plain.clear();
        let mut room = RECORDS_PER_BLOCK;
        while let Some(record) = records.next_if(|_| room > 0 && plain.len() < BLOCK_BYTES) {
            put_with_length(&mut plain, &codec::encode_record(&record));
            (room, count) = (room - 1, count + 1);
        }
        let begin = bytes.len();
        put_with_length(&mut bytes, &block::pack(&plain));
        hasher.update(&bytes[begin..]);
        tokio::task::yield_now().await;
    }
    bytes.extend(count.to_be_bytes());
    hasher.update(count.to_be_bytes());
    bytes.extend(hasher.finalize());
    bytes.into()
}

/// Reads and checks all of an image.
///
/// # Errors
/// [`StoreError::Corrupt`] when a byte is not as it was built, [`StoreError::Upgrade`] when a newer version built
/// it; both name `source`.
pub(crate) fn open(image: &SnapshotImage, source: &str) -> Result<Contents, StoreError> {
    let corrupt = |what: &str| StoreError::corrupt(source, "snapshot", what);
    let (body, hash) = image
        .as_bytes()
        .split_last_chunk::<HASH_BYTES>()
        .ok_or_else(|| corrupt("it is cut off"))?;
    if Sha256::digest(body)[..] != hash[..] {
        return Err(corrupt("its hash does not match"));
    }
    let body = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| corrupt("it is not a snapshot"))?;
    let (format, mut rest) = body.split_first().ok_or_else(|| corrupt("it is cut off"))?;
    check_format(*format, FORMAT, source.to_owned(), || {
        "the snapshot".to_owned()
    })?;
    let undecodable =
        |error| StoreError::undecodable(source.to_owned(), "snapshot".to_owned(), &error);
    let meta = take_with_length(&mut rest).ok_or_else(|| corrupt("its head is cut off"))?;
    let meta =
        codec::decode("snapshot meta", meta).and_then(|meta| codec::decode_snapshot_meta(&meta));
    let (meta, _) = meta.map_err(undecodable)?;
    let (mut rest, count) = rest
        .split_last_chunk()
        .ok_or_else(|| corrupt("its count is cut off"))?;
    let mut records = Vec::new();
    let mut room = PLAIN_BYTES_MAX;
    while !rest.is_empty() {
        let block = take_with_length(&mut rest).ok_or_else(|| corrupt("a block is cut off"))?;
        let plain = block::unpack(block).ok_or_else(|| corrupt("a block is none"))?;
        room = room
            .checked_sub(plain.len() as u64)
            .ok_or_else(|| corrupt("it is larger than any state can be"))?;
        let mut plain = plain.as_slice();
        while !plain.is_empty() {
            let bytes =
                take_with_length(&mut plain).ok_or_else(|| corrupt("a record is cut off"))?;
            records.push(codec::decode_record(bytes).map_err(undecodable)?);
        }
    }
    if records.len() as u64 != u64::from_be_bytes(*count) {
        return Err(corrupt("it has not as many records as it says"));
    }
    Ok(Contents { meta, records })
}

fn head(meta: &SnapshotMeta) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(FORMAT);
    put_with_length(
        &mut bytes,
        &codec::encode_snapshot_meta(meta, 0).encode_to_vec(),
    );
    bytes
}

fn put_with_length(bytes: &mut Vec<u8>, item: &[u8]) {
    bytes.extend((item.len() as u32).to_be_bytes());
    bytes.extend_from_slice(item);
}

fn take_with_length<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (item, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(item)
}
