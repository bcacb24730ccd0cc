//! What operators ask of the cluster: revoke, lift, look, change members.
//!
//! Any server answers. A request goes to one server, and to the next when that one cannot serve it, until the
//! connection's timeout. Every write carries an id chosen here and kept for all attempts, so that a second attempt gets
//! the first one's answer instead of a second effect.

mod keys;
mod policy;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use hessra_proto::v1;
use hessra_proto::v1::authority_client::AuthorityClient;
use rand::RngCore;
use tonic::transport::Channel;

use crate::channel::{Attempt, Channels};
use crate::{ClientError, Connection, Endpoint, Servers};

/// An answer larger than this is refused: a page of 1,000 revocations is about 0.5 MiB.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Chosen by the client for one write, and the same for every attempt at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// A new one: 128 random bits.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// May a request be sent again when it is not known whether the first one was carried out?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It reads, or its id makes repeating it harmless.
    Safe,
    /// Only when the first one certainly had no effect.
    Unsafe,
}

/// A client for operators. Cheap to clone; clones share connections and what was learnt about members.
#[derive(Clone, Debug)]
pub struct Authority {
    channels: Arc<Channels>,
    /// Set when the members were asked for, or are being asked for.
    discovered: Arc<AtomicBool>,
}

impl Authority {
    /// Connects when first used.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            channels: Arc::new(Channels::new(connection)),
            discovered: Arc::default(),
        }
    }

    /// The servers known by now: those given, and the members that the cluster named.
    #[must_use]
    pub fn servers(&self) -> Servers {
        self.channels.failover.servers()
    }

    /// Revokes every target, or none. An empty `request_id` gets a random one; set it to ask again after a failure.
    ///
    /// # Errors
    /// `not_permitted`, `invalid_argument` (a target too near to the root, not canonical), `unavailable` and
    /// `no_leader` when no server could commit it in time.
    pub async fn revoke(
        &self,
        mut request: v1::RevokeRequest,
    ) -> Result<v1::RevokeResponse, ClientError> {
        identify(&mut request.request_id);
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.revoke(request).await
        })
        .await
    }

    /// What a revocation would reach, and whether it would be allowed. Changes nothing.
    ///
    /// # Errors
    /// As for [`Self::revoke`].
    pub async fn preview_revoke(
        &self,
        request: v1::RevokeRequest,
    ) -> Result<v1::PreviewResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.preview_revoke(request).await
        })
        .await
    }

    /// Lifts a revocation. An empty `request_id` gets a random one.
    ///
    /// # Errors
    /// `not_found`, `not_permitted`, `conflict` for a kind that cannot be lifted, or unavailable.
    pub async fn lift(
        &self,
        mut request: v1::LiftRequest,
    ) -> Result<v1::LiftResponse, ClientError> {
        identify(&mut request.request_id);
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.lift(request).await
        })
        .await
    }

    /// One page of revocations, oldest first.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn list_revocations(
        &self,
        request: v1::ListRevocationsRequest,
    ) -> Result<v1::ListRevocationsResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.list_revocations(request).await
        })
        .await
    }

    /// One revocation by its id.
    ///
    /// # Errors
    /// `not_found`, `not_permitted` or unavailable.
    pub async fn show_revocation(&self, id: &str) -> Result<v1::RevocationInfo, ClientError> {
        let request = v1::ShowRevocationRequest { id: id.to_owned() };
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.show_revocation(request).await
        })
        .await
    }

    /// Is this target covered, as of a moment after the call began (or, when `stale_ok`, as the server knows it)?
    ///
    /// # Errors
    /// `not_permitted`, or `no_leader` when no quorum confirms.
    pub async fn check(&self, request: v1::CheckRequest) -> Result<v1::CheckResponse, ClientError> {
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.check(request).await
        })
        .await
    }

    /// How far a revision is proven applied by verifiers; ends after the message that says `done`.
    ///
    /// The stream is not resumed by itself: ask again after an error, progress is kept by the servers. It is not bound
    /// by the connection's timeout, but by `deadline`.
    ///
    /// # Errors
    /// When no server could be reached; later ones are items of the stream.
    pub async fn watch_applied(
        &self,
        request: v1::WatchAppliedRequest,
        deadline: Duration,
    ) -> Result<
        impl Stream<Item = Result<v1::AppliedProgress, ClientError>> + Send + Unpin + use<>,
        ClientError,
    > {
        let (server, stream) = self
            .each(Repeat::Safe, |mut client| {
                let mut request = tonic::Request::new(request);
                request.set_timeout(deadline);
                async move { client.watch_applied(request).await }
            })
            .await?;
        Ok(stream
            .map_err(move |status| ClientError::from(status).at(&server))
            .boxed())
    }

    /// The cluster as the answering server sees it.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn status(&self) -> Result<v1::StatusResponse, ClientError> {
        let request = v1::StatusRequest {};
        self.discovered.store(true, Ordering::Relaxed);
        let status = self
            .call(Repeat::Safe, request, |mut client, request| async move {
                client.status(request).await
            })
            .await?;
        self.learn(&status);
        Ok(status)
    }

    /// Every enrolled verifier, with what it holds.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn verifiers(&self) -> Result<v1::VerifiersResponse, ClientError> {
        let request = v1::VerifiersRequest {};
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.verifiers(request).await
        })
        .await
    }

    /// Adds a member that receives everything and does not vote.
    ///
    /// # Errors
    /// `conflict` for an id or address that is taken, `not_permitted`, or unavailable.
    pub async fn add_member(
        &self,
        request: v1::AddMemberRequest,
    ) -> Result<v1::MembershipResponse, ClientError> {
        self.call(Repeat::Unsafe, request, |mut client, request| async move {
            client.add_member(request).await
        })
        .await
    }

    /// Lets a member vote.
    ///
    /// # Errors
    /// `not_found`, `conflict` when it has not caught up, `not_permitted`, or unavailable.
    pub async fn promote_member(&self, id: u64) -> Result<v1::MembershipResponse, ClientError> {
        let request = v1::MemberRequest { id };
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.promote_member(request).await
        })
        .await
    }

    /// Removes a member for ever.
    ///
    /// # Errors
    /// `quorum_lost` when the others could not go on, `not_found`, `not_permitted`, or unavailable.
    pub async fn remove_member(&self, id: u64) -> Result<v1::MembershipResponse, ClientError> {
        let request = v1::MemberRequest { id };
        self.call(Repeat::Unsafe, request, |mut client, request| async move {
            client.remove_member(request).await
        })
        .await
    }

    /// Hands leadership over.
    ///
    /// # Errors
    /// `not_found`, `conflict` when the member does not vote or has not caught up, `not_permitted`, or unavailable.
    pub async fn transfer_leadership(
        &self,
        id: u64,
    ) -> Result<v1::MembershipResponse, ClientError> {
        let request = v1::MemberRequest { id };
        self.call(Repeat::Safe, request, |mut client, request| async move {
            client.transfer_leadership(request).await
        })
        .await
    }

    /// The current signed checkpoint and feed keys of any server. Not verified here.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn checkpoint(&self) -> Result<v1::feed::CheckpointResponse, ClientError> {
        use v1::feed::feed_client::FeedClient;
        let attempt = |attempt: Attempt| async move {
            let mut client = FeedClient::new(attempt.channel);
            let mut request = tonic::Request::new(v1::feed::CheckpointRequest {});
            request.set_timeout(attempt.left);
            client
                .checkpoint(request)
                .await
                .map(tonic::Response::into_inner)
                .map_err(ClientError::from)
        };
        self.channels
            .each(|_| true, attempt)
            .await
            .map(|(_, answer)| answer)
    }

    async fn call<Q, A, F>(
        &self,
        repeat: Repeat,
        request: Q,
        call: impl Fn(AuthorityClient<Channel>, tonic::Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        self.ask(repeat, request, |channel, request| {
            call(client(channel), request)
        })
        .await
    }

    /// One request to any service, at one server after the other until one serves it.
    async fn ask<Q, A, F>(
        &self,
        repeat: Repeat,
        request: Q,
        call: impl Fn(Channel, tonic::Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        let attempt = |attempt: Attempt| {
            let mut request = tonic::Request::new(request.clone());
            request.set_timeout(attempt.left);
            let answer = call(attempt.channel, request);
            async move {
                answer
                    .await
                    .map(tonic::Response::into_inner)
                    .map_err(ClientError::from)
            }
        };
        let again = |error: &ClientError| repeat == Repeat::Safe || error.had_no_effect();
        let (_, answer) = self.channels.each(again, attempt).await?;
        self.discover();
        Ok(answer)
    }

    /// Asks for the other members once, beside the first request that is answered, so that one seed is enough. Who may
    /// not see the status goes on with the servers that were given.
    fn discover(&self) {
        if !self.discovered.swap(true, Ordering::Relaxed) {
            let this = self.clone();
            tokio::spawn(async move { this.status().await });
        }
    }

    async fn each<A, F>(
        &self,
        repeat: Repeat,
        call: impl Fn(AuthorityClient<Channel>) -> F,
    ) -> Result<(Endpoint, A), ClientError>
    where
        F: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        let attempt = |attempt: Attempt| {
            let answer = call(client(attempt.channel));
            async move {
                answer
                    .await
                    .map(tonic::Response::into_inner)
                    .map_err(ClientError::from)
            }
        };
        let again = |error: &ClientError| repeat == Repeat::Safe || error.had_no_effect();
        self.channels.each(again, attempt).await
    }

    /// One seed is enough: whoever answered a status has named all members.
    fn learn(&self, status: &v1::StatusResponse) {
        for node in &status.nodes {
            if let Ok(endpoint) = node.public_address.parse() {
                self.channels.failover.learn(endpoint);
            }
        }
    }
}

fn client(channel: Channel) -> AuthorityClient<Channel> {
    AuthorityClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

fn identify(request_id: &mut Vec<u8>) {
    if request_id.is_empty() {
        *request_id = RequestId::random().0.to_vec();
    }
}
