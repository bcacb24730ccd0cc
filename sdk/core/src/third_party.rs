//! Keys that are not the authority's: of services in a chain, parties, attestors, activators.
//!
//! Written as in the published configuration: `ed25519/<64 hex>` or `secp256r1/<66 hex>`.

use std::fmt;
use std::str::FromStr;

use biscuit_auth::PublicKey;
use biscuit_auth::builder::Algorithm;
use biscuit_auth::format::schema;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::key_error::KeyError;
use crate::signer::{Signer, SignerError};

/// Public key of a third-party block's signer: a point of its curve, in the one form that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThirdPartyKey {
    curve: Curve,
    /// Point of the curve. Ed25519: 32 bytes and a zero. P-256: the compressed form.
    point: [u8; 33],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Curve {
    Ed25519,
    Secp256r1,
}

impl ThirdPartyKey {
    /// Key from 32 bytes of Ed25519.
    ///
    /// # Errors
    /// [`KeyError::Bytes`].
    pub fn ed25519(key: &[u8; 32]) -> Result<Self, KeyError> {
        PublicKey::from_bytes(key, Algorithm::Ed25519)
            .map(Self::from)
            .map_err(|_| KeyError::Bytes)
    }

    /// Bytes that rules about keys are digested from: algorithm number (4 bytes, big-endian), then the key.
    ///
    /// A P-256 point has two encodings; the compressed one counts, whichever a token carries.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let algorithm = match self.curve {
            Curve::Ed25519 => schema::public_key::Algorithm::Ed25519,
            Curve::Secp256r1 => schema::public_key::Algorithm::Secp256r1,
        };
        let algorithm = algorithm as i32;
        [algorithm.to_be_bytes().as_slice(), self.point()].concat()
    }

    pub(crate) fn read(key: &schema::PublicKey) -> Result<Self, biscuit_auth::error::Format> {
        PublicKey::from_proto(key).map(Self::from)
    }

    pub(crate) fn inner(&self) -> PublicKey {
        let algorithm = match self.curve {
            Curve::Ed25519 => Algorithm::Ed25519,
            Curve::Secp256r1 => Algorithm::Secp256r1,
        };
        PublicKey::from_bytes(self.point(), algorithm).expect("it was a key when it came here")
    }

    fn point(&self) -> &[u8] {
        match self.curve {
            Curve::Ed25519 => &self.point[..32],
            Curve::Secp256r1 => &self.point,
        }
    }
}

impl From<PublicKey> for ThirdPartyKey {
    fn from(key: PublicKey) -> Self {
        let curve = match key {
            PublicKey::Ed25519(_) => Curve::Ed25519,
            PublicKey::P256(_) => Curve::Secp256r1,
        };
        let bytes = key.to_bytes();
        let mut point = [0; 33];
        point[..bytes.len()].copy_from_slice(&bytes);
        Self { curve, point }
    }
}

impl FromStr for ThirdPartyKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || KeyError::ThirdParty(text.chars().take(80).collect());
        let (algorithm, hex) = text.split_once('/').ok_or_else(wrong)?;
        let algorithm = match algorithm {
            "ed25519" => Algorithm::Ed25519,
            "secp256r1" => Algorithm::Secp256r1,
            _ => return Err(wrong()),
        };
        let bytes = HEXLOWER_PERMISSIVE
            .decode(hex.as_bytes())
            .map_err(|_| wrong())?;
        PublicKey::from_bytes(&bytes, algorithm)
            .map(Self::from)
            .map_err(|_| wrong())
    }
}

impl fmt::Display for ThirdPartyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let curve = match self.curve {
            Curve::Ed25519 => "ed25519",
            Curve::Secp256r1 => "secp256r1",
        };
        write!(f, "{curve}/{}", HEXLOWER.encode(self.point()))
    }
}

/// Component and the key with which it signs: one service of a chain, or one party.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceNode {
    /// Name of the component.
    pub component: String,
    /// Key of the component.
    pub key: ThirdPartyKey,
}

/// Private key of a service, party, attestor or activator that keeps it in its own memory. Zeroed when dropped.
pub struct ServiceKey(SigningKey);

impl ServiceKey {
    /// Key from a PKCS#8 document in PEM form of Ed25519, as the published tools write it.
    ///
    /// # Errors
    /// [`KeyError::PrivatePem`]; the text is not repeated in it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem)
            .map(Self)
            .map_err(|_| KeyError::PrivatePem)
    }

    /// Public half, as the authority's configuration names it.
    #[must_use]
    pub fn public(&self) -> ThirdPartyKey {
        ThirdPartyKey::ed25519(&self.0.verifying_key().to_bytes())
            .expect("the public half of a key is a key")
    }
}

/// Hides the key.
impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceKey")
            .field(&self.public().to_string())
            .finish()
    }
}

impl Signer for ServiceKey {
    /// Zero: keys of third parties have no id.
    fn key_id(&self) -> u32 {
        0
    }

    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn sign(&self, payload: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.0.sign(payload).to_bytes())
    }
}
