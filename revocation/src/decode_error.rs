//! Error of reading canonical bytes. It tells bytes that a newer version made from bytes that no version makes.

/// Error of bytes from outside that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Bytes that end before the value does.
    #[error(
        "the bytes end too early: the sender or the carrier is broken, take them from another node"
    )]
    Truncated,
    /// Bytes that a newer version made. Never skipped: what is not understood may be a denial.
    #[error("variant {0} is not known to this version: upgrade it")]
    Unknown(u8),
    /// Bytes that break a rule of the format, which no version does.
    #[error(
        "the bytes are not canonical ({0}): the sender or the carrier is broken, take them from another node"
    )]
    Invalid(&'static str),
}
