//! A policy as it is in force, and the questions that it answers: about clients here, about operators and resources in the
//! modules below.

mod known;
mod operators;
mod resources;
mod verifiers;

use std::collections::{BTreeMap, BTreeSet};

use hessra_revocation::{Identity, canonical_dns_name};
use rustls_pki_types::CertificateDer;

use crate::denied::Denied;
use crate::names::{dns_matches, without_scheme};
use crate::operator::Operator;
use crate::realm::Realm;
use crate::resource::{ExposureRule, Resource};
use crate::rights::{Limit, Rights, Rule, right_text};
use crate::structure::{DELEGATIONS_MAX, REFRESHES_MAX};
use crate::verifier::VerifierIds;

/// Bounds on refreshing an identity token: how often and for how long, counted from the one that was first issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshBounds {
    /// Refreshes in a row; 0 = none.
    pub count_max: u32,
    /// Seconds from the first issue to the end of the last refreshed token.
    pub age_max: u64,
}

/// Bounds of the whole policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Segments: revocations nearer to the root need `force`.
    pub min_revocation_depth: u8,
    /// Seconds that an authorization token lives when its resource does not say.
    pub authorization_token_duration: u64,
    /// Delegations that an identity token may have.
    pub delegation_depth_max: u8,
    /// Seconds that a stub lives at most.
    pub stub_duration_max: u64,
    /// Refresh bounds of clients that do not say.
    pub refresh: RefreshBounds,
    /// True when what can undo safety or hurt everyone needs two operators.
    pub two_person: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Nearer to the root than three segments is a whole organisation.
            min_revocation_depth: 3,
            // What the published verifiers expect of an authorization token.
            authorization_token_duration: 300,
            // The published text's default; the published code has none.
            delegation_depth_max: DELEGATIONS_MAX,
            stub_duration_max: 3_600,
            refresh: RefreshBounds {
                count_max: REFRESHES_MAX,
                age_max: 30 * 86_400,
            },
            two_person: true,
        }
    }
}

/// Client as one entry of the policy describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// True when it may have and use identity tokens.
    pub identity_tokens: bool,
    /// Seconds; the longest life of its identity tokens.
    pub identity_token_duration: u64,
    /// True when its identity tokens may be delegated.
    pub delegable: bool,
    /// True when, as a bearer, it must show a token that was attenuated for this request: just in time.
    pub require_jit: bool,
    /// Bounds on refreshing its identity tokens.
    pub refresh: RefreshBounds,
    /// Identities for which, or below which, it may request stubs.
    pub stub_targets: Vec<Identity>,
    /// Line of its entry in `clients.toml`.
    pub line: usize,
    pub(crate) rights: Rights,
    pub(crate) realm: Option<Realm>,
}

impl Client {
    /// True when it has a `domain`: it may mint identities below itself.
    #[must_use]
    pub fn is_realm(&self) -> bool {
        self.realm.is_some()
    }

    /// True when it may request a stub for this identity.
    #[must_use]
    pub fn may_request_stub_for(&self, target: &Identity) -> bool {
        self.stub_targets
            .iter()
            .any(|bound| target.is_at_or_below(bound))
    }
}

/// A name of a client that a certificate proved.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Principal<'p> {
    /// Spelled as in the policy; for a DNS wildcard, the certificate's name in canonical spelling.
    pub identity: Identity,
    pub client: &'p Client,
}

/// The names that a certificate proves.
pub trait ProvenNames {
    /// Subject alternative names of the kind URI.
    fn uris(&self) -> &[String];
    /// Subject alternative names of the kind DNS.
    fn dns_names(&self) -> &[String];
}

/// A policy as it is in force: parsed and checked.
#[derive(Clone, Debug, Default)]
pub struct PolicyView {
    /// Clients by path: the identity as spelled, and its entry.
    pub(crate) clients: BTreeMap<String, (Identity, Client)>,
    /// Patterns of SAN DNS names, in lower case.
    pub(crate) dns_clients: Vec<(String, Client)>,
    /// Operators by name without `uri:`.
    pub(crate) operators: BTreeMap<String, Operator>,
    pub(crate) verifiers: VerifierIds,
    pub(crate) resources: BTreeMap<String, Resource>,
    pub(crate) exposure_rules: Vec<ExposureRule>,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    pub(crate) limits: Limits,
}

impl PolicyView {
    /// Identities of the policy at or under one, sorted.
    #[must_use]
    pub fn identities_below(&self, identity: &Identity) -> Vec<Identity> {
        let named = self.named_identities();
        let below: BTreeSet<Identity> =
            named.filter(|name| name.is_at_or_below(identity)).collect();
        below.into_iter().collect()
    }

    /// Every identity that the policy names: clients, and members of realms with a role of their own.
    pub(crate) fn named_identities(&self) -> impl Iterator<Item = Identity> {
        self.clients.values().flat_map(|(name, client)| {
            let members = client.realm.iter().flat_map(|realm| realm.assigned.keys());
            std::iter::once(name.clone())
                .chain(members.filter_map(|member| Identity::parse(member).ok()))
        })
    }

    /// Effective rights of an identity, as `resource:operation`, sorted.
    #[must_use]
    pub fn resources_of(&self, identity: &Identity) -> Vec<String> {
        let rights = self.effective_rights(identity).unwrap_or_default();
        rights.iter().map(right_text).collect()
    }

    /// Bounds of the whole policy.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Revocations nearer to the root than this many segments need `force`.
    #[must_use]
    pub fn min_revocation_depth(&self) -> u8 {
        self.limits.min_revocation_depth
    }

    /// True when revoking this identity needs `force`, because whole organisations are so near to the root. A client with a
    /// DNS name is one host, whatever the depth of its name.
    #[must_use]
    pub fn is_near_the_root(&self, identity: &Identity) -> bool {
        identity.depth() < self.limits.min_revocation_depth
            && self.dns_client(identity.path()).is_none()
    }

    /// True when what can undo safety or hurt everyone needs two operators.
    #[must_use]
    pub fn two_person(&self) -> bool {
        self.limits.two_person
    }

    /// Seconds that an authorization token lives, unless its resource says otherwise.
    #[must_use]
    pub fn authorization_token_duration(&self) -> u64 {
        self.limits.authorization_token_duration
    }

    /// CAs of the policy that may authenticate clients, beside those of the node's configuration.
    #[must_use]
    pub fn client_authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// The client that a certificate names.
    ///
    /// # Errors
    /// No client, or more than one: then it cannot be told who is asking.
    pub fn principal(&self, certificate: &impl ProvenNames) -> Result<Principal<'_>, Denied> {
        let uris = certificate.uris().iter();
        let uris = uris.filter_map(|uri| self.clients.get(without_scheme(uri)));
        let mut found: Vec<Principal<'_>> = uris
            .map(|(identity, client)| Principal {
                identity: identity.clone(),
                client,
            })
            .collect();
        let names = certificate.dns_names().iter();
        found.extend(names.filter_map(|name| self.dns_principal(&canonical_dns_name(name))));
        found.sort_by(|a, b| a.identity.cmp(&b.identity));
        found.dedup_by(|a, b| a.identity == b.identity);
        match found.len() {
            0 => Err(Denied::UnknownCertificate),
            1 => Ok(found.swap_remove(0)),
            _ => Err(Denied::AmbiguousCertificate),
        }
    }

    /// The client entry of an identity, for any caller that asks in its name.
    #[must_use]
    pub fn client(&self, identity: &Identity) -> Option<&Client> {
        let by_name = self.clients.get(identity.path()).map(|(_, client)| client);
        by_name.or_else(|| {
            self.dns_principal(identity.path())
                .map(|principal| principal.client)
        })
    }

    /// The nearest realm above an identity, spelled as in the policy. A realm is not its own member.
    #[must_use]
    pub fn realm_of(&self, identity: &Identity) -> Option<(&Identity, &Client)> {
        let realms = self.realms_above(identity);
        let (path, _) = realms.last()?;
        self.clients.get(path).map(|(name, client)| (name, client))
    }

    /// The role that an identity has in its nearest realm, its own or the one that it inherits.
    #[must_use]
    pub fn role_of(&self, identity: &Identity) -> Option<&str> {
        let (path, realm) = self.realms_above(identity).last()?;
        let (_, role) = realm.limits(path, identity).last()?;
        role.name.as_deref()
    }

    /// Checks that an actor may do this. `subject`: who the token was issued to, the actor itself or an ancestor of it.
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

    /// Checks that an actor may do this.
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
    pub(crate) fn effective_rights(&self, actor: &Identity) -> Option<Rights> {
        if !self.is_known(actor) {
            return None;
        }
        let mut limits = self.limits_of(actor);
        let first = limits.next()?.rights.clone();
        Some(limits.fold(first, |rights, limit| {
            rights.intersection(limit.rights).cloned().collect()
        }))
    }

    /// True when it has an entry, or is a member of a realm.
    #[must_use]
    pub fn is_known(&self, actor: &Identity) -> bool {
        self.client(actor).is_some() || self.realms_above(actor).next().is_some()
    }

    /// Every set of rights that bounds an actor, from the root down.
    pub(crate) fn limits_of<'a>(&'a self, actor: &'a Identity) -> impl Iterator<Item = Limit<'a>> {
        let entries = actor.ancestors_and_self().filter_map(move |(_, path)| {
            let (identity, client) = self.clients.get(path)?;
            // A realm's own rights are its own: its members have what their roles give.
            (client.realm.is_none() || path == actor.path()).then_some(Limit {
                holder: identity.as_str(),
                rule: Rule::Entry,
                line: client.line,
                rights: &client.rights,
            })
        });
        // The host bounds what is below it, as any entry does.
        let host = actor.ancestors_and_self().next().map(|(_, host)| host);
        let dns = host.and_then(|host| Some((host, self.dns_client(host)?)));
        let dns = dns.map(|(host, (pattern, client))| Limit {
            holder: host,
            rule: Rule::DnsEntry(pattern),
            line: client.line,
            rights: &client.rights,
        });
        let roles = self.realms_above(actor).flat_map(move |(path, realm)| {
            let members = realm.limits(path, actor);
            members.map(move |(holder, role)| Limit {
                holder,
                rule: Rule::Role {
                    realm: path,
                    name: role.name.as_deref(),
                },
                line: role.line,
                rights: &role.rights,
            })
        });
        entries.chain(dns).chain(roles)
    }

    fn realms_above<'r, 'n>(
        &'r self,
        actor: &'n Identity,
    ) -> impl Iterator<Item = (&'n str, &'r Realm)> {
        actor.ancestors_and_self().filter_map(move |(_, path)| {
            let (_, client) = self.clients.get(path)?;
            let realm = client.realm.as_ref()?;
            (path != actor.path()).then_some((path, realm))
        })
    }

    fn dns_principal(&self, name: &str) -> Option<Principal<'_>> {
        let (_, client) = self.dns_client(name)?;
        Some(Principal {
            identity: Identity::parse(name).ok()?,
            client,
        })
    }

    fn dns_client(&self, name: &str) -> Option<(&str, &Client)> {
        let found = self.dns_clients.iter();
        let mut found = found.filter(|(pattern, _)| dns_matches(pattern, name));
        found
            .next()
            .map(|(pattern, client)| (pattern.as_str(), client))
    }
}
