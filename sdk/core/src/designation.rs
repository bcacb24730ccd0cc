//! Designation: one dimension of what a capability is about. Minted, shown by verifiers, required by schemas.

/// One dimension of what a capability is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Designation {
    /// Which dimension, such as `tenant`.
    pub label: String,
    /// Which one.
    pub value: String,
}

impl Designation {
    /// Label of the verifier that a capability is for.
    pub const ANCHOR: &str = "anchor";
    /// Label of what is used up by a single use.
    pub const FACET: &str = "facet";

    /// A value in a dimension.
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            value: value.into(),
        }
    }
}
