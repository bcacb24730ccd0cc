//! Error of reading or writing a key, of the authority or of anybody else.

/// Error of a key that could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Text that is no SPKI document in PEM form, or not of an Ed25519 key.
    #[error("not an Ed25519 public key in PEM form: take it from `/public_key` of a node")]
    Pem,
    /// Bytes that are no point of the curve, or one of small order.
    #[error("the bytes are not an Ed25519 public key: take it from `/public_key` of a node")]
    Bytes,
    /// Text that is not `ed25519/<hex>` or `secp256r1/<hex>`, or no point of that curve.
    #[error(
        "`{0}` is not a public key: write `ed25519/` and 64 hex digits, or `secp256r1/` and 66"
    )]
    ThirdParty(String),
    /// Text that is no PKCS#8 document in PEM form, or not of an Ed25519 key.
    #[error("not an Ed25519 private key in PKCS#8 PEM form: convert it, or make a new one")]
    PrivatePem,
}
