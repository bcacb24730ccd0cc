//! The keys of the cluster: list, prepare, activate, retire, revoke, rewrap.

use std::time::Duration;

use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_proto::v1::keys_server::Keys as Service;
use hessra_revocation::{KeyPurpose, KeyState, UnixMillis};
use hessra_state::{Applied, Command, KeyCommand, PendingAction, RequestId, SealedKey, State};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::service::{Answer, AuthorityService};
use super::target::{other_request, refused, request_id};
use crate::keys::generate::{new_key, rewrapped};
use crate::keys::ready_in;
use crate::keys::rotation::successor;
use crate::policy::Right;
use crate::seal::{SealError, kek_of};

#[tonic::async_trait]
impl Service for AuthorityService {
    async fn list(&self, request: Request<v1::ListKeysRequest>) -> Answer<v1::ListKeysResponse> {
        let caller = self.caller(&request)?;
        caller.may(Right::Read, None)?;
        Ok(Response::new(self.key_list(&caller)))
    }

    async fn prepare(&self, request: Request<v1::PrepareKeyRequest>) -> Answer<v1::KeyResponse> {
        let asking = self.asking(&request, &request.get_ref().request_id)?;
        let purpose = purpose(&request.get_ref().purpose)?;
        self.all_members_have_the_kek(true).await?;
        let applied = self.prepare_key(&asking, purpose).await?;
        Ok(Response::new(self.changed(&asking, applied)?))
    }

    async fn activate(&self, request: Request<v1::ActivateKeyRequest>) -> Answer<v1::KeyResponse> {
        let asking = self.asking(&request, &request.get_ref().request_id)?;
        let (id, force) = (request.get_ref().id, request.get_ref().force);
        if force {
            tracing::warn!(
                key = id,
                by = asking.caller.identity,
                "activation is forced"
            );
        }
        let applied = self.activate_key(&asking, id, force, None).await?;
        Ok(Response::new(self.changed(&asking, applied)?))
    }

    async fn retire(&self, request: Request<v1::RetireKeyRequest>) -> Answer<v1::KeyResponse> {
        let asking = self.asking(&request, &request.get_ref().request_id)?;
        let id = request.get_ref().id;
        self.linearized(asking.deadline).await?;
        let applied = match heir(&self.consensus.state(), id) {
            Some(heir) => self.activate_key(&asking, heir, false, Some(id)).await?,
            // The state machine knows what stands in the way, and says it.
            None => self.key_command(&asking, KeyCommand::Retire(id)).await?,
        };
        Ok(Response::new(self.changed(&asking, applied)?))
    }

    async fn revoke(&self, request: Request<v1::RevokeKeyRequest>) -> Answer<v1::KeyResponse> {
        let asking = self.asking(&request, &request.get_ref().request_id)?;
        let id = request.get_ref().id;
        let command = if asking.caller.policy.two_person() {
            Command::Ask(PendingAction::RevokeKey(id))
        } else {
            Command::Key(KeyCommand::Revoke(id))
        };
        let applied = self.command(&asking, asking.request, command).await?;
        Ok(Response::new(self.changed(&asking, applied)?))
    }

    async fn rewrap(&self, request: Request<v1::RewrapRequest>) -> Answer<v1::RewrapResponse> {
        let asking = self.asking(&request, &request.get_ref().request_id)?;
        self.all_members_have_the_kek(request.get_ref().force)
            .await?;
        self.linearized(asking.deadline).await?;
        let keks = &self.keys.keks;
        let envelopes = rewrapped(keks, &self.consensus.state()).map_err(unsealed)?;
        let kek = keks.id().to_string();
        if envelopes.is_empty() {
            return Ok(Response::new(v1::RewrapResponse { keys: 0, kek }));
        }
        let command = KeyCommand::Rewrap(envelopes);
        match self.key_command(&asking, command).await? {
            Applied::Rewrapped { keys } => {
                tracing::info!(keys, kek, by = asking.caller.identity, "keys rewrapped");
                Ok(Response::new(v1::RewrapResponse { keys, kek }))
            }
            _ => Err(other_request()),
        }
    }
}

/// A write by a caller that has the right to it.
struct Asking {
    caller: Caller,
    request: RequestId,
    deadline: Instant,
}

impl AuthorityService {
    fn asking<T>(&self, request: &Request<T>, id: &[u8]) -> Result<Asking, Status> {
        let caller = self.caller(request)?;
        caller.may(Right::Keys, None)?;
        Ok(Asking {
            caller,
            request: request_id(id)?,
            deadline: self.deadline(request),
        })
    }

    async fn linearized(&self, deadline: Instant) -> Result<(), Failure> {
        self.consensus.linearize(deadline).await?;
        Ok(())
    }

    async fn prepare_key(&self, asking: &Asking, purpose: KeyPurpose) -> Result<Applied, Status> {
        self.linearized(asking.deadline).await?;
        let id = self.consensus.state().unused_key_id();
        let key = new_key(&self.keys.keks, id, purpose, KeyState::Prepared).map_err(unsealed)?;
        self.key_command(asking, KeyCommand::Prepare(key)).await
    }

    /// `instead_of`: the key whose retirement was asked for.
    async fn activate_key(
        &self,
        asking: &Asking,
        id: u32,
        force: bool,
        instead_of: Option<u32>,
    ) -> Result<Applied, Status> {
        let published_for_min = (!force).then_some(self.keys.schedule.published_for_min);
        let command = KeyCommand::Activate {
            id,
            published_for_min,
            instead_of,
        };
        self.key_command(asking, command).await
    }

    async fn key_command(&self, asking: &Asking, command: KeyCommand) -> Result<Applied, Status> {
        self.command(asking, asking.request, Command::Key(command))
            .await
    }

    async fn command(
        &self,
        asking: &Asking,
        request: RequestId,
        command: Command,
    ) -> Result<Applied, Status> {
        match self.propose_command(asking, request, command).await? {
            Applied::Refused(refusal) => Err(refused(refusal).into()),
            applied => Ok(applied),
        }
    }

    async fn propose_command(
        &self,
        asking: &Asking,
        request: RequestId,
        command: Command,
    ) -> Result<Applied, Status> {
        let Asking {
            caller, deadline, ..
        } = asking;
        let committed = self.propose(caller, command, request, *deadline).await?;
        Ok(committed.applied)
    }

    fn changed(&self, asking: &Asking, applied: Applied) -> Result<v1::KeyResponse, Status> {
        let by = asking.caller.identity.as_str();
        match applied {
            Applied::KeyChanged {
                id,
                state,
                revision,
            } => {
                tracing::info!(key = id, state = state.word(), by, "key changed");
                let (known, now) = (self.consensus.state(), self.consensus.world().clock.wall());
                Ok(v1::KeyResponse {
                    id,
                    state: state.word().to_owned(),
                    revision: revision.0,
                    pending: None,
                    ready_in_ms: known
                        .keys()
                        .get(&id)
                        .map_or(0, |key| self.ready_in_ms(key, now)),
                })
            }
            Applied::Pending { id, until, already } => {
                tracing::info!(pending = %id, by, "asked for a second person");
                Ok(v1::KeyResponse {
                    pending: Some(v1::PendingApproval {
                        id: id.to_string(),
                        until_ms: until.0,
                        already,
                    }),
                    ..Default::default()
                })
            }
            _ => Err(other_request()),
        }
    }

    fn ready_in_ms(&self, key: &SealedKey, now: UnixMillis) -> u64 {
        milliseconds(ready_in(key, self.keys.schedule.published_for_min, now))
    }

    fn key_list(&self, caller: &Caller) -> v1::ListKeysResponse {
        let (state, now) = (self.consensus.state(), self.consensus.world().clock.wall());
        let schedule = &self.keys.schedule;
        v1::ListKeysResponse {
            keys: state
                .keys()
                .values()
                .map(|key| self.key_info(key, now))
                .collect(),
            published_ms_min: milliseconds(schedule.published_for_min),
            rotate_every_ms: schedule.rotate_every.map_or(0, milliseconds),
            kek: self.keys.keks.id().to_string(),
            two_person: caller.policy.two_person(),
            now_ms: now.0,
        }
    }

    fn key_info(&self, key: &SealedKey, now: UnixMillis) -> v1::KeyInfo {
        v1::KeyInfo {
            id: key.id,
            purpose: key.purpose.word().to_owned(),
            state: key.state.word().to_owned(),
            public_key: key.public_key.to_vec(),
            changed_revision: key.changed_at.0,
            published_ms: key.published.0,
            since_ms: key.since.0,
            ready_in_ms: self.ready_in_ms(key, now),
            forgotten_from_ms: key.forgotten_from().map_or(0, |from| from.0),
            kek: kek_of(&key.sealed).map_or_else(String::new, |kek| kek.to_string()),
        }
    }

    /// Checks that all members have the KEK: one that cannot open a key cannot sign after the next rotation.
    ///
    /// `silent_allowed`: members that do not answer may have it or not.
    async fn all_members_have_the_kek(&self, silent_allowed: bool) -> Result<(), Failure> {
        let kek = self.keys.keks.id().to_string();
        let status = self.inspector.cluster().await;
        let lacks = |node: &&v1::NodeStatus| {
            if node.reachable {
                !node.keks.contains(&kek)
            } else {
                !silent_allowed
            }
        };
        let Some(node) = status.nodes.iter().find(lacks) else {
            return Ok(());
        };
        let message = if node.reachable {
            format!("node {} does not have key-encryption key {kek}", node.id)
        } else {
            format!(
                "node {} does not answer, and may not have key-encryption key {kek}",
                node.id
            )
        };
        Err(Failure::new(Reason::Conflict, message).hint(
            "Name it in keys.kek or keys.kek_previous of every member, start each of them again, and repeat this.",
        ))
    }
}

/// The prepared key that would sign instead of an active one.
fn heir(state: &State, id: u32) -> Option<u32> {
    let key = state.keys().get(&id)?;
    let is_active = key.state == KeyState::Active;
    let heir = successor(state, key.purpose).filter(|_| is_active)?;
    Some(heir.id)
}

fn purpose(word: &str) -> Result<KeyPurpose, Failure> {
    let purpose = KeyPurpose::ALL
        .into_iter()
        .find(|purpose| purpose.word() == word);
    purpose.ok_or_else(|| {
        let word: String = word.chars().take(64).collect();
        Failure::new(
            Reason::InvalidArgument,
            format!("`{word}` is no purpose of a key"),
        )
        .hint("Write token, feed or audit.")
    })
}

/// Failure of sealing or opening a key. The device or file that it is about is in the node's log: an operator far away
/// cannot mend it.
fn unsealed(error: SealError) -> Failure {
    tracing::error!(%error, "a key could not be sealed or opened");
    Failure::new(
        Reason::Unavailable,
        "the key-encryption key of this node did not serve",
    )
    .hint("The node's log says why; ask another node meanwhile.")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
