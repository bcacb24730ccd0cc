//! What becomes known of one request on its way: who asks, for what, what was decided.
//!
//! The layers of [`super::witness`] begin a trail around every request. Whoever learns something notes it, in one line,
//! wherever that is: `trail::note(|noted| noted.subject(&identity))`. Outside of a request a note goes nowhere. So a new
//! endpoint cannot forget its record: what it forgets is a detail.

use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use hessra_audit::{Actor, Record, Target};
use hessra_revocation::TokenId;
use serde_json::Value;

tokio::task_local! {
    static TRAIL: Trail;
}

/// What was noted of one request so far. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Trail {
    noted: Arc<Mutex<Noted>>,
}

/// See [`Trail`].
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// Who asks.
    pub actor: Actor,
    /// Path or method.
    pub api: String,
    /// Of the caller's trace.
    pub trace_id: String,
    /// Kind of token that is decided about; `None` = nothing was decided.
    pub kind: Option<&'static str>,
    /// To what it is done.
    pub target: Target,
    /// Revision that it was decided on.
    pub revision: u64,
    /// What else is worth knowing.
    pub change: Vec<(&'static str, Value)>,
}

impl Noted {
    /// Who asks, proved by what was presented.
    pub fn proved(&mut self, identity: &impl std::fmt::Display, auth: &str) {
        self.actor.subject = identity.to_string();
        self.actor.auth = auth.to_owned();
    }

    /// For whom the token is.
    pub fn subject(&mut self, identity: &impl std::fmt::Display) {
        self.target.subject = identity.to_string();
    }

    /// What the token is to permit.
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

    /// One more thing.
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

impl Trail {
    /// A trail that begins with this.
    #[must_use]
    pub fn new(noted: Noted) -> Self {
        Self {
            noted: Arc::new(Mutex::new(noted)),
        }
    }

    /// What was noted so far.
    #[must_use]
    pub fn noted(&self) -> Noted {
        self.lock().clone()
    }

    /// Runs a future with this trail.
    pub async fn around<F: Future>(&self, future: F) -> F::Output {
        TRAIL.scope(self.clone(), future).await
    }

    /// Runs a function with this trail, on any thread.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        TRAIL.sync_scope(self.clone(), work)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trail of the request that is worked on here; an empty one outside of any. For work that goes on elsewhere:
/// a task of its own, a thread for computation.
#[must_use]
pub fn current() -> Trail {
    TRAIL.try_with(Trail::clone).unwrap_or_default()
}

/// Notes something.
pub fn note(what: impl FnOnce(&mut Noted)) {
    let _ = TRAIL.try_with(|trail| what(&mut trail.lock()));
}
