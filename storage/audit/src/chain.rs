//! Chaining: from a record to its line and back.
//!
//! `hash` is the last field, and is SHA-256 over [`DOMAIN`] and the bytes of the line before `,"hash":`. So a verifier
//! in any language needs no canonical JSON: it cuts the line and hashes what is there. `prev` lies within, so every hash
//! covers all records before.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::record::Record;

/// Domain of the hash: nothing else that is hashed or signed begins like this.
pub const DOMAIN: &[u8] = b"hessra audit record v1\n";
/// Longest line in bytes, its line feed included: all texts of a record at their bounds, escaped.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

const FIELD: &str = ",\"hash\":\"";
const END: &str = "\"}";
const HEX: usize = 64;

/// The last record of a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Place of the record; 0 = there is none yet.
    pub seq: u64,
    /// Hash of the record; zeros when there is none yet.
    pub hash: [u8; 32],
}

impl Head {
    /// Head of a chain without records.
    pub const START: Self = Self {
        seq: 0,
        hash: [0; 32],
    };

    /// The hash as records write it.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.hash)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hex())
    }
}

/// A line that was read: its record, and the head that the chain has with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Line {
    pub record: Record,
    pub head: Head,
}

/// Error of a line that is no audit record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadLine {
    #[error("it does not end with a hash: it was cut, or is no audit record")]
    NoHash,
    #[error("its bytes do not give its hash: it was changed")]
    Hash,
    #[error("it is no record: {0}")]
    NoRecord(String),
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
}

/// The line of a record that follows `head`, without its line feed, and the head that the chain has then.
///
/// Sets `seq` and `prev`, and bounds every text.
#[must_use]
pub fn seal(record: &mut Record, head: &Head) -> (String, Head) {
    let mut line = Vec::new();
    let head = seal_into(record, head, &mut line);
    let line = String::from_utf8(line).expect("JSON is text");
    (line, head)
}

/// Seals as [`seal`] does, at the end of what is there already.
pub fn seal_into(record: &mut Record, head: &Head, lines: &mut Vec<u8>) -> Head {
    record.make_safe();
    record.seq = head.seq + 1;
    record.prev = head.hex();
    let begin = lines.len();
    serde_json::to_writer(&mut *lines, record)
        .expect("a record is strings, numbers and maps of strings");
    lines.pop();
    let hash = digest(&lines[begin..]);
    let head = Head {
        seq: record.seq,
        hash,
    };
    lines.extend_from_slice(FIELD.as_bytes());
    lines.extend_from_slice(head.hex().as_bytes());
    lines.extend_from_slice(END.as_bytes());
    head
}

/// Reads a line, without its line feed, and checks its hash. Whether it follows the line before is [`crate::walk`]'s.
///
/// # Errors
/// See [`BadLine`].
pub fn open(line: &str) -> Result<Line, BadLine> {
    if line.len() >= LINE_BYTES_MAX {
        return Err(BadLine::TooLong);
    }
    let (body, hash) = cut(line).ok_or(BadLine::NoHash)?;
    if digest(body.as_bytes()) != hash {
        return Err(BadLine::Hash);
    }
    let record: Record = serde_json::from_str(&format!("{body}}}"))
        .map_err(|error| BadLine::NoRecord(error.to_string()))?;
    let head = Head {
        seq: record.seq,
        hash,
    };
    Ok(Line { record, head })
}

/// Part of a line that is hashed, and the hash that the line names.
fn cut(line: &str) -> Option<(&str, [u8; 32])> {
    let rest = line.strip_suffix(END)?;
    let at = rest.len().checked_sub(HEX)?;
    let (body, hex) = (rest.get(..at)?, rest.get(at..)?);
    let hash = HEXLOWER.decode(hex.as_bytes()).ok()?;
    Some((body.strip_suffix(FIELD)?, hash.try_into().ok()?))
}

fn digest(body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(DOMAIN)
        .chain_update(body)
        .finalize()
        .into()
}
