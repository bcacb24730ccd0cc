//! Decides on requests for tokens, and mints.
//!
//! ```text
//! serving? ─ who asks? ─ too often? ─ are its checks met? ─ permitted by the policy? ─ revoked? ─ mint
//!   503         401          429             401                     403                   401
//! ```
//! | file | its story |
//! |---|---|
//! | `admission` | whether this node may issue at all, and anything to this identity |
//! | `term` | from when to when it lives, and the revision at which it was judged |
//! | `allowance` | how often an identity, the subject of a token, or an address is worked for |
//! | `caller`, `permission` | the caller, and what it may ask for |
//! | `identity`, `refresh`, `mint` | identities: over a certificate, for a token, of a realm for its members |
//! | `authorization`, `stub`, `signoff` | what the resource's configuration asks for |
//! | `capability`, `spending`, `context`, `ledger` | bound rights, single uses, sessions; what the cluster agrees on |
//! | `verification`, `verify` | whether a token is good |
//! | `right`, `issued` | the right that is asked for, and the token that is given |
//! | `refusal`, `outcome` | the answers that say no; what is counted |
//!
//! Minting needs no log entry: any node mints while its state is fresh, that is, while it has heard lately that a quorum
//! stands behind what it knows. A node that is cut off stops. What a lagging node mints carries its old revision, so a
//! rule that it had not heard of denies the token wherever the rule is known.
//!
//! An identity token that is exchanged is checked like at any verifier, revocation first. The ids of its blocks go into
//! the new token as ancestors, and so does the certificate it came over: revoking one of them kills both.

mod admission;
mod allowance;
mod authorization;
mod caller;
mod capability;
mod context;
mod identity;
mod issued;
mod ledger;
mod mint;
mod outcome;
mod permission;
mod refresh;
mod refusal;
mod right;
mod signoff;
mod spending;
mod stub;
mod term;
#[cfg(test)]
mod tests;
mod verification;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hessra_consensus::feed::SigningError;
use hessra_revocation::{KeyPurpose, KeyState};
use hessra_sdk_core::keyring::public_key_to_pem;
use hessra_sdk_core::{Keyring, PolicyChecks, StalenessPolicy, TokenVerifier, VerifierConfig};
use hessra_state::State;

use allowance::Allowances;

use crate::edge::Clock;
use crate::keys::jwks::{JwkSet, jwks};
use crate::policy::Policies;
use crate::problem::{Kind, Problem};
use crate::signer::{KeySet, Keyholder, TokenSigner, active_key};
use crate::telemetry::Metrics;

pub use allowance::Rates;
pub use authorization::Pending;
pub use caller::Caller;
pub(crate) use caller::nobody;
pub use capability::{Capability, CapabilityRequest};
pub use context::Growth;
pub use issued::Issued;
pub use ledger::{Ledger, UseId};
pub use refresh::RefreshRequest;
pub use right::AuthorizationRequest;
pub use spending::Use;
pub use stub::StubRequest;
pub use verification::{ChainClaim, Claim};

/// Parts that an issuer stands on.
pub struct IssuerParts {
    /// The state as last applied here.
    pub state: Arc<dyn Fn() -> Arc<State> + Send + Sync>,
    /// Age of the last confirmation of the quorum; `None` before the first.
    pub freshness: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// Sentence about this node's clock while that is off; nothing is issued then.
    pub clock_off: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    /// The policy of a state.
    pub policies: Policies,
    /// The keys that sign.
    pub keys: Keyholder,
    /// The clock of the node.
    pub clock: Clock,
    /// Age above which knowledge mints nothing.
    pub stale_max: Duration,
    /// How often anybody is worked for.
    pub rates: Rates,
    /// Metrics in which outcomes are counted.
    pub metrics: Arc<Metrics>,
}

/// A public key as clients take it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PublicKeyPem {
    pub id: u32,
    pub purpose: KeyPurpose,
    pub state: KeyState,
    pub pem: String,
}

/// The issuer: decides and mints. One per node.
pub struct Issuer {
    parts: IssuerParts,
    verifier: TokenVerifier,
    allowances: Allowances,
    keyring: ArcSwapOption<(KeySet, Keyring)>,
}

impl Issuer {
    /// An issuer over its parts.
    #[must_use]
    pub fn new(parts: IssuerParts) -> Self {
        let config = VerifierConfig {
            staleness: StalenessPolicy::Strict {
                max: parts.stale_max,
            },
            policy_checks: PolicyChecks::Evaluate,
            ..VerifierConfig::default()
        };
        let allowances = Allowances::new(parts.rates);
        Self {
            parts,
            verifier: TokenVerifier::new(config),
            allowances,
            keyring: ArcSwapOption::empty(),
        }
    }

    /// Checks that this node can mint now.
    ///
    /// # Errors
    /// There is no state yet, or it is older than its bound.
    pub fn serving(&self) -> Result<(), Problem> {
        self.knowledge().map(|_| ())
    }

    /// PEM of the key that signs tokens now, and all keys that the state has.
    ///
    /// # Errors
    /// The cluster has no keys yet.
    pub fn public_keys(&self) -> Result<(String, Vec<PublicKeyPem>), Problem> {
        let state = (self.parts.state)();
        let none = || {
            Problem::new(
                Kind::Unavailable,
                "not_initialized",
                "this cluster has no keys yet: try again soon",
            )
        };
        let active = active_key(&state, KeyPurpose::Token).ok_or_else(none)?;
        let pem = public_key_to_pem(&active.public_key).map_err(|_| none())?;
        let keys = state.keys().values().filter_map(|key| {
            let pem = public_key_to_pem(&key.public_key).ok()?;
            Some(PublicKeyPem {
                id: key.id,
                purpose: key.purpose,
                state: key.state,
                pem,
            })
        });
        Ok((pem, keys.collect()))
    }

    /// The keys whose tokens are believed, as other systems read them.
    ///
    /// # Errors
    /// The cluster has no keys yet.
    pub fn jwks(&self) -> Result<JwkSet, Problem> {
        let state = (self.parts.state)();
        if !state.is_initialized() {
            let sentence = "this cluster has no keys yet: try again soon";
            return Err(Problem::new(Kind::Unavailable, "not_initialized", sentence));
        }
        Ok(jwks(&state))
    }

    fn signer(&self) -> Result<TokenSigner, Problem> {
        let state = (self.parts.state)();
        self.parts
            .keys
            .token_signer(&state)
            .map_err(|error| match error {
                SigningError::NoActiveKey => {
                    Problem::new(Kind::Unavailable, "no_key", "no signing key is active yet")
                }
                // The sentence names a file of this machine: it is in the log and in `/readyz`.
                SigningError::Sealed(_) => Problem::new(
                    Kind::Unavailable,
                    "keys_sealed",
                    "this node cannot sign: ask another node",
                ),
            })
    }
}
