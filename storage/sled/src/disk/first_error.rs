//! First error of sled, which ends the engine. A disk that failed once is not asked again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use crate::{Space, StoreError};

/// First error, which every later call answers.
#[derive(Clone)]
pub(super) struct FirstError {
    /// Set once.
    pub(super) first: Arc<OnceLock<StoreError>>,
    /// sled's data file, for messages.
    pub(super) file: Arc<str>,
}

impl FirstError {
    /// No error yet, of sled with this data file.
    pub(super) fn of(file: String) -> Self {
        Self {
            first: Arc::default(),
            file: file.into(),
        }
    }

    /// Runs a call of sled's, unless the engine has failed; remembers when it fails now.
    pub(super) fn guard<T>(&self, act: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        if let Some(first) = self.first.get() {
            return Err(first.clone());
        }
        match catch_unwind(AssertUnwindSafe(act)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.remember(self.translate(error))),
            Err(panic) => {
                Err(self.remember(self.corrupt(&format!("sled gave up: {}", message(&*panic)))))
            }
        }
    }

    /// Error that ended the engine: this one, unless another came first.
    pub(super) fn remember(&self, error: StoreError) -> StoreError {
        self.first.get_or_init(|| error).clone()
    }

    fn translate(&self, error: sled::Error) -> StoreError {
        match error {
            sled::Error::Io(source) => StoreError::io("read or write", &*self.file, source),
            sled::Error::Corruption { at, .. } => {
                let place = at.map_or_else(String::new, |at| format!(" at {at}"));
                self.corrupt(&format!("sled found a damaged page{place}"))
            }
            other => self.corrupt(&format!("sled cannot read it: {other}")),
        }
    }

    fn corrupt(&self, what: &str) -> StoreError {
        StoreError::corrupt(&*self.file, "page", what)
    }

    /// Error of a value whose pieces do not fit together.
    pub(super) fn torn(&self, space: Space, key: &[u8], what: &str) -> StoreError {
        self.remember(StoreError::corrupt(
            &*self.file,
            crate::error::name(space, key),
            what,
        ))
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    // One line: sled prints whole pages.
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}
