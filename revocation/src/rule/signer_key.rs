//! Signer key: the public key of whoever signs blocks of others' tokens: a service of a chain, a party, an attestor, an
//! activator.
//!
//! The form counts, not only the point: P-256 keys are compressed, so that one key has one digest. Whether the bytes are a
//! point of their curve is for readers of tokens to say; a rule about bytes that are none covers nothing.

use std::fmt;
use std::str::FromStr;

use crate::bytes::write_hex;

/// Public key of a signer of third-party blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignerKey {
    /// Ed25519, 32 bytes.
    Ed25519([u8; 32]),
    /// P-256, compressed: 0x02 or 0x03, then the x coordinate.
    P256([u8; 33]),
}

impl SignerKey {
    /// Key from its canonical bytes: the algorithm as Biscuit numbers it (4 bytes, big-endian), then the key.
    ///
    /// # Errors
    /// [`SignerKeyError`] for another algorithm, length or form.
    pub fn new(bytes: &[u8]) -> Result<Self, SignerKeyError> {
        let (algorithm, key) = bytes.split_first_chunk().ok_or(SignerKeyError)?;
        match u32::from_be_bytes(*algorithm) {
            0 => key
                .try_into()
                .map(Self::Ed25519)
                .map_err(|_| SignerKeyError),
            1 => match <[u8; 33]>::try_from(key) {
                Ok(key) if matches!(key[0], 2 | 3) => Ok(Self::P256(key)),
                _ => Err(SignerKeyError),
            },
            _ => Err(SignerKeyError),
        }
    }

    /// Canonical bytes, see [`Self::new`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => [[0; 4].as_slice(), key].concat(),
            Self::P256(key) => [[0, 0, 0, 1].as_slice(), key].concat(),
        }
    }
}

/// As the policy writes it: `ed25519/` or `secp256r1/`, and lowercase hexadecimal digits.
impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519(key) => {
                f.write_str("ed25519/")?;
                write_hex(f, key)
            }
            Self::P256(key) => {
                f.write_str("secp256r1/")?;
                write_hex(f, key)
            }
        }
    }
}

impl FromStr for SignerKey {
    type Err = SignerKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, digits) = text.split_once('/').ok_or(SignerKeyError)?;
        let algorithm = match algorithm {
            "ed25519" => [0; 4],
            "secp256r1" => [0, 0, 0, 1],
            _ => return Err(SignerKeyError),
        };
        let key = bytes_of(digits).ok_or(SignerKeyError)?;
        Self::new(&[algorithm.as_slice(), &key].concat())
    }
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    pairs
        .map(|pair| u8::try_from(nibble(pair[0])? << 4 | nibble(pair[1])?).ok())
        .collect()
}

/// Error of bytes or a text that is not the key of a signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the public key of a signer: write `ed25519/` and 64 hexadecimal digits, or `secp256r1/` and the 66 of its compressed form, as the policy has it"
)]
pub struct SignerKeyError;
