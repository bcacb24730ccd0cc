//! What a check has proved; everything a caller may rely on.

use std::time::Duration;

use hessra_revocation::{Identity, Revision, TokenId, UnixSeconds};

use crate::TokenClass;

/// What was verified. Made by a check only.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(crate) class: TokenClass,
    pub(crate) actor: Identity,
    pub(crate) subject: Identity,
    pub(crate) chain: Vec<Identity>,
    pub(crate) identities: Vec<Identity>,
    pub(crate) delegable: bool,
    pub(crate) expires_at: UnixSeconds,
    pub(crate) rev: Option<Revision>,
    pub(crate) token_ids: Vec<TokenId>,
    pub(crate) ancestor_ids: Vec<TokenId>,
    pub(crate) all_ids: Vec<TokenId>,
    pub(crate) root_key: [u8; 32],
    pub(crate) root_key_id: Option<u32>,
    pub(crate) third_party_keys: Vec<Vec<u8>>,
    pub(crate) certificate: Option<[u8; 32]>,
    pub(crate) reusable: bool,
    pub(crate) checked_at: Option<Revision>,
    pub(crate) age: Option<Duration>,
    pub(crate) stale: bool,
}

impl Verified {
    /// What the token is for.
    #[must_use]
    pub fn class(&self) -> TokenClass {
        self.class
    }

    /// Who acts. Of an authorization: its subject.
    #[must_use]
    pub fn actor(&self) -> &Identity {
        &self.actor
    }

    /// To whom the authority issued the token.
    #[must_use]
    pub fn subject(&self) -> &Identity {
        &self.subject
    }

    /// Subject first, then every delegation. Of an authorization: the subject alone.
    #[must_use]
    pub fn chain(&self) -> &[Identity] {
        &self.chain
    }

    /// May the holder delegate further?
    #[must_use]
    pub fn is_delegable(&self) -> bool {
        self.delegable
    }

    /// From this instant on the token is refused.
    #[must_use]
    pub fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// Revision that the minting node had applied; `None` for tokens minted by others.
    #[must_use]
    pub fn rev(&self) -> Option<Revision> {
        self.rev
    }

    /// Ids of the token's own blocks, authority first.
    #[must_use]
    pub fn token_ids(&self) -> &[TokenId] {
        &self.token_ids
    }

    /// Recorded ids of the identity that was exchanged for this token.
    #[must_use]
    pub fn ancestor_ids(&self) -> &[TokenId] {
        &self.ancestor_ids
    }

    /// Id of the key that signed it, as the keyring or the feed knows it.
    ///
    /// Under a pinned key that no feed knows it is what the token says, which no signature covers.
    #[must_use]
    pub fn root_key_id(&self) -> Option<u32> {
        self.root_key_id
    }

    /// SHA-256 of the client certificate that it was issued over.
    #[must_use]
    pub fn certificate(&self) -> Option<[u8; 32]> {
        self.certificate
    }

    /// Revision of the rules that were asked; `None` when they were not.
    #[must_use]
    pub fn checked_at(&self) -> Option<Revision> {
        self.checked_at
    }

    /// Age of the rules that were asked; `None` when it is not known.
    #[must_use]
    pub fn knowledge_age(&self) -> Option<Duration> {
        self.age
    }

    /// Permitted by a policy that tolerates knowledge older than its bound.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// The rules of this revision were asked.
    pub(crate) fn asked_at(mut self, revision: Revision) -> Self {
        self.checked_at = Some(revision);
        self
    }
}
