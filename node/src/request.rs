//! The context of one request: its caller, what it asks for, what was decided.
//!
//! The middleware of the public port makes a context for every request and puts it among the request's extensions. It is
//! passed on as an argument from there. Code that learns something notes it: `context.note(|noted| …)`. The audit record
//! is made from the notes, so a new endpoint cannot forget its record: what it may forget is a detail.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use data_encoding::HEXLOWER;
use hessra_audit::{Actor, Record, Target};
use hessra_revocation::TokenId;
use http::request::Parts;
use serde_json::Value;

use crate::problem::{Kind, Problem};

/// The context of one request. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct RequestContext {
    noted: Arc<Mutex<Noted>>,
}

/// Notes on a request: what is known of it so far.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// The caller.
    pub actor: Actor,
    /// Address that it asks from; `None`: from this process.
    pub address: Option<IpAddr>,
    /// Path or method.
    pub api: String,
    /// Id of the caller's trace.
    pub trace_id: String,
    /// Kind of token that is decided about; `None` = nothing was decided.
    pub kind: Option<&'static str>,
    /// Target of what is done.
    pub target: Target,
    /// Revision that it was decided on.
    pub revision: u64,
    /// Other facts worth knowing.
    pub change: Vec<(&'static str, Value)>,
}

impl Noted {
    /// The caller's identity, and what proved it.
    pub fn proved(&mut self, identity: &impl std::fmt::Display, auth: &str) {
        self.actor.subject = identity.to_string();
        self.actor.auth = auth.to_owned();
    }

    /// The identity that the token is for.
    pub fn subject(&mut self, identity: &impl std::fmt::Display) {
        self.target.subject = identity.to_string();
    }

    /// The right that the token is to give.
    pub fn purpose(&mut self, resource: &str, operation: &str) {
        self.target.resource = resource.to_owned();
        self.target.operation = operation.to_owned();
    }

    /// Revocation ids of the blocks of the token that was made, hexadecimal.
    pub fn minted(&mut self, token_ids: impl IntoIterator<Item = String>) {
        self.target.token_ids = token_ids.into_iter().collect();
    }

    /// The token that was presented and found good: its first block and its last.
    pub fn presented(&mut self, token_ids: &[TokenId]) {
        let ends = [
            ("presented", token_ids.first()),
            ("presented_last", token_ids.get(1..).and_then(<[_]>::last)),
        ];
        for (name, id) in ends {
            if let Some(id) = id {
                self.also(name, HEXLOWER.encode(id.as_bytes()));
            }
        }
    }

    /// Notes one more fact.
    pub fn also(&mut self, name: &'static str, value: impl Into<Value>) {
        self.change.push((name, value.into()));
    }

    /// Puts everything noted into a record.
    pub fn fill(self, record: &mut Record) {
        record.actor = self.actor;
        record.target = self.target;
        record.request.api = self.api;
        record.request.trace_id = self.trace_id;
        record.revision = self.revision;
        let change = self.change.into_iter();
        record
            .change
            .extend(change.map(|(name, value)| (name.to_owned(), value)));
    }
}

impl RequestContext {
    /// A context that begins with this.
    #[must_use]
    pub fn new(noted: Noted) -> Self {
        Self {
            noted: Arc::new(Mutex::new(noted)),
        }
    }

    /// The context of a request that came through the middleware.
    ///
    /// # Errors
    /// There is none: a request that could not be recorded is not answered.
    pub fn of(extensions: &http::Extensions) -> Result<Self, MissingContext> {
        extensions.get::<Self>().cloned().ok_or(MissingContext)
    }

    /// Notes something.
    pub fn note(&self, what: impl FnOnce(&mut Noted)) {
        what(&mut self.lock());
    }

    /// A copy of what was noted so far.
    #[must_use]
    pub fn noted(&self) -> Noted {
        self.lock().clone()
    }

    /// The caller, as far as it is known.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.lock().actor.clone()
    }

    /// Address that the request came from; `None`: this process.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.lock().address
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that did not come through the middleware: it would leave no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this request cannot be recorded, so it is not answered: report it, with the version of the node"
)]
pub struct MissingContext;

impl From<MissingContext> for Problem {
    fn from(missing: MissingContext) -> Self {
        tracing::error!("a request has no context: its path has no audit middleware");
        Self::new(Kind::Unavailable, "audit_unavailable", missing.to_string())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::of(&parts.extensions)?)
    }
}
