//! Holds writes back while leadership is handed over.

use tokio::sync::watch;

/// Switch that says whether writes may go on. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct WritePause(watch::Sender<bool>);

impl Default for WritePause {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl WritePause {
    /// Returns when writes may go on.
    pub(crate) async fn over(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|paused| !*paused).await;
    }

    /// Holds writes back for as long as the guard lives, however the hand-over ends.
    pub(crate) fn begin(&self) -> Paused {
        self.0.send_replace(true);
        Paused(self.clone())
    }
}

/// Guard of [`WritePause::begin`].
#[must_use]
pub(crate) struct Paused(WritePause);

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.0.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writes_go_on_however_a_hand_over_ends() {
        let pause = WritePause::default();
        let paused = pause.begin();
        let moment = Duration::from_millis(1);
        assert!(tokio::time::timeout(moment, pause.over()).await.is_err());
        drop(paused);
        pause.over().await;
    }
}
