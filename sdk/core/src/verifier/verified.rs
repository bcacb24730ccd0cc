//! Verified: the second half of a check, and the proof that all of it was passed.
//!
//! [`Verified`] has private fields, and the functions here are the only ones that make it, each after every check that
//! it stands for: rules, end, the checks in the token, age. The order matters: denial needs no freshness and permission
//! does, so the age of the knowledge is asked last.

use std::sync::Arc;
use std::time::Duration;

use hessra_revocation::{
    HashedQuery, Identity, KeyPurpose, KeyState, Query, Revision, SignerKey, TokenId, UnixSeconds,
    View,
};

use super::claims::Claims;
use super::config::VerifierConfig;
use super::established::Established;
use super::knowledge::{Knowledge, Now};
use super::request::Request;
use super::spend::Spend;
use super::{age, checks};
use crate::keyring::{Standing, id_in};
use crate::reason::Refusal;
use crate::token::{Refreshed, Session, TokenClass};
use crate::{DenyReason, UnknownReason};

/// Proof that a token passed a check, and everything a caller may rely on. Made by a finished check only.
#[derive(Clone, Debug)]
pub struct Verified {
    claims: Arc<Claims>,
    checked_at: Option<Revision>,
    age: Option<Duration>,
    stale: bool,
}

/// Runs the whole check on an established token.
pub(super) fn check(
    established: Result<Established, DenyReason>,
    request: &Request,
    knowledge: &Knowledge<'_>,
    now: Now,
    config: &VerifierConfig,
) -> Result<Verified, Refusal> {
    let not_denied = established
        .map_err(Refusal::Deny)
        .and_then(|token| NotDenied::check(token, request, knowledge.view, now.wall, config));
    permit(not_denied, knowledge, now, config)
}

/// Runs the whole check on an established token, revocations aside.
pub(super) fn check_offline(
    established: Result<Established, DenyReason>,
    request: &Request,
    now: UnixSeconds,
    config: &VerifierConfig,
) -> Result<Verified, Refusal> {
    let established = established.map_err(Refusal::Deny)?;
    let NotDenied(claims) = NotDenied::check(established, request, None, now, config)?;
    Ok(Verified {
        claims,
        checked_at: None,
        age: None,
        stale: false,
    })
}

/// Runs the whole check once more, without signatures and Datalog; `None` when that is not enough: the token has checks of
/// its holder's own making, whose outcome may be another one now, the keyring has not its key any more, or the feed knows it by
/// another id.
pub(super) fn check_again(
    claims: &Arc<Claims>,
    knowledge: &Knowledge<'_>,
    now: Now,
    config: &VerifierConfig,
) -> Option<Result<Verified, Refusal>> {
    let view = knowledge.view;
    let known_as = view.and_then(|view| id_in(view, &claims.root_key));
    if !claims.reusable || known_as.or(claims.key_id) != claims.root_key_id {
        return None;
    }
    match knowledge
        .keyring
        .standing(&claims.root_key, claims.named_key)
    {
        Standing::Believed => {}
        Standing::Revoked(key_id) => {
            return Some(Err(Refusal::Deny(DenyReason::KeyRevoked { key_id })));
        }
        Standing::Unknown => return None,
    }
    let not_denied = check_rules(claims, view, now.wall, config)
        .and_then(|()| claims.check_time(now.wall, config.skew_seconds))
        .map(|()| NotDenied(Arc::clone(claims)))
        .map_err(Refusal::Deny);
    Some(permit(not_denied, knowledge, now, config))
}

/// Claims of a token that nothing denies: every check was passed but the age of the knowledge.
struct NotDenied(Arc<Claims>);

impl NotDenied {
    /// Checks rules, end, and the checks in the token.
    fn check(
        established: Established,
        request: &Request,
        view: Option<&View>,
        now: UnixSeconds,
        config: &VerifierConfig,
    ) -> Result<Self, Refusal> {
        check_rules(&established, view, now, config)
            .and_then(|()| established.check_time(now, config.skew_seconds))
            .map_err(Refusal::Deny)?;
        checks::run(&established, request, now, config.datalog_time_max)?;
        Ok(Self(Arc::new(established.into_claims())))
    }
}

fn check_rules(
    claims: &Claims,
    view: Option<&View>,
    now: UnixSeconds,
    config: &VerifierConfig,
) -> Result<(), DenyReason> {
    let Some(view) = view else { return Ok(()) };
    // The authority is also a party, an activator, and who adds exposures: a revoked key is none of them any more.
    let signers = claims
        .third_party_keys
        .iter()
        .filter_map(|key| ed25519(key));
    let mut keys = std::iter::once(claims.root_key).chain(signers);
    if let Some(key_id) = keys.find_map(|key| revoked_key(view, &key)) {
        return Err(DenyReason::KeyRevoked { key_id });
    }
    let query = Query {
        identities: &claims.identities,
        actor: Some(&claims.actor),
        token_ids: &claims.all_ids,
        root_key: claims.root_key_id,
        third_party_keys: &claims.third_party_keys,
        certificate: claims.certificate,
        rev: claims.rev,
        now,
        skew_seconds: config.skew_seconds,
    };
    // Hashed once for all checks of the token.
    let hashed = claims
        .hashed
        .get_or_init(|| HashedQuery::new(view.set.salt(), &query));
    match view.set.check_hashed(hashed, &query) {
        None => Ok(()),
        Some(denial) => Err(DenyReason::Revoked {
            by: denial.rule.kind,
        }),
    }
}

fn ed25519(key: &[u8]) -> Option<[u8; 32]> {
    match SignerKey::new(key) {
        Ok(SignerKey::Ed25519(key)) => Some(key),
        Ok(SignerKey::P256(_)) | Err(_) => None,
    }
}

/// Id of the key, if the feed has revoked it: a keyring can be older than the view.
fn revoked_key(view: &View, key: &[u8; 32]) -> Option<u32> {
    let mut records = view.keys.values();
    records
        .find(|record| {
            record.purpose == KeyPurpose::Token
                && record.state == KeyState::Revoked
                && record.public_key == *key
        })
        .map(|record| record.id)
}

/// Asks the age of the knowledge, which turns a good token into a permission, or into unknown.
fn permit(
    not_denied: Result<NotDenied, Refusal>,
    knowledge: &Knowledge<'_>,
    now: Now,
    config: &VerifierConfig,
) -> Result<Verified, Refusal> {
    let policy = config.staleness;
    let doubt = age::doubt(knowledge, policy, now.monotonic);
    let (claims, view) = match (not_denied, knowledge.view) {
        (Ok(NotDenied(claims)), Some(view)) => (claims, view),
        (Ok(_), None) => return Err(Refusal::Unknown(UnknownReason::RevocationNotChecked)),
        // A key that is not known may be a new one, of which a quiet feed has not told.
        (Err(Refusal::Deny(reason @ DenyReason::UnknownKey { .. })), Some(_)) => {
            return Err(doubt.map_or(Refusal::Deny(reason), Refusal::Unknown));
        }
        (Err(refusal), _) => return Err(refusal),
    };
    let stale = match age::behind(claims.rev, view.revision).or(doubt) {
        None => false,
        Some(reason) if age::tolerates(policy, &reason, claims.expires_at, now.wall) => true,
        Some(reason) => return Err(Refusal::Unknown(reason)),
    };
    Ok(Verified {
        claims,
        checked_at: Some(view.revision),
        age: age::of(knowledge, now.monotonic),
        stale,
    })
}

impl Verified {
    pub(super) fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// Class of the token.
    #[must_use]
    pub fn class(&self) -> TokenClass {
        self.claims.class
    }

    /// Actor. Of an authorization: its subject.
    #[must_use]
    pub fn actor(&self) -> &Identity {
        &self.claims.actor
    }

    /// Subject that the authority issued the token to.
    #[must_use]
    pub fn subject(&self) -> &Identity {
        &self.claims.subject
    }

    /// Names: subject first, then every delegation. Of an authorization: the subject alone.
    #[must_use]
    pub fn chain(&self) -> &[Identity] {
        &self.claims.chain
    }

    /// True when the holder may delegate further.
    #[must_use]
    pub fn is_delegable(&self) -> bool {
        self.claims.delegable
    }

    /// Domain that an identity is restricted to.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.claims.domain.as_deref()
    }

    /// Roles in the domain when the identity was minted. Policy may have changed since; both must permit.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.claims.roles
    }

    /// Refresh history of an identity; `None` when it is new, or minted by others.
    #[must_use]
    pub fn refreshed(&self) -> Option<Refreshed> {
        self.claims.refreshed
    }

    /// Instant beyond which nothing lives that an identity is refreshed to; `None` = none is recorded.
    #[must_use]
    pub fn refreshable_until(&self) -> Option<UnixSeconds> {
        self.claims.refreshable_until
    }

    /// True when a holder of an identity added a check of its own making about the time: its end may be before
    /// [`Self::expires_at`].
    #[must_use]
    pub fn has_checks_of_time(&self) -> bool {
        self.claims.checks_of_time
    }

    /// Instant of its issue; `None` for tokens minted by others.
    #[must_use]
    pub fn issued_at(&self) -> Option<UnixSeconds> {
        self.claims.issued_at
    }

    /// True when a holder has appended a block.
    #[must_use]
    pub fn is_attenuated(&self) -> bool {
        self.claims.token_ids.len() > 1
    }

    /// Components that attested, in the order of the chain, and parties that signed.
    #[must_use]
    pub fn attested(&self) -> &[String] {
        &self.claims.attested
    }

    /// Uses that must be spent in the cluster's ledger before anything is permitted; empty unless the token is
    /// single-use.
    #[must_use]
    pub fn to_spend(&self) -> &[Spend] {
        &self.claims.spends
    }

    /// Exposures of the session of a context, sorted.
    #[must_use]
    pub fn exposures(&self) -> &[String] {
        &self.claims.exposures
    }

    /// Session of a context; `None` for contexts minted by others, and other tokens.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.claims.session
    }

    /// Instant from which on the token is refused.
    #[must_use]
    pub fn expires_at(&self) -> UnixSeconds {
        self.claims.expires_at
    }

    /// Revision that the minting node had applied; `None` for tokens minted by others.
    #[must_use]
    pub fn rev(&self) -> Option<Revision> {
        self.claims.rev
    }

    /// Ids of the token's own blocks, authority first.
    #[must_use]
    pub fn token_ids(&self) -> &[TokenId] {
        &self.claims.token_ids
    }

    /// Recorded ids of the identity that was exchanged for this token.
    #[must_use]
    pub fn ancestor_ids(&self) -> &[TokenId] {
        &self.claims.ancestor_ids
    }

    /// Id of the key that signed it, as the keyring or the feed knows it.
    ///
    /// Under a pinned key that no feed knows it is the id in the token, which no signature covers.
    #[must_use]
    pub fn root_key_id(&self) -> Option<u32> {
        self.claims.root_key_id
    }

    /// SHA-256 of the client certificate that it was issued over.
    #[must_use]
    pub fn certificate(&self) -> Option<[u8; 32]> {
        self.claims.certificate
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

    /// True when a policy permitted it that tolerates knowledge older than its bound.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }
}
