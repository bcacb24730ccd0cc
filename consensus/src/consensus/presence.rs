//! Presence: makes this process's start known to the members, and notices when it is not wanted any more.

use hessra_state::{Applied, Command, Duty, Misfit};
use tokio::time::sleep;

use super::Consensus;
use crate::settings::RETRY_PAUSE;
use crate::world::World;

impl<W: World> Consensus<W> {
    /// Runs until the node stops.
    pub(crate) async fn be_present(&self) {
        let mut published = self.raft().watch();
        let keep = self.raft().stores().take_keeper();
        loop {
            published.borrow_and_update();
            let stores = self.raft().stores();
            if !stores.is_known() && !self.record_start().await {
                sleep(RETRY_PAUSE).await;
                continue;
            }
            // The answer to its own proposal comes when it is applied: what is recorded now is known now.
            if let Some(keep) = &keep
                && stores.is_known()
                && stores.ended().is_none()
            {
                match stores.begin_own_line(keep).await {
                    Ok(true) => {
                        tracing::info!(
                            start = stores.own().count,
                            "the start of this node is recorded"
                        );
                        continue;
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(%error, "the start of this node could not be kept");
                        sleep(RETRY_PAUSE).await;
                        continue;
                    }
                }
            }
            if published.changed().await.is_err() {
                return;
            }
        }
    }

    /// Proposes this process's start. True when nothing is left to be done: it is recorded, or refused for good.
    async fn record_start(&self) -> bool {
        let raft = self.raft();
        let is_ready = self.state().is_initialized() && raft.is_member(raft.identity().id);
        if !is_ready || raft.leader().is_none() {
            return false;
        }
        let command = Command::Started(raft.stores().own());
        let asked = self.asked_by_node(Duty::Presence);
        // Also while the audit is refused: a start has no record, and without it this node could not say why.
        let proposed = self
            .propose_unrecorded(command, asked, self.deadline())
            .await;
        match proposed.map(|committed| committed.applied) {
            Ok(Applied::Refused(refusal)) => match Misfit::of_refusal(&refusal) {
                Some(misfit) => {
                    raft.stores().disown(misfit);
                    true
                }
                None => {
                    tracing::error!(
                        refusal = refusal.message,
                        "the start of this node was not recorded"
                    );
                    false
                }
            },
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "the start of this node is not recorded yet");
                false
            }
        }
    }
}
