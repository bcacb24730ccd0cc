//! Metered bodies: a request's body has a size, a time, and room in the memory of the node; the place of a request is held
//! until its answer was taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use hessra_proto::status::{Failure, Reason};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prost::bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::peers::MESSAGE_BYTES_MAX;

/// Largest body of a gRPC request that carries lists or texts: a revocation of 10,000 identities of 512 bytes each is about
/// 5.3 MB.
pub(super) const LARGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of gRPC's own around one message.
const FRAMING_BYTES: usize = 64;
/// Largest body of any other gRPC request: a token of 16 KiB, a proof, some names.
const SMALL_BYTES_MAX: usize = 256 * 1024;
/// Time for a large body: 8 MiB over 1.2 Mbit/s.
const LARGE_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for a small body.
const SMALL_TIME_MAX: Duration = Duration::from_secs(10);

/// Room in the memory of the node for the body of one request.
pub(super) trait Room: Send + Sync {
    /// Takes room for bytes until the request is over; false when there is none.
    fn hold(&self, bytes: usize) -> bool;

    /// Counts a body that was not taken whole.
    fn refused(&self, reason: &'static str);
}

/// Size and time that the body of a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// `None` = the service bounds it.
    bytes_max: Option<usize>,
    time_max: Option<Duration>,
    /// True when its bytes are forgotten as they are read: the messages of a stream.
    is_stream: bool,
}

impl Allowance {
    const LARGE: Self = Self {
        bytes_max: Some(LARGE_BYTES_MAX + FRAMING_BYTES),
        time_max: Some(LARGE_TIME_MAX),
        is_stream: false,
    };
    const SMALL: Self = Self {
        bytes_max: Some(SMALL_BYTES_MAX),
        time_max: Some(SMALL_TIME_MAX),
        is_stream: false,
    };
    /// A message between members, on their own port.
    const BETWEEN_MEMBERS: Self = Self {
        bytes_max: Some(MESSAGE_BYTES_MAX + FRAMING_BYTES),
        time_max: Some(LARGE_TIME_MAX),
        is_stream: false,
    };
    /// The upper half of a verifier's stream, which lasts and whose messages have a limit; and a snapshot between members,
    /// which says its size first and is one at a time.
    const STREAM: Self = Self {
        bytes_max: None,
        time_max: None,
        is_stream: true,
    };
    /// A request over HTTPS: its size is bounded by its routes.
    const ROUTED: Self = Self {
        bytes_max: None,
        time_max: Some(SMALL_TIME_MAX),
        is_stream: false,
    };

    /// The allowance for a path.
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/hessra.v1.feed.Feed/Follow" | "/hessra.v1.raft.Raft/Snapshot" => Self::STREAM,
            "/hessra.v1.Authority/Revoke"
            | "/hessra.v1.Authority/PreviewRevoke"
            | "/hessra.v1.Policies/Validate"
            | "/hessra.v1.Policies/Apply" => Self::LARGE,
            _ if path.starts_with("/hessra.v1.raft.Raft/") => Self::BETWEEN_MEMBERS,
            _ if path.starts_with("/hessra.v1.") => Self::SMALL,
            _ => Self::ROUTED,
        }
    }
}

/// Error of a body that was not taken whole.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct BodyRefused {
    pub(super) reason: Refused,
    /// The same for a caller over gRPC, which finds it here.
    #[source]
    status: Status,
}

impl BodyRefused {
    /// The refusal inside another error.
    pub(super) fn of<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref())
    }
}

/// Reason for which a body was not taken whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body took too long to arrive")]
    Late,
    #[error("this node holds too many bodies: try again soon")]
    NoRoom,
}

impl Refused {
    fn error(self) -> BodyRefused {
        let failure = match self {
            Self::TooLarge => Failure::new(Reason::Limit, self.to_string()),
            Self::Late => Failure::new(Reason::Deadline, self.to_string()),
            Self::NoRoom => {
                Failure::new(Reason::Limit, self.to_string()).retry_after(Duration::from_secs(1))
            }
        };
        BodyRefused {
            reason: self,
            status: failure.into(),
        }
    }

    /// Name in metrics.
    fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Late => "late",
            Self::NoRoom => "bytes",
        }
    }
}

/// Body of a request.
pub(super) struct Metered {
    body: Body,
    left: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    room: Arc<dyn Room>,
}

impl Metered {
    /// The body, metered; one that is empty costs nothing.
    pub(super) fn around(body: Body, allowance: Allowance, room: Arc<dyn Room>) -> Body {
        if allowance.is_stream || body.is_end_stream() {
            return body;
        }
        Body::new(Self {
            body,
            left: allowance.bytes_max.unwrap_or(usize::MAX),
            deadline: allowance.time_max.map(|time| Box::pin(sleep(time))),
            room,
        })
    }

    /// Takes note of a part of the body.
    fn take(&mut self, part: &Bytes) -> Result<(), Refused> {
        self.left = self.left.checked_sub(part.len()).ok_or(Refused::TooLarge)?;
        match self.room.hold(part.len()) {
            true => Ok(()),
            false => Err(Refused::NoRoom),
        }
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let is_late = match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(context).is_ready(),
            None => false,
        };
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let outcome = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(Ok(()), |part| self.take(part)),
            Poll::Pending if is_late => Err(Refused::Late),
            _ => Ok(()),
        };
        match outcome {
            Ok(()) => polled,
            Err(refused) => {
                self.room.refused(refused.word());
                Poll::Ready(Some(Err(axum::Error::new(refused.error()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Body of an answer, which holds the room of its request.
pub(super) struct Held {
    body: Body,
    _room: Arc<dyn Room>,
}

impl Held {
    pub(super) fn new(body: Body, room: Arc<dyn Room>) -> Self {
        Self { body, _room: room }
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Room for so many bytes.
    struct Bytes(AtomicUsize);

    impl Room for Bytes {
        fn hold(&self, bytes: usize) -> bool {
            let left = |left: usize| left.checked_sub(bytes);
            self.0
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
                .is_ok()
        }

        fn refused(&self, _: &'static str) {}
    }

    async fn read(path: &str, body: Body, room: usize) -> Result<usize, Refused> {
        let room = Arc::new(Bytes(AtomicUsize::new(room)));
        let body = Metered::around(body, Allowance::of(path), room);
        match axum::body::to_bytes(body, usize::MAX).await {
            Ok(bytes) => Ok(bytes.len()),
            Err(error) => Err(BodyRefused::of(&error).expect("refused here").reason),
        }
    }

    /// A body of so many bytes that does not end.
    fn endless(bytes: usize) -> Body {
        use futures::stream::{StreamExt as _, iter, pending};
        let parts = iter([Ok::<_, std::io::Error>(vec![0; bytes])]);
        Body::from_stream(parts.chain(pending()))
    }

    const STATUS: &str = "/hessra.v1.Authority/Status";
    const REVOKE: &str = "/hessra.v1.Authority/Revoke";

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_by_its_path_its_time_and_the_memory_of_the_node() {
        let of = |bytes| Body::from(vec![0; bytes]);
        let room = usize::MAX;
        assert_eq!(read(STATUS, of(1_000), room).await, Ok(1_000));
        let large = SMALL_BYTES_MAX + 1;
        assert_eq!(read(STATUS, of(large), room).await, Err(Refused::TooLarge));
        assert_eq!(read(REVOKE, of(large), room).await, Ok(large));
        assert_eq!(read(REVOKE, of(large), 1_000).await, Err(Refused::NoRoom));
        for path in [REVOKE, STATUS, "/request_token"] {
            assert_eq!(read(path, endless(1), room).await, Err(Refused::Late));
        }
    }
}
