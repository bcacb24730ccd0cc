//! Designation: one dimension of a capability's scope. Minted, shown by verifiers, required by schemas.

/// Value in one dimension of a capability's scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Designation {
    /// Dimension, such as `tenant`.
    pub label: String,
    /// Value in that dimension.
    pub value: String,
}

impl Designation {
    /// Label of the verifier that a capability is for.
    pub const ANCHOR: &str = "anchor";
    /// Label of the facet that a single use spends.
    pub const FACET: &str = "facet";

    /// Value in a dimension.
    pub fn new(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            value: value.into(),
        }
    }
}
