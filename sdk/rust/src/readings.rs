//! Readings: how old the answers to a client's reads were.

use std::sync::{Arc, Mutex, PoisonError};

pub use hessra_proto::as_of::AsOf;

/// Ages of the answers that one connection got. Cheap to clone; all clones are one.
///
/// A node that is cut off from its quorum still answers, because an old list is better than none; a client that must not take
/// it for the present asks here.
///
/// ```
/// use hessra_sdk_rust::Readings;
/// assert_eq!(Readings::default().unconfirmed(), None, "nothing was read yet");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Readings {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    last: Option<AsOf>,
    unconfirmed: Option<AsOf>,
}

impl Readings {
    /// Notes the age of one answer. `None`: it is of a write, which a quorum has: what was read before it was good enough.
    pub(crate) fn note(&self, as_of: Option<AsOf>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match as_of {
            None => inner.unconfirmed = None,
            Some(as_of) => {
                inner.last = Some(as_of);
                if !as_of.confirmed {
                    inner.unconfirmed = Some(as_of);
                }
            }
        }
    }

    /// Age of the newest answer; `None` when none was read.
    #[must_use]
    pub fn last(&self) -> Option<AsOf> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last
    }

    /// Age of the newest answer that no quorum confirmed; `None` when each was confirmed, or a write followed.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<AsOf> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.unconfirmed
    }
}
