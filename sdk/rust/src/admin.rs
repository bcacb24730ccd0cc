//! Requests of operators to the cluster: revoke, lift, look, change members.
//!
//! Any server answers. A request goes to one server, and to the next when that one cannot serve it, until the
//! connection's timeout. Every write carries an id chosen here and kept for all attempts, so that a second attempt gets
//! the first one's answer instead of a second effect. And every write is signed here, with the key of the client certificate:
//! no server can make another of it, or one in the operator's name.
//!
//! Every answer to a read says how old it is, and whether a quorum confirmed it: see [`crate::Readings`].

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use hessra_proto::as_of::{AS_OF_KEY, AsOf};
use hessra_proto::statement::{PROOF_KEY, bytes_digest};
use hessra_proto::trace::traceparent;
use hessra_proto::v1;
use hessra_proto::v1::authority_client::AuthorityClient;
use hessra_revocation::{Checkpoint, FeedId};
use prost::Message as _;
use tokio::sync::OnceCell;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::channel::{Attempt, Channels};
use crate::{ClientError, Connection, Servers};

/// A generated client of a service, bounded like all of them.
macro_rules! client {
    ($client:ident, $channel:expr) => {
        $client::new($channel).max_decoding_message_size(ANSWER_BYTES_MAX)
    };
}

/// Methods of [`Authority`] that ask one RPC of a service: arguments, answer, the RPC with its request, and whether it
/// may be repeated.
macro_rules! rpcs {
    ($client:ident: $(
        $(#[doc = $doc:literal])+
        $name:ident($($argument:ident: $type:ty),*) -> $answer:ty = $rpc:ident($request:expr), $repeat:ident;
    )+) => {
        impl Authority {
            $(
                $(#[doc = $doc])+
                pub async fn $name(&self, $($argument: $type),*) -> Result<$answer, ClientError> {
                    self.ask(Repeat::$repeat, $request, |channel, request| async move {
                        client!($client, channel).$rpc(request).await
                    })
                    .await
                }
            )+
        }
    };
}

/// As `rpcs`, of RPCs that change something: their requests are signed, each once for all attempts.
macro_rules! signed_rpcs {
    ($client:ident: $(
        $(#[doc = $doc:literal])+
        $name:ident($($argument:ident: $type:ty),*) -> $answer:ty = $rpc:ident($request:expr), $repeat:ident;
    )+) => {
        impl Authority {
            $(
                $(#[doc = $doc])+
                pub async fn $name(&self, $($argument: $type),*) -> Result<$answer, ClientError> {
                    let (request, id) = self.identify($request);
                    let proof = self.prove(&request).await?;
                    self.ask(Repeat::$repeat, request, |channel, mut request| {
                        proved(&mut request, proof.as_ref());
                        traced(&mut request, &id);
                        async move { client!($client, channel).$rpc(request).await }
                    })
                    .await
                    .map_err(|error| error.of_write(id))
                }
            )+
        }
    };
}

mod audit;
mod keys;
mod policy;

pub use crate::request_id::RequestId;
pub use crate::signing::RequestSigner;
pub use hessra_proto::statement::Stated;

/// Largest answer that is accepted: a page of 1,000 revocations is about 0.5 MiB.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads what an operator has signed, or is to sign: [`v1::ApprovalInfo::statement`]. `None`: it is of a newer version.
#[must_use]
pub fn read_statement(statement: &[u8]) -> Option<v1::log::statement::Asks> {
    let read = v1::log::Statement::decode(statement).ok()?;
    // A field that is not known here would be signed and not read.
    let is_whole = read.encode_to_vec() == statement;
    read.asks.filter(|_| is_whole)
}

/// Digest of a text of a policy, as a statement has it.
#[must_use]
pub fn text_digest(text: &str) -> Vec<u8> {
    hessra_proto::statement::text_digest(text)
}

/// Digest of a statement, which its author's proof signs.
#[must_use]
pub fn statement_digest(statement: &[u8]) -> [u8; 32] {
    bytes_digest(statement)
}

/// Safety of sending a request again when it is not known whether the first one was carried out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Safe: the request reads, or its id makes repeating it harmless.
    Safe,
    /// Unsafe: repeated only when the first one certainly had no effect.
    Unsafe,
}

/// A client for operators. Cheap to clone; clones share connections and what was learnt about members.
#[derive(Clone, Debug)]
pub struct Authority {
    channels: Arc<Channels>,
    /// True when the members were asked for, or are being asked for.
    discovered: Arc<AtomicBool>,
    /// Signer of requests, once one was signed.
    signer: Arc<OnceCell<RequestSigner>>,
    /// Id of the writes that are asked for through this handle, when it was chosen.
    request_id: Option<RequestId>,
}

impl Authority {
    /// Client that connects when first used.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            channels: Arc::new(Channels::new(connection)),
            discovered: Arc::default(),
            signer: Arc::default(),
            request_id: None,
        }
    }

    /// The same client for one write under this id: for one that was asked for before and whose outcome is unknown, see
    /// [`ClientError::outcome_unknown`]. It has one effect, and the answer is that of the first time; as the id of another write
    /// it is refused.
    #[must_use]
    pub fn under(&self, id: RequestId) -> Self {
        Self {
            request_id: Some(id),
            ..self.clone()
        }
    }

    /// The servers known by now: those given, and the members that the cluster named.
    #[must_use]
    pub fn servers(&self) -> Servers {
        self.channels.failover.servers()
    }

    /// Progress of a revision at the verifiers, as far as proven; ends after the message that says `done`.
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
        let attempt = |attempt: Attempt| async move {
            let mut client = client!(AuthorityClient, attempt.channel);
            let mut request = tonic::Request::new(request);
            request.set_timeout(deadline);
            Ok(client.watch_applied(request).await?.into_inner())
        };
        let (server, stream) = self.channels.each(|_| true, attempt).await?;
        Ok(stream
            .map_err(move |status| ClientError::from(status).at(&server))
            .boxed())
    }

    /// The cluster as the answering server sees it.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    pub async fn status(&self) -> Result<v1::StatusResponse, ClientError> {
        self.discovered.store(true, Ordering::Relaxed);
        let (as_of, status) = self.ask_status().await?;
        self.channels.connection.readings.note(as_of);
        self.learn(&status);
        Ok(status)
    }

    async fn ask_status(&self) -> Result<(Option<AsOf>, v1::StatusResponse), ClientError> {
        let request = v1::StatusRequest {};
        self.ask_one(Repeat::Safe, request, |channel, request| async move {
            client!(AuthorityClient, channel).status(request).await
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
            Ok(client.checkpoint(request).await?.into_inner())
        };
        let (_, answer) = self.channels.each(|_| true, attempt).await?;
        Ok(answer)
    }

    /// The request with an id: the one of this handle, or its own, or else a random one.
    fn identify<Q: Stated>(&self, mut request: Q) -> (Q, RequestId) {
        let own = <[u8; 16]>::try_from(request.request_id()).ok();
        let id = self.request_id.or(own.map(RequestId));
        let id = id.unwrap_or_else(RequestId::random);
        request.set_request_id(id.0.to_vec());
        (request, id)
    }

    /// Signs a request. `None`: there is no certificate to sign with, and the server says so.
    async fn prove(
        &self,
        request: &impl Stated,
    ) -> Result<Option<MetadataValue<Ascii>>, ClientError> {
        let Some(credentials) = &self.channels.connection.credentials else {
            return Ok(None);
        };
        let make = async { RequestSigner::new(credentials, self.cluster().await?) };
        let signer = self.signer.get_or_try_init(|| make).await?;
        signer.prove(request).map(Some)
    }

    /// Id of the cluster that requests are signed for: the one that was given, or what a server says. A server that lies gets
    /// signatures that are worth nothing here; where one authority certifies the operators of several clusters, give the id,
    /// so that it cannot name another of them. See [`Connection::cluster`].
    ///
    /// # Errors
    /// When no server answers.
    pub async fn cluster(&self) -> Result<FeedId, ClientError> {
        if let Some(given) = self.channels.connection.cluster {
            return Ok(given);
        }
        let body = self.checkpoint().await?.checkpoint.unwrap_or_default().body;
        let checkpoint = Checkpoint::from_bytes(&body);
        checkpoint
            .map(|checkpoint| checkpoint.feed_id)
            .map_err(|_| ClientError::invalid("the server does not say which cluster it is of"))
    }

    /// Sends one request, notes how old its answer is, and looks for other members beside the first one.
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
        let (as_of, answer) = self.ask_one(repeat, request, call).await?;
        self.channels.connection.readings.note(as_of);
        self.discover();
        Ok(answer)
    }

    /// Sends one request to any service, to one server after the other until one serves it.
    async fn ask_one<Q, A, F>(
        &self,
        repeat: Repeat,
        request: Q,
        call: impl Fn(Channel, tonic::Request<Q>) -> F,
    ) -> Result<(Option<AsOf>, A), ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<tonic::Response<A>, tonic::Status>>,
    {
        let attempt = |attempt: Attempt| {
            let mut request = tonic::Request::new(request.clone());
            request.set_timeout(attempt.left);
            let answer = call(attempt.channel, request);
            async move {
                let response = answer.await?;
                let as_of = response.metadata().get(AS_OF_KEY);
                let as_of = as_of.and_then(|text| text.to_str().ok()?.parse::<AsOf>().ok());
                Ok((as_of, response.into_inner()))
            }
        };
        let again = |error: &ClientError| repeat == Repeat::Safe || error.had_no_effect();
        let (_, answer) = self.channels.each(again, attempt).await?;
        Ok(answer)
    }

    /// Asks for the other members once, beside the first request that is answered, so that one seed is enough. A caller
    /// that may not see the status goes on with the servers that were given.
    fn discover(&self) {
        if !self.discovered.swap(true, Ordering::Relaxed) {
            let this = self.clone();
            tokio::spawn(async move {
                if let Ok((_, status)) = this.ask_status().await {
                    this.learn(&status);
                }
            });
        }
    }

    /// Learns the members that a status names, which are all of them: one seed is enough.
    fn learn(&self, status: &v1::StatusResponse) {
        for node in &status.nodes {
            if let Ok(endpoint) = node.public_address.parse() {
                self.channels.failover.learn(endpoint);
            }
        }
    }
}

signed_rpcs! { AuthorityClient:
    /// Revokes every target, or none. An empty `request_id` gets a random one; set it to ask again after a failure.
    ///
    /// # Errors
    /// `not_permitted`, `invalid_argument` (a target too near to the root, not canonical), `unavailable` and
    /// `no_leader` when no server could commit it in time.
    revoke(request: v1::RevokeRequest) -> v1::RevokeResponse
        = revoke(request), Safe;

    /// Lifts a revocation. An empty `request_id` gets a random one.
    ///
    /// # Errors
    /// `not_found`, `not_permitted`, `conflict` for a kind that cannot be lifted, or unavailable.
    lift(request: v1::LiftRequest) -> v1::LiftResponse
        = lift(request), Safe;

    /// Removes what one operator has revoked alone. An empty `request_id` gets a random one.
    ///
    /// # Errors
    /// `not_found` for an operator of whom no revocation is remembered, `not_permitted`, or unavailable.
    undo(request: v1::UndoRequest) -> v1::UndoResponse
        = undo(request), Safe;

    /// Adds a member that receives everything and does not vote. An empty `request_id` gets a random one.
    ///
    /// # Errors
    /// `conflict` for an id or address that is taken, `not_permitted`, or unavailable.
    add_member(request: v1::AddMemberRequest) -> v1::MembershipResponse
        = add_member(request), Unsafe;

    /// Lets a member vote.
    ///
    /// # Errors
    /// `not_found`, `conflict` when it has not caught up, `not_permitted`, or unavailable.
    promote_member(id: u64) -> v1::MembershipResponse
        = promote_member(v1::PromoteMemberRequest { request_id: Vec::new(), id }), Safe;

    /// Removes a member for ever.
    ///
    /// # Errors
    /// `quorum_lost` when the others could not go on, `not_found`, `not_permitted`, or unavailable.
    remove_member(id: u64) -> v1::MembershipResponse
        = remove_member(v1::RemoveMemberRequest { request_id: Vec::new(), id }), Unsafe;

    /// Hands leadership over.
    ///
    /// # Errors
    /// `not_found`, `conflict` when the member does not vote or has not caught up, `not_permitted`, or unavailable.
    transfer_leadership(id: u64) -> v1::MembershipResponse
        = transfer_leadership(v1::TransferLeadershipRequest { request_id: Vec::new(), id }), Safe;

    /// Sets the time of the cluster back to the leader's clock, after the machines' clocks had jumped ahead and were put
    /// right. What had ended by the wrong time lives again.
    ///
    /// # Errors
    /// `conflict` when the time is right or `number` is not one more than the status says, `clock_off` when the leader cannot tell whether its own clock is, `not_permitted`, or
    /// unavailable.
    set_clock_back(number: u64, ticket: &str) -> v1::SetClockBackResponse
        = set_clock_back(v1::SetClockBackRequest {
            request_id: Vec::new(), number, ticket: ticket.to_owned()
        }), Safe;
}

rpcs! { AuthorityClient:
    /// Preview of a revocation: what it would reach, and whether it would be allowed. Changes nothing.
    ///
    /// # Errors
    /// As for [`Self::revoke`].
    preview_revoke(request: v1::RevokeRequest) -> v1::PreviewResponse = preview_revoke(request), Safe;

    /// Page of revocations, oldest first.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    list_revocations(request: v1::ListRevocationsRequest) -> v1::ListRevocationsResponse
        = list_revocations(request), Safe;

    /// Revocation by its id.
    ///
    /// # Errors
    /// `not_found`, `not_permitted` or unavailable.
    show_revocation(id: &str) -> v1::RevocationInfo
        = show_revocation(v1::ShowRevocationRequest { id: id.to_owned() }), Safe;

    /// Checks whether this target is covered, as of a moment after the call began (or, when `stale_ok`, as the server
    /// knows it).
    ///
    /// # Errors
    /// `not_permitted`, or `no_leader` when no quorum confirms.
    check(request: v1::CheckRequest) -> v1::CheckResponse = check(request), Safe;

    /// Verifiers that are enrolled, each with what it holds.
    ///
    /// # Errors
    /// `not_permitted` or unavailable.
    verifiers() -> v1::VerifiersResponse = verifiers(v1::VerifiersRequest {}), Safe;
}

/// Adds the proof of a request beside it.
fn proved<Q>(request: &mut tonic::Request<Q>, proof: Option<&MetadataValue<Ascii>>) {
    if let Some(proof) = proof {
        request.metadata_mut().insert(PROOF_KEY, proof.clone());
    }
}

/// Names the trace of a change, which is that of its request id.
fn traced<Q>(request: &mut tonic::Request<Q>, id: &RequestId) {
    // Hexadecimal digits and dashes are metadata.
    if let Ok(parent) = traceparent(&id.0).parse() {
        request.metadata_mut().insert("traceparent", parent);
    }
}
