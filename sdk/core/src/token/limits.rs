//! Bounds on the size of a token.

/// Bounds on the work that a holder can make a verifier do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the text. Default 16 KiB: HTTP servers take so much as a header.
    pub text_bytes_max: usize,
    /// Most blocks, the authority block included. Default 16: ten delegations and room for time blocks.
    pub blocks_max: usize,
    /// Most delegation blocks. Default 10.
    pub delegation_depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes_max: 16 * 1024,
            blocks_max: BLOCKS_MAX,
            delegation_depth_max: 10,
        }
    }
}

/// Default most blocks of a token.
pub(crate) const BLOCKS_MAX: usize = 16;

/// Most ancestor ids that a token records. Origin: the blocks of one token, and as many that it recorded itself.
pub const ANCESTORS_MAX: usize = 32;

/// Most roles that an identity carries.
pub(crate) const ROLES_MAX: usize = 16;
