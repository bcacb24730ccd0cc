//! What a check has proved; everything a caller may rely on.

use std::time::Duration;

use hessra_revocation::{Identity, Revision, TokenId, UnixSeconds};

use crate::token::{Refreshed, Session, TokenClass};

/// One use of a capability that is good once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spend {
    /// Id of the token's authority block.
    pub token: TokenId,
    /// Which of its uses.
    pub facet: String,
}

/// What was verified. Made by a check only.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(crate) class: TokenClass,
    pub(crate) actor: Identity,
    pub(crate) subject: Identity,
    pub(crate) chain: Vec<Identity>,
    pub(crate) identities: Vec<Identity>,
    pub(crate) delegable: bool,
    pub(crate) domain: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) refreshed: Option<Refreshed>,
    pub(crate) issued_at: Option<UnixSeconds>,
    pub(crate) attested: Vec<String>,
    pub(crate) spends: Vec<Spend>,
    pub(crate) exposures: Vec<String>,
    pub(crate) session: Option<Session>,
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

    /// The domain that an identity is restricted to.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Roles in the domain when the identity was minted. Policy may have changed since; both must permit.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// How often an identity was refreshed; `None` when it is new, or minted by others.
    #[must_use]
    pub fn refreshed(&self) -> Option<Refreshed> {
        self.refreshed
    }

    /// When it was issued; `None` for tokens minted by others.
    #[must_use]
    pub fn issued_at(&self) -> Option<UnixSeconds> {
        self.issued_at
    }

    /// Has a holder appended anything?
    #[must_use]
    pub fn is_attenuated(&self) -> bool {
        self.token_ids.len() > 1
    }

    /// Components that attested, in the order of the chain, and parties that signed.
    #[must_use]
    pub fn attested(&self) -> &[String] {
        &self.attested
    }

    /// What must be spent in the cluster's ledger before anything is permitted; empty unless the token is good once.
    #[must_use]
    pub fn to_spend(&self) -> &[Spend] {
        &self.spends
    }

    /// What the session of a context has been exposed to, sorted.
    #[must_use]
    pub fn exposures(&self) -> &[String] {
        &self.exposures
    }

    /// The session of a context; `None` for contexts minted by others, and other tokens.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.session
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
