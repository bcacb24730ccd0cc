//! The gRPC service `hessra.v1.feed.Feed`.
//!
//! Written by hand instead of generated for one reason: frames are encoded once and shared by all subscribers, so the
//! encoder passes bytes through ([`Shared`]) where the generated service would encode a message for each.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::unfold;
use futures::{FutureExt, Stream, StreamExt};
use hessra_consensus::feed::subscription::follow;
use hessra_consensus::feed::{Claim, NotServing};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::feed::{CheckpointRequest, CheckpointResponse, Upstream};
use hessra_proto::{VerifierMessage, to_downstream};
use hessra_revocation::follower::Event;
use hessra_revocation::publisher::ResetReason;
use prost::Message as _;
use prost::bytes::{BufMut, Bytes};
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body as HttpBody, StdError};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::claim::FeedDoor;
use super::goodbye::goodbye_of;
use crate::tls::Goodbye;
use crate::world::FeedHub;

/// A hello has 256 hashes of 34 bytes and little else.
const UPSTREAM_BYTES_MAX: usize = 32 * 1024;
/// An idle stream holds one such buffer per direction.
const BUFFER_BYTES: usize = 1024;

type Downstream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// The service. Cheap to clone.
#[derive(Clone)]
pub(super) struct FeedService {
    hub: FeedHub,
    door: FeedDoor,
}

impl FeedService {
    /// Serves this node's feed to those who come through the door.
    #[must_use]
    pub(super) fn new(hub: FeedHub, door: FeedDoor) -> Self {
        Self { hub, door }
    }
}

impl NamedService for FeedService {
    const NAME: &'static str = "hessra.v1.feed.Feed";
}

impl<B> tower::Service<http::Request<B>> for FeedService
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let hub = self.hub.clone();
        // Before the body is polled: nothing is spent on a caller that may not follow.
        let claim = match self.door.claim(request.headers(), request.extensions()) {
            Ok(claim) => claim,
            Err(failure) => return async { Ok(Status::from(failure).into_http()) }.boxed(),
        };
        match request.uri().path() {
            "/hessra.v1.feed.Feed/Follow" => async move {
                let mut grpc =
                    Grpc::new(Shared).apply_max_message_size_config(Some(UPSTREAM_BYTES_MAX), None);
                Ok(grpc.streaming(Follow(hub, claim), request).await)
            }
            .boxed(),
            "/hessra.v1.feed.Feed/Checkpoint" => async move {
                let codec = ProstCodec::<CheckpointResponse, CheckpointRequest>::default();
                let mut grpc =
                    Grpc::new(codec).apply_max_message_size_config(Some(UPSTREAM_BYTES_MAX), None);
                Ok(grpc.unary(Checkpoint(hub, claim), request).await)
            }
            .boxed(),
            _ => async { Ok(Status::unimplemented("the feed has no such method").into_http()) }
                .boxed(),
        }
    }
}

struct Follow(FeedHub, Arc<dyn Claim>);

impl StreamingService<Upstream> for Follow {
    type Response = Bytes;
    type ResponseStream = Downstream;
    type Future = std::future::Ready<Result<Response<Downstream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Upstream>>) -> Self::Future {
        let goodbye = goodbye_of(&request);
        // A stream that breaks has ended, whichever side broke it.
        let said = request
            .into_inner()
            .take_while(|message| std::future::ready(message.is_ok()))
            .filter_map(|message| std::future::ready(message.ok().map(VerifierMessage::try_from)));
        let followed = follow(self.0.clone(), said, Arc::clone(&self.1));
        let downstream = followed.map(|items| {
            let items = items.map(|item| item.map_err(Status::from)).boxed();
            Response::new(until_goodbye(goodbye, items))
        });
        std::future::ready(downstream.map_err(Status::from))
    }
}

/// Tells the verifier to come again when its connection must end.
fn until_goodbye(goodbye: Goodbye, downstream: Downstream) -> Downstream {
    let said = async move { goodbye.said().await }.boxed();
    unfold(Some((downstream, said)), |running| async {
        let (mut downstream, mut said) = running?;
        tokio::select! {
            biased;
            () = &mut said => Some((Ok(renewal()), None)),
            item = downstream.next() => item.map(|item| (item, Some((downstream, said)))),
        }
    })
    .boxed()
}

fn renewal() -> Bytes {
    let reset = Event::Reset {
        reason: ResetReason::Renew,
        retry_after: Duration::ZERO,
    };
    let reset = to_downstream(reset).expect("a node sends resets");
    reset.encode_to_vec().into()
}

struct Checkpoint(FeedHub, Arc<dyn Claim>);

impl UnaryService<CheckpointRequest> for Checkpoint {
    type Response = CheckpointResponse;
    type Future = std::future::Ready<Result<Response<CheckpointResponse>, Status>>;

    fn call(&mut self, _: Request<CheckpointRequest>) -> Self::Future {
        let unavailable = |error: NotServing| Failure::new(Reason::Unavailable, error.to_string());
        let admitted = self.0.admits(&self.1);
        let checkpoint = admitted.and_then(|()| self.0.checkpoint().map_err(unavailable));
        std::future::ready(checkpoint.map(Response::new).map_err(Status::from))
    }
}

/// Sends bytes that are encoded already; reads what verifiers say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shared;

impl Codec for Shared {
    type Encode = Bytes;
    type Decode = Upstream;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Shared {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(bytes);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES)
    }
}

impl Decoder for Shared {
    type Item = Upstream;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Upstream>, Status> {
        let malformed =
            |error| Status::invalid_argument(format!("not a message of the feed: {error}"));
        Upstream::decode(buffer).map(Some).map_err(malformed)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES)
    }
}
