//! Token id: the signature of a token's block, in the one form that a holder cannot vary.
//!
//! An ECDSA signature is malleable: `(r, s)` and `(r, n - s)` both verify, so a holder of a token with a P-256 block
//! could make a twin with another id and escape a rule about the first. Ids are therefore taken in low-s form.
//! Ed25519 signatures are 64 plain bytes and stay as they are.

use std::fmt;

use crate::bytes::write_hex;

/// Most bytes of an id. Origin: the largest signature Biscuit makes, a P-256 one in DER, has 72; the rest is room.
pub const TOKEN_ID_BYTES_MAX: usize = 256;

/// Revocation id of a block: its signature bytes (64 for Ed25519; DER for P-256, normalised to low-s).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(Box<[u8]>);

impl TokenId {
    /// Raw id as Biscuit gives it; a DER ECDSA signature is normalised to low-s.
    ///
    /// # Errors
    /// [`TokenIdError::Length`] unless it has 1 to 256 bytes.
    pub fn new(raw: &[u8]) -> Result<Self, TokenIdError> {
        if raw.is_empty() || raw.len() > TOKEN_ID_BYTES_MAX {
            return Err(TokenIdError::Length(raw.len()));
        }
        Ok(Self(low_s_twin(raw).unwrap_or_else(|| raw.to_vec()).into()))
    }

    /// True for the whole id of a block: a signature of 64 bytes, or one in DER. No token has any other, and so a rule about
    /// the beginning of an id would match nothing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.len() == 64 || from_der(&self.0).is_some()
    }

    /// Canonical bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Lowercase hexadecimal digits.
impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Error of bytes that are not a token id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenIdError {
    /// Empty, or above [`TOKEN_ID_BYTES_MAX`].
    #[error(
        "a token id has 1 to {TOKEN_ID_BYTES_MAX} bytes, this one has {0}: copy it whole from the token"
    )]
    Length(usize),
}

type Scalar = [u8; 32];

/// Order of P-256 (SEC 2 §2.4.2).
const ORDER: Scalar = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Low-s form of a DER signature whose s is high; `None` when s is low already or the bytes are not a signature.
fn low_s_twin(bytes: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = from_der(bytes)?;
    if s >= ORDER {
        return None;
    }
    let twin = subtract(&ORDER, &s);
    (twin < s).then(|| to_der(&r, &twin))
}

/// Reads strict DER (X.690 §8.3, §10.1) of `SEQUENCE { r INTEGER, s INTEGER }`, both positive and of at most 32 bytes.
fn from_der(bytes: &[u8]) -> Option<(Scalar, Scalar)> {
    let [0x30, length, body @ ..] = bytes else {
        return None;
    };
    if usize::from(*length) != body.len() || body.len() > 127 {
        return None;
    }
    let (r, rest) = integer(body)?;
    let (s, rest) = integer(rest)?;
    rest.is_empty().then_some((r, s))
}

fn integer(bytes: &[u8]) -> Option<(Scalar, &[u8])> {
    let [0x02, length, rest @ ..] = bytes else {
        return None;
    };
    let (number, rest) = rest.split_at_checked(usize::from(*length))?;
    let digits = match number {
        [] | [0] => return None,
        // A zero in front is there exactly when the next byte would look like a sign.
        [0, first, ..] => {
            if *first >= 0x80 {
                &number[1..]
            } else {
                return None;
            }
        }
        [first, ..] if *first >= 0x80 => return None,
        _ => number,
    };
    let mut scalar = [0; 32];
    scalar[32usize.checked_sub(digits.len())?..].copy_from_slice(digits);
    Some((scalar, rest))
}

fn to_der(r: &Scalar, s: &Scalar) -> Vec<u8> {
    let mut body = Vec::with_capacity(70);
    for scalar in [r, s] {
        let digits = &scalar[scalar.iter().take_while(|byte| **byte == 0).count()..];
        let sign = digits.first().filter(|first| **first >= 0x80).map(|_| 0);
        body.push(0x02);
        body.push(short_length(digits.len() + usize::from(sign.is_some())));
        body.extend(sign);
        body.extend(digits);
    }
    let mut bytes = vec![0x30, short_length(body.len())];
    bytes.extend(body);
    bytes
}

fn short_length(length: usize) -> u8 {
    u8::try_from(length).expect("two integers of at most 33 bytes fit a short length")
}

/// `larger - smaller`, big-endian.
fn subtract(larger: &Scalar, smaller: &Scalar) -> Scalar {
    let mut difference = [0; 32];
    let mut borrow = false;
    for at in (0..32).rev() {
        let (digit, first) = larger[at].overflowing_sub(smaller[at]);
        let (digit, second) = digit.overflowing_sub(u8::from(borrow));
        difference[at] = digit;
        borrow = first || second;
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(fill: u8) -> Scalar {
        [fill; 32]
    }

    #[test]
    fn a_signature_and_its_high_s_twin_are_one_id() {
        for (r, s) in [(0x11, 0x22), (0x80, 0x01), (0xfe, 0x7e)] {
            let low = to_der(&scalar(r), &scalar(s));
            let high = to_der(&scalar(r), &subtract(&ORDER, &scalar(s)));
            assert_ne!(low, high);
            assert_eq!(TokenId::new(&low).unwrap(), TokenId::new(&high).unwrap());
            assert_eq!(TokenId::new(&high).unwrap().as_bytes(), low);
        }
    }

    #[test]
    fn bytes_that_are_no_strict_signature_stay_as_they_are() {
        let good = to_der(&scalar(0x11), &subtract(&ORDER, &scalar(0x22)));
        let mut trailing = good.clone();
        trailing.push(0);
        let padded = [&[0x30, 0x07, 0x02, 0x02, 0x00, 0x01, 0x02, 0x01, 0x01][..]].concat();
        for raw in [
            vec![7; 64],
            trailing,
            padded,
            good[..good.len() - 1].to_vec(),
            vec![0x30],
            vec![0x30, 0],
        ] {
            assert_eq!(TokenId::new(&raw).unwrap().as_bytes(), raw);
        }
    }

    #[test]
    fn an_id_has_1_to_256_bytes() {
        assert_eq!(TokenId::new(&[]), Err(TokenIdError::Length(0)));
        assert_eq!(TokenId::new(&[1; 257]), Err(TokenIdError::Length(257)));
        assert!(TokenId::new(&[1; 256]).is_ok());
    }
}
