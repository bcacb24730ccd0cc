//! The node's issuer in this process, over a state that it is given: no network, no disk, one thread.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hessra_node::edge::{Clock, random_16, random_bytes};
use hessra_node::issuer::{
    AuthorizationRequest, Caller, CapabilityRequest, Issued, Issuer, IssuerParts, Rates,
    RefreshRequest,
};
use hessra_node::keys::generate::new_key;
use hessra_node::policy::Policies;
use hessra_node::problem::Problem;
use hessra_node::request::{Noted, RequestContext};
use hessra_node::seal::{KekRing, MemoryKek};
use hessra_node::signer::Keyholder;
use hessra_node::telemetry::Metrics;
use hessra_node::tls::PeerCertificate;
use hessra_revocation::{FeedId, FeedSalt, KeyPurpose, KeyState};
use hessra_rights::Rights;
use hessra_state::{
    Applied, Author, Command, Duty, Init, Machine, Policy, RequestId, Stamped, State,
};
use zeroize::Zeroizing;

use super::signatures::Signatures;
use crate::failure::BenchError;
use crate::process::own_usage;

/// Requests per second that the issuer allows: no caller is kept waiting here.
const PER_SECOND: NonZeroU32 = NonZeroU32::MAX;
const ALICE: &str = "urn:hessra:alice";
const GATEWAY: &str = "urn:hessra:gateway";

/// One kind of token.
pub(super) struct Kind {
    /// Name of the kind, as the table says it.
    pub(super) name: &'static str,
    /// Signatures that the token cannot be made without.
    pub(super) signatures: Signatures,
    issue: fn(&Inside) -> Result<Issued, Problem>,
}

/// An issuer, and an identity token of its own.
pub(super) struct Inside {
    issuer: Issuer,
    alice: PeerCertificate,
    gateway: PeerCertificate,
    identity: String,
    kinds: Vec<Kind>,
}

impl Inside {
    /// Opens an issuer with the policy of a prepared cluster.
    pub(super) fn open(directory: &Path) -> Result<Self, BenchError> {
        let issuer = issuer(directory)?;
        let (alice, gateway) = (certificate(ALICE), certificate(GATEWAY));
        let identity = issuer.identity_token(&context(), Some(&alice), None);
        let identity = identity.map_err(|problem| refused(&problem))?.token;
        let mut inside = Self {
            issuer,
            alice,
            gateway,
            identity,
            kinds: Vec::new(),
        };
        inside.kinds = inside.all_kinds()?;
        Ok(inside)
    }

    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// CPU seconds of one token.
    pub(super) fn round(&self, kind: &Kind, tokens: usize) -> Result<f64, BenchError> {
        let before = own_usage();
        for _ in 0..tokens {
            std::hint::black_box((kind.issue)(self).map_err(|problem| refused(&problem))?);
        }
        Ok(own_usage().since(before).cpu() / tokens as f64)
    }

    fn all_kinds(&self) -> Result<Vec<Kind>, BenchError> {
        type Issue = fn(&Inside) -> Result<Issued, Problem>;
        let kinds: [(&'static str, bool, Issue); 5] = [
            ("identity", false, Self::identity),
            ("identity, refreshed", true, Self::refreshed),
            ("authorization", false, Self::authorization),
            (
                "authorization, for an identity token",
                true,
                Self::exchanged,
            ),
            ("capability, good once", false, Self::capability),
        ];
        kinds
            .into_iter()
            .map(|(name, shows_identity, issue)| {
                let issued = issue(self).map_err(|problem| refused(&problem))?;
                let made = Signatures::made_in(&issued.token)?;
                let signatures = if shows_identity {
                    made.and_verified_of(&self.identity)?
                } else {
                    made
                };
                Ok(Kind {
                    name,
                    signatures,
                    issue,
                })
            })
            .collect()
    }

    fn identity(&self) -> Result<Issued, Problem> {
        self.issuer
            .identity_token(&context(), Some(&self.alice), None)
    }

    fn refreshed(&self) -> Result<Issued, Problem> {
        self.issuer.refreshed_token(
            &context(),
            &RefreshRequest {
                certificate: None,
                current_token: self.identity.clone(),
                identifier: None,
            },
        )
    }

    fn authorization(&self) -> Result<Issued, Problem> {
        let caller = Caller {
            certificate: Some(self.alice.clone()),
            bearer: None,
        };
        self.issuer
            .authorization_token(&context(), &caller, &right("api", "read"))
            .map(|(issued, _)| issued)
    }

    fn exchanged(&self) -> Result<Issued, Problem> {
        let caller = Caller {
            certificate: None,
            bearer: Some(self.identity.clone()),
        };
        self.issuer
            .authorization_token(&context(), &caller, &right("api", "read"))
            .map(|(issued, _)| issued)
    }

    fn capability(&self) -> Result<Issued, Problem> {
        let caller = Caller {
            certificate: Some(self.gateway.clone()),
            bearer: None,
        };
        let request = CapabilityRequest {
            authorization: right("payments", "pay"),
            designations: Vec::new(),
            attested: Vec::new(),
            anchor: None,
            activator_key: None,
            context: None,
            duration: None,
        };
        let capability = self.issuer.capability(&context(), &caller, &request);
        capability.map(|capability| capability.issued)
    }
}

/// Request context, as the middleware makes it for a request that says nothing.
fn context() -> RequestContext {
    RequestContext::new(Noted::default())
}

fn right(resource: &str, operation: &str) -> AuthorizationRequest {
    AuthorizationRequest {
        resource: resource.to_owned(),
        operation: operation.to_owned(),
        domain: None,
    }
}

fn certificate(identity: &str) -> PeerCertificate {
    PeerCertificate {
        der: Vec::new(),
        sha256: random_bytes(),
        san_uris: vec![identity.to_owned()],
        san_dns: Vec::new(),
        ends_at: u64::MAX,
        is_of_files: true,
    }
}

fn refused(problem: &Problem) -> BenchError {
    BenchError::Token(format!("refused: {problem:?}"))
}

fn issuer(directory: &Path) -> Result<Issuer, BenchError> {
    let kek = MemoryKek::new(Zeroizing::new(random_bytes()), "of this run".to_owned());
    let keks = KekRing::new(Arc::new(kek), None);
    let state = Arc::new(state(directory, &keks)?);
    let keys = Keyholder::new(keks);
    keys.follow(&state);
    Ok(Issuer::new(IssuerParts {
        state: Arc::new(move || Arc::clone(&state)),
        freshness: Arc::new(|| Some(Duration::ZERO)),
        clock_off: Arc::new(|| None),
        policies: Policies::default(),
        keys,
        clock: Clock::start(),
        stale_max: Duration::from_secs(10),
        rates: Rates {
            per_identity: PER_SECOND,
            per_address: PER_SECOND,
        },
        metrics: Metrics::unrecorded(),
    }))
}

fn state(directory: &Path, keks: &KekRing) -> Result<State, BenchError> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|error| BenchError::file(&path, &error))
    };
    let keys = (1..).zip(KeyPurpose::ALL);
    let keys = keys.map(|(id, purpose)| new_key(keks, id, purpose, KeyState::Active));
    let init = Init {
        feed_id: FeedId(random_16()),
        salt: FeedSalt(random_16()),
        keys: keys
            .collect::<Result<_, _>>()
            .map_err(|error| BenchError::Token(error.to_string()))?,
        policy: Policy::new(read("clients.toml")?, read("resources.toml")?),
    };
    let mut machine = Machine::new();
    let begin = Stamped {
        at: Clock::start().wall(),
        author: Author::Node {
            id: 1,
            duty: Duty::Start,
        },
        request: RequestId(random_16()),
        command: Command::Init(init),
    };
    let applied = machine.apply(&begin, &Rights::new(|_| [0; 32]));
    match applied {
        Applied::Initialized { .. } => Ok(machine.state().clone()),
        other => Err(BenchError::Token(format!("no state: {other:?}"))),
    }
}
