//! Seal: number of a flush with the id of the directory that made it, as `MARK` and sled carry it.
//!
//! `number u64 big-endian · directory 16 · checksum 16`. The id ties the parts of a directory together: sled of one and
//! `MARK` of another are each whole, and would together say that nothing is missing.

use std::fmt;

use sha2::{Digest as _, Sha256};

const CHECKSUM_BYTES: usize = 16;
/// Size of a seal.
pub(super) const BYTES: usize = 8 + 16 + CHECKSUM_BYTES;
/// Size of a seal of before, which had no id.
const BYTES_BEFORE: usize = 8 + CHECKSUM_BYTES;

/// Id of a data directory: random, made with it, the same for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirectoryId(pub(super) [u8; 16]);

/// Number of a flush, and the directory that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) sequence: u64,
    pub(super) id: DirectoryId,
}

/// Reason why bytes are not a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsealed {
    /// They are a whole seal of a version before.
    Outdated,
    /// They are not as they were written.
    Damaged,
}

impl Seal {
    pub(super) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.id.0);
        let checksum = checksum(b"hessra seal\0", &bytes[..24]);
        bytes[24..].copy_from_slice(&checksum);
        bytes
    }

    /// Decodes a seal from the begin of `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unsealed> {
        Self::decode_whole(bytes).ok_or_else(|| {
            let before = bytes.get(..BYTES_BEFORE);
            let is_before = |old: &[u8]| old[8..] == checksum(b"hessra mark\0", &old[..8]);
            match before.filter(|old| is_before(old)) {
                Some(_) => Unsealed::Outdated,
                None => Unsealed::Damaged,
            }
        })
    }

    fn decode_whole(bytes: &[u8]) -> Option<Self> {
        let whole = bytes.get(..BYTES)?;
        let (number, rest) = whole.split_first_chunk()?;
        let (id, stored) = rest.split_first_chunk()?;
        let is_right = stored == checksum(b"hessra seal\0", &whole[..24]);
        is_right.then_some(Self {
            sequence: u64::from_be_bytes(*number),
            id: DirectoryId(*id),
        })
    }
}

impl DirectoryId {
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let bytes = u128::from_str_radix(text, 16).ok()?.to_be_bytes();
        let id = Self(bytes);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn checksum(domain: &[u8], bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Sha256::new_with_prefix(domain)
        .chain_update(bytes)
        .finalize();
    let mut half = [0; CHECKSUM_BYTES];
    half.copy_from_slice(&hash[..CHECKSUM_BYTES]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_as_it_was_written_and_no_other_bytes_are() {
        let seal = Seal {
            sequence: 7,
            id: DirectoryId([0xab; 16]),
        };
        let bytes = seal.encode();
        assert_eq!(Seal::decode(&bytes), Ok(seal));
        for at in 0..BYTES {
            let mut flipped = bytes;
            flipped[at] ^= 4;
            assert_eq!(Seal::decode(&flipped), Err(Unsealed::Damaged), "{at}");
        }
        assert_eq!(Seal::decode(&bytes[..BYTES - 1]), Err(Unsealed::Damaged));
        assert_eq!(DirectoryId::from_text(&seal.id.to_string()), Some(seal.id));
        assert_eq!(DirectoryId::from_text("+1"), None);
    }

    #[test]
    fn a_seal_of_before_is_outdated_and_not_damage() {
        let number = 7_u64.to_be_bytes();
        let mut before = [0; 64];
        before[..8].copy_from_slice(&number);
        before[8..24].copy_from_slice(&checksum(b"hessra mark\0", &number));
        assert_eq!(Seal::decode(&before), Err(Unsealed::Outdated));
        assert_eq!(Seal::decode(&before[..24]), Err(Unsealed::Outdated));
    }
}
