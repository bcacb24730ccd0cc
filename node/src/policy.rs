//! Who may have which token, and which operator may do what.
//!
//! A policy is two texts of the replicated state, `clients.toml` and `resources.toml` in the published format, with
//! operators and limits added. [`PolicyView::parse`] reads and checks them; everything after that is a pure yes or no with
//! a reason.
//!
//! Rights go down, never up: what an identity may not do, nothing below it may do either. The effective rights of an
//! actor are the intersection over its entry, the entries of all its ancestors, and, inside a realm (a client with a
//! `domain`), the role of every identity on the way down. A policy that gives a delegate what its parent lacks is not
//! loaded, rather than silently cut.

mod file;
mod load;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use tracing::error;

use hessra_revocation::{Hash, Identity};
use hessra_state::State;

use crate::api::tls::PeerCertificate;

pub use load::PolicyError;

/// Revocations nearer to the root than three segments hit a whole organisation.
const MIN_REVOCATION_DEPTH: u8 = 3;
/// Seconds: what the published verifiers expect of an authorization token.
const AUTHORIZATION_TOKEN_DURATION: u64 = 300;

/// What an operator may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Right {
    Revoke,
    Lift,
    Keys,
    Policy,
    Cluster,
    Read,
    #[serde(rename = "audit:read")]
    Audit,
}

impl Right {
    /// As in the policy file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Right::Revoke => "revoke",
            Right::Lift => "lift",
            Right::Keys => "keys",
            Right::Policy => "policy",
            Right::Cluster => "cluster",
            Right::Read => "read",
            Right::Audit => "audit:read",
        }
    }
}

/// Why an operator may not; the sentence may be shown to them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotPermitted(pub String);

/// Why a client gets no token; the sentence may be shown to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Denied {
    #[error("the certificate names no client of the policy")]
    UnknownCertificate,
    #[error("the certificate names more than one client of the policy")]
    AmbiguousCertificate,
    #[error("`{0}` is not a client of the policy")]
    UnknownIdentity(String),
    #[error("`{0}` may not have identity tokens")]
    NoIdentityTokens(String),
    #[error("`{actor}` may not `{operation}` on `{resource}`")]
    NotPermitted {
        actor: String,
        resource: String,
        operation: String,
    },
}

impl Denied {
    /// Stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Denied::UnknownCertificate | Denied::UnknownIdentity(_) => "unknown_client",
            Denied::AmbiguousCertificate => "ambiguous_certificate",
            Denied::NoIdentityTokens(_) => "identity_tokens_disabled",
            Denied::NotPermitted { .. } => "not_permitted",
        }
    }
}

/// What kind of token a resource needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ResourceKind {
    /// One token is enough. What is not in `resources.toml` is one.
    #[default]
    Singleton,
    ServiceChain,
    MultiParty,
}

/// An operator of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Operator {
    pub identity: String,
    pub rights: Vec<Right>,
    /// Revokes and lifts only at or below this identity.
    pub under: Option<Identity>,
}

/// What one entry of the policy says of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Client {
    pub identity_tokens: bool,
    /// Seconds; the longest life of its identity tokens.
    pub identity_token_duration: u64,
    pub delegable: bool,
    rights: Rights,
    realm: Option<Realm>,
}

/// (resource, operation).
type Rights = BTreeSet<(String, String)>;

/// Roles of the members of a realm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Realm {
    default_role: Rights,
    /// By path of the subject.
    assigned: BTreeMap<String, Rights>,
}

/// A name of a client that a certificate proved.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Principal<'p> {
    /// Spelled as in the policy; for a DNS wildcard, the certificate's name.
    pub identity: Identity,
    pub client: &'p Client,
}

/// A policy as it is in force: parsed and checked.
#[derive(Clone, Debug)]
pub struct PolicyView {
    /// By path. The identity as spelled, and its entry.
    clients: BTreeMap<String, (Identity, Client)>,
    /// Patterns of SAN DNS names.
    dns_clients: Vec<(String, Client)>,
    /// By name without `uri:`.
    operators: BTreeMap<String, Operator>,
    resources: BTreeMap<String, ResourceKind>,
    authorities: Vec<CertificateDer<'static>>,
    min_revocation_depth: u8,
    authorization_token_duration: u64,
    two_person: bool,
}

impl Default for PolicyView {
    /// Permits nothing.
    fn default() -> Self {
        Self {
            clients: BTreeMap::new(),
            dns_clients: Vec::new(),
            operators: BTreeMap::new(),
            resources: BTreeMap::new(),
            authorities: Vec::new(),
            min_revocation_depth: MIN_REVOCATION_DEPTH,
            authorization_token_duration: AUTHORIZATION_TOKEN_DURATION,
            two_person: true,
        }
    }
}

impl PolicyView {
    /// Reads and checks the two texts.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and column.
    pub fn parse(clients_toml: &str, resources_toml: &str) -> Result<Self, PolicyError> {
        load::view(clients_toml, resources_toml)
    }

    /// The operator of that name; `uri:` in front is optional, case is not.
    #[must_use]
    pub fn operator(&self, identity: &str) -> Option<&Operator> {
        self.operators.get(without_scheme(identity))
    }

    /// May this operator use the right, on this identity or on something that is not an identity (`None`)?
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn may(
        &self,
        identity: &str,
        right: Right,
        under: Option<&Identity>,
    ) -> Result<(), NotPermitted> {
        let refused = |sentence| Err(NotPermitted(sentence));
        let Some(operator) = self.operator(identity) else {
            return refused(format!("`{identity}` is not an operator of the policy"));
        };
        if !operator.rights.contains(&right) {
            return refused(format!("`{identity}` has not the right `{}`", right.name()));
        }
        let (Right::Revoke | Right::Lift, Some(bound)) = (right, &operator.under) else {
            return Ok(());
        };
        match under {
            Some(target) if target.is_at_or_below(bound) => Ok(()),
            Some(target) => refused(format!(
                "`{identity}` may {} only at or below `{bound}`, not `{target}`",
                right.name()
            )),
            None => refused(format!(
                "`{identity}` may {} only identities at or below `{bound}`",
                right.name()
            )),
        }
    }

    /// Identities of the policy at or under one, sorted.
    #[must_use]
    pub fn identities_below(&self, identity: &Identity) -> Vec<Identity> {
        let named = self.clients.values().flat_map(|(name, client)| {
            let members = client.realm.iter().flat_map(|realm| realm.assigned.keys());
            std::iter::once(name.clone())
                .chain(members.filter_map(|member| Identity::parse(member).ok()))
        });
        let below: BTreeSet<Identity> =
            named.filter(|name| name.is_at_or_below(identity)).collect();
        below.into_iter().collect()
    }

    /// What an identity may reach, as `resource:operation`, sorted.
    #[must_use]
    pub fn resources_of(&self, identity: &Identity) -> Vec<String> {
        let rights = self.effective_rights(identity).unwrap_or_default();
        rights
            .into_iter()
            .map(|(resource, operation)| format!("{resource}:{operation}"))
            .collect()
    }

    /// Revocations nearer to the root than this many segments need `force`.
    #[must_use]
    pub fn min_revocation_depth(&self) -> u8 {
        self.min_revocation_depth
    }

    /// What can undo safety or hurt everyone needs two operators.
    #[must_use]
    pub fn two_person(&self) -> bool {
        self.two_person
    }

    /// Seconds that an authorization token lives.
    #[must_use]
    pub fn authorization_token_duration(&self) -> u64 {
        self.authorization_token_duration
    }

    /// CAs of the policy that may authenticate clients, beside those of the node's configuration.
    #[must_use]
    pub fn client_authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// What kind of token a resource needs.
    #[must_use]
    pub fn resource_kind(&self, resource: &str) -> ResourceKind {
        self.resources.get(resource).copied().unwrap_or_default()
    }

    /// The client that a certificate names.
    ///
    /// # Errors
    /// None, or more than one: then nobody can say who is asking.
    pub fn principal(&self, certificate: &PeerCertificate) -> Result<Principal<'_>, Denied> {
        let uris = certificate
            .san_uris
            .iter()
            .filter_map(|uri| self.clients.get(without_scheme(uri)));
        let mut found: Vec<Principal<'_>> = uris
            .map(|(identity, client)| Principal {
                identity: identity.clone(),
                client,
            })
            .collect();
        found.extend(
            certificate
                .san_dns
                .iter()
                .filter_map(|name| self.dns_principal(name)),
        );
        found.sort_by(|a, b| a.identity.cmp(&b.identity));
        found.dedup_by(|a, b| a.identity == b.identity);
        match found.len() {
            0 => Err(Denied::UnknownCertificate),
            1 => Ok(found.swap_remove(0)),
            _ => Err(Denied::AmbiguousCertificate),
        }
    }

    /// The client entry of an identity, whoever it is that asks in its name.
    #[must_use]
    pub fn client(&self, identity: &Identity) -> Option<&Client> {
        let by_name = self.clients.get(identity.path()).map(|(_, client)| client);
        by_name.or_else(|| {
            self.dns_principal(identity.path())
                .map(|principal| principal.client)
        })
    }

    /// May an actor do this? `subject` is who the token was issued to: the actor itself, or an ancestor of it.
    ///
    /// # Errors
    /// Not a client, no identity tokens for the subject or a named delegate, or no right.
    pub fn authorize_bearer(
        &self,
        subject: &Identity,
        actor: &Identity,
        resource: &str,
        operation: &str,
    ) -> Result<(), Denied> {
        let holder = self
            .client(subject)
            .ok_or_else(|| Denied::UnknownIdentity(subject.to_string()))?;
        for (identity, client) in [(subject, Some(holder)), (actor, self.client(actor))] {
            if client.is_some_and(|client| !client.identity_tokens) {
                return Err(Denied::NoIdentityTokens(identity.to_string()));
            }
        }
        self.authorize(actor, resource, operation)
    }

    /// May an actor do this?
    ///
    /// # Errors
    /// Not a client, or no right.
    pub fn authorize(
        &self,
        actor: &Identity,
        resource: &str,
        operation: &str,
    ) -> Result<(), Denied> {
        let rights = self
            .effective_rights(actor)
            .ok_or_else(|| Denied::UnknownIdentity(actor.to_string()))?;
        if rights.contains(&(resource.to_owned(), operation.to_owned())) {
            return Ok(());
        }
        let (resource, operation) = (resource.to_owned(), operation.to_owned());
        Err(Denied::NotPermitted {
            actor: actor.to_string(),
            resource,
            operation,
        })
    }

    /// `None`: neither an entry nor a member of a realm.
    fn effective_rights(&self, actor: &Identity) -> Option<Rights> {
        let named = self.client(actor).is_some() || self.realms_above(actor).next().is_some();
        if !named {
            return None;
        }
        let mut limits = self.limits_of(actor);
        let first = limits.next()?.clone();
        Some(limits.fold(first, |rights, limit| {
            rights.intersection(limit).cloned().collect()
        }))
    }

    /// Every set of rights that bounds an actor.
    fn limits_of<'a>(&'a self, actor: &'a Identity) -> impl Iterator<Item = &'a Rights> {
        let entries = actor.ancestors_and_self().filter_map(move |(_, path)| {
            let (_, client) = self.clients.get(path)?;
            // A realm's own rights are its own: its members have what their roles give.
            (client.realm.is_none() || path == actor.path()).then_some(&client.rights)
        });
        let dns = self.dns_client(actor.path()).map(|client| &client.rights);
        entries.chain(dns).chain(
            self.realms_above(actor)
                .flat_map(move |(path, realm)| realm.limits(path, actor)),
        )
    }

    fn realms_above<'a>(
        &'a self,
        actor: &'a Identity,
    ) -> impl Iterator<Item = (&'a str, &'a Realm)> {
        actor.ancestors_and_self().filter_map(move |(_, path)| {
            let (_, client) = self.clients.get(path)?;
            let realm = client.realm.as_ref()?;
            (path != actor.path()).then_some((path, realm))
        })
    }

    fn dns_principal(&self, name: &str) -> Option<Principal<'_>> {
        let client = self.dns_client(name)?;
        Some(Principal {
            identity: Identity::parse(name).ok()?,
            client,
        })
    }

    fn dns_client(&self, name: &str) -> Option<&Client> {
        self.dns_clients
            .iter()
            .find(|(pattern, _)| dns_matches(pattern, name))
            .map(|(_, client)| client)
    }
}

impl Realm {
    /// The roles of every identity below the realm on the way down to the actor.
    fn limits<'a>(
        &'a self,
        realm: &'a str,
        actor: &'a Identity,
    ) -> impl Iterator<Item = &'a Rights> {
        let members = actor
            .ancestors_and_self()
            .filter(move |(_, path)| path.len() > realm.len());
        let mut role = &self.default_role;
        members.map(move |(_, path)| {
            // A role holds for what is below its subject too, until a deeper assignment says otherwise.
            role = self.assigned.get(path).unwrap_or(role);
            role
        })
    }
}

/// The parsed policy of the newest state; parses once per change. Cheap to clone and to ask; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    cached: Arc<ArcSwap<(Hash, Arc<PolicyView>)>>,
}

impl Policies {
    /// The policy of this state. Before `Init`, and for content that this version cannot read, one that permits nothing.
    #[must_use]
    pub fn of(&self, state: &State) -> Arc<PolicyView> {
        let (_, policy) = state.policy();
        let cached = self.cached.load();
        if cached.0 == policy.digest {
            return Arc::clone(&cached.1);
        }
        let view = PolicyView::parse(&policy.clients_toml, &policy.resources_toml).unwrap_or_else(|reason| {
            error!(%reason, "policy not readable: nothing is permitted until this node is upgraded or another applied");
            PolicyView::default()
        });
        let view = Arc::new(view);
        self.cached
            .store(Arc::new((policy.digest, Arc::clone(&view))));
        view
    }
}

/// `uri:` in front of an identity, in any case, is a spelling of the same.
#[must_use]
pub fn without_scheme(identity: &str) -> &str {
    match identity.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("uri:") => &identity[4..],
        _ => identity,
    }
}

/// `*` stands for one or more characters of one label.
fn dns_matches(pattern: &str, name: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('.'), name.split('.'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if label_matches(pattern, name) => {}
            _ => return false,
        }
    }
}

fn label_matches(pattern: &str, label: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern.eq_ignore_ascii_case(label);
    };
    let (before, after, label) = (
        before.to_lowercase(),
        after.to_lowercase(),
        label.to_lowercase(),
    );
    label.len() > before.len() + after.len()
        && label.starts_with(&before)
        && label.ends_with(&after)
}
