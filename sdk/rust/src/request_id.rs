//! Id of a write: chosen by the client, and the same for every attempt at it.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rand::RngCore;

/// Id of a write: chosen by the client, and the same for every attempt at it.
///
/// ```
/// use hessra_sdk_rust::RequestId;
/// let id: RequestId = "0194fdc2-fa2f-4cc0-81d3-ff120745b1d6".parse()?;
/// assert_eq!(id.to_string(), "0194fdc2fa2f4cc081d3ff120745b1d6");
/// # Ok::<(), hessra_sdk_rust::NotARequestId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// A new one: 128 random bits.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Error of a text that is not the id of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a request id: give 32 hexadecimal digits, or a UUID, and not only zeros")]
pub struct NotARequestId(String);

impl FromStr for RequestId {
    type Err = NotARequestId;

    fn from_str(text: &str) -> Result<Self, NotARequestId> {
        let refused = || NotARequestId(text.chars().take(80).collect());
        let parts: Vec<&str> = text.split('-').collect();
        let is_uuid = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
        if parts.len() > 1 && !is_uuid {
            return Err(refused());
        }
        let bytes = HEXLOWER_PERMISSIVE.decode(parts.concat().as_bytes());
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        // Nodes take zeros for an id that was forgotten.
        bytes
            .filter(|bytes| *bytes != [0; 16])
            .map(Self)
            .ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_printed_and_as_a_uuid() {
        let id = RequestId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        let uuid = "00112233-4455-6677-8899-AABBCCDDEEFF";
        let plain: RequestId = "00112233445566778899aabbccddeeff".parse().expect("an id");
        assert_eq!(uuid.parse(), Ok(plain));
        for text in [
            "",
            "0011",
            "00112233445566778899aabbccddeefg",
            "0011-2233445566778899aabbccddeeff",
            "00000000000000000000000000000000",
            "{00112233-4455-6677-8899-aabbccddeeff}",
        ] {
            assert!(text.parse::<RequestId>().is_err(), "{text}");
        }
    }
}
