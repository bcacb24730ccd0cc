//! The right that a token is asked for.

/// One operation on one resource, and the realm whose member must ask.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AuthorizationRequest {
    pub resource: String,
    pub operation: String,
    /// The realm whose member the caller must be.
    pub domain: Option<String>,
}
