//! Background work of a verifier, beside checks.

use std::sync::Mutex;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Background work of a verifier; ends when the last clone is gone.
#[derive(Debug)]
pub(super) struct Background {
    pub(super) stop: watch::Sender<bool>,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
    pub(super) timer: JoinHandle<()>,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.timer.abort();
    }
}
