//! A token that was made for its caller.

use data_encoding::HEXLOWER;
use hessra_revocation::Identity;
use hessra_sdk_core::Minted;

use super::term::Term;
use crate::request::RequestContext;

/// A token for its caller.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Issued {
    pub token: String,
    /// Lifetime in seconds.
    pub expires_in: u64,
    /// Identity as the policy spells it.
    pub identity: String,
}

/// Notes what was made, and gives it the shape of an answer.
pub(super) fn issued(
    context: &RequestContext,
    minted: Minted,
    term: &Term,
    identity: &Identity,
) -> Issued {
    let id = HEXLOWER.encode(minted.revocation_id.as_bytes());
    let expires_in = term.seconds();
    context.note(|noted| {
        noted.minted([id]);
        noted.also("expires_in", expires_in);
    });
    Issued {
        token: minted.token,
        expires_in,
        identity: identity.to_string(),
    }
}
