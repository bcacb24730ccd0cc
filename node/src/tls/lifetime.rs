//! Life of one connection: what it carries now, and when it must end.
//!
//! | end | when |
//! |---|---|
//! | cut | its certificate has ended, or its CA is trusted no more; an answer is not taken; requests are taken back in bulk |
//! | goodbye | it carries nothing for long; it is old; the port closes |
//!
//! A goodbye is HTTP/2's GOAWAY, or HTTP/1.1's end of keep-alive: what runs may end within a time, and new requests go to a
//! new connection. Pings are no requests: a connection that only answers them carries nothing.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http::Method;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prost::bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Time between looks at what a connection carries: an end may be so much late.
const LOOK: Duration = Duration::from_secs(5);
/// Time for the other side to close after it carried nothing.
const IDLE_DRAIN: Duration = Duration::from_secs(5);
/// Time for requests to end on a connection that is old. Streams of the feed, watches and tails end by themselves then; an
/// export may take so long.
pub(super) const AGE_DRAIN: Duration = Duration::from_secs(300);
/// Requests that are taken back, beyond as many as were answered: a client that gives up on some is none that resets all
/// (CVE-2023-44487).
const TAKEN_BACK_MAX: u64 = 100;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    CertificateEnded,
    NotTrusted,
    Stalled,
    TakenBack,
    Idle,
    Aged,
    Closing,
    Lingering,
}

impl End {
    /// Name in metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::CertificateEnded => "certificate_ended",
            Self::NotTrusted => "not_trusted",
            Self::Stalled => "stalled",
            Self::TakenBack => "taken_back",
            Self::Idle => "idle",
            Self::Aged => "aged",
            Self::Closing => "closing",
            Self::Lingering => "lingering",
        }
    }
}

/// Bounds of one connection's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Longest time without a request.
    pub(super) idle_max: Duration,
    /// Longest time in which nothing of an answer is taken.
    pub(super) stall_max: Duration,
    /// Instant at which it is old.
    pub(super) aged_at: Instant,
    /// Instant at which its certificate ends.
    pub(super) certificate_ends: Option<Instant>,
    /// True when requests that are taken back are counted.
    pub(super) is_counting_taken_back: bool,
}

/// Observation of a connection at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Since when it carries no request.
    pub(super) idle_since: Option<Instant>,
    /// Since when a part of an answer waits to be taken.
    pub(super) stalled_since: Option<Instant>,
    pub(super) is_taking_back: bool,
    pub(super) is_untrusted: bool,
    pub(super) is_closing: bool,
    /// Until when it may go on after a goodbye.
    pub(super) leaving_until: Option<Instant>,
}

/// Decision about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Look again at this instant, or when something changes.
    Wait(Instant),
    /// Say goodbye, and cut at this instant.
    Goodbye(End, Instant),
    Cut(End),
}

/// Decides what to do with a connection.
pub(super) fn decide(bounds: &Bounds, seen: &Seen, now: Instant) -> Decision {
    let is_over = |instant: Option<Instant>| instant.is_some_and(|instant| instant <= now);
    let stalls_at = seen.stalled_since.map(|since| since + bounds.stall_max);
    let idle_at = seen.idle_since.map(|since| since + bounds.idle_max);
    if seen.is_untrusted {
        return Decision::Cut(End::NotTrusted);
    }
    if is_over(bounds.certificate_ends) {
        return Decision::Cut(End::CertificateEnded);
    }
    if seen.is_taking_back && bounds.is_counting_taken_back {
        return Decision::Cut(End::TakenBack);
    }
    if is_over(stalls_at) {
        return Decision::Cut(End::Stalled);
    }
    if is_over(seen.leaving_until) {
        return Decision::Cut(End::Lingering);
    }
    if seen.leaving_until.is_none() {
        if seen.is_closing {
            return Decision::Goodbye(End::Closing, now + AGE_DRAIN);
        }
        if bounds.aged_at <= now {
            return Decision::Goodbye(End::Aged, now + AGE_DRAIN);
        }
        if is_over(idle_at) {
            return Decision::Goodbye(End::Idle, now + IDLE_DRAIN);
        }
    }
    let aged_at = seen.leaving_until.is_none().then_some(bounds.aged_at);
    let instants = [
        bounds.certificate_ends,
        seen.leaving_until,
        stalls_at,
        aged_at,
    ];
    let look = now + LOOK.min(bounds.idle_max);
    let next = instants.into_iter().flatten().fold(look, Instant::min);
    Decision::Wait(next)
}

/// Requests and answers that one connection carries. Shared with the bodies of its answers.
#[derive(Debug)]
pub(super) struct Activity {
    carried: Mutex<Carried>,
    /// Told when requests are taken back in bulk.
    taking_back: Notify,
}

#[derive(Debug)]
struct Carried {
    /// Requests that run, and since when a part of the answer waits to be taken.
    running: BTreeMap<u64, Option<Instant>>,
    next: u64,
    idle_since: Instant,
    answered: u64,
    taken_back: u64,
}

impl Carried {
    fn is_taking_back(&self) -> bool {
        self.taken_back > self.answered + TAKEN_BACK_MAX
    }
}

impl Activity {
    pub(super) fn begin(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            carried: Mutex::new(Carried {
                running: BTreeMap::new(),
                next: 0,
                idle_since: now,
                answered: 0,
                taken_back: 0,
            }),
            taking_back: Notify::new(),
        })
    }

    /// Notes a request by its method.
    pub(super) fn request(self: &Arc<Self>, method: &Method) -> Exchange {
        let mut carried = self.carried();
        let number = carried.next;
        carried.next += 1;
        carried.running.insert(number, None);
        Exchange {
            activity: Arc::clone(self),
            number,
            // The transport asks for no part of the answer to it.
            is_answered: method == Method::HEAD,
        }
    }

    /// Returns when requests are taken back in bulk.
    pub(super) async fn taking_back(&self) {
        self.taking_back.notified().await;
    }

    /// Observation of it now, without the parts that only its owner knows.
    pub(super) fn seen(&self) -> Seen {
        let carried = self.carried();
        Seen {
            idle_since: carried.running.is_empty().then_some(carried.idle_since),
            stalled_since: carried.running.values().flatten().min().copied(),
            is_taking_back: carried.is_taking_back(),
            ..Seen::default()
        }
    }

    fn carried(&self) -> MutexGuard<'_, Carried> {
        // Nothing panics while it holds the lock.
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request and its answer, until the answer was taken whole or the caller gave up. It was taken back when not even the first
/// part of the answer was given.
#[derive(Debug)]
pub(super) struct Exchange {
    activity: Arc<Activity>,
    number: u64,
    is_answered: bool,
}

impl Exchange {
    /// The answer, watched until it is taken whole.
    pub(super) fn answer(mut self, body: Body) -> Body {
        let is_empty = body.is_end_stream();
        self.is_answered |= is_empty;
        match is_empty {
            true => body,
            false => Body::new(Answer {
                body,
                exchange: self,
            }),
        }
    }

    fn waits_since(&self, since: Option<Instant>) {
        let mut carried = self.activity.carried();
        if let Some(waits) = carried.running.get_mut(&self.number) {
            *waits = since;
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut carried = self.activity.carried();
        carried.running.remove(&self.number);
        match self.is_answered {
            true => carried.answered += 1,
            false => carried.taken_back += 1,
        }
        if carried.running.is_empty() {
            carried.idle_since = Instant::now();
        }
        if carried.is_taking_back() {
            self.activity.taking_back.notify_one();
        }
    }
}

/// Body of an answer. The transport asks for the next part when the caller has room for it: a part that was given and is not
/// followed by a question waits for a caller that takes nothing.
struct Answer {
    body: Body,
    exchange: Exchange,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(part) => {
                // A caller that leaves a stream after a while takes nothing back.
                self.exchange.is_answered = true;
                let is_data = |part: &Result<Frame<_>, _>| part.as_ref().is_ok_and(Frame::is_data);
                let waits = part.as_ref().is_some_and(is_data);
                self.exchange.waits_since(waits.then(Instant::now));
            }
            Poll::Pending => self.exchange.waits_since(None),
        }
        polled
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
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bounds(now: Instant) -> Bounds {
        Bounds {
            idle_max: 75 * SECOND,
            stall_max: 30 * SECOND,
            aged_at: now + 3_600 * SECOND,
            certificate_ends: Some(now + 7_200 * SECOND),
            is_counting_taken_back: true,
        }
    }

    fn at(seconds: u32, seen: impl FnOnce(Instant) -> Seen) -> Decision {
        let now = Instant::now();
        decide(&bounds(now), &seen(now), now + SECOND * seconds)
    }

    #[test]
    fn a_connection_that_carries_nothing_is_told_goodbye_and_one_that_carries_something_is_not() {
        let idle = |now| Seen {
            idle_since: Some(now),
            ..Seen::default()
        };
        assert!(matches!(at(74, idle), Decision::Wait(_)));
        assert!(matches!(at(75, idle), Decision::Goodbye(End::Idle, _)));
        assert!(matches!(at(75, |_| Seen::default()), Decision::Wait(_)));
    }

    #[test]
    fn an_old_connection_is_told_goodbye_once_and_cut_when_it_stays() {
        let quiet = |_| Seen::default();
        assert!(matches!(at(3_600, quiet), Decision::Goodbye(End::Aged, _)));
        let leaving = |now| Seen {
            leaving_until: Some(now + SECOND * 3_900),
            ..Seen::default()
        };
        assert!(matches!(at(3_700, leaving), Decision::Wait(_)));
        assert_eq!(at(3_900, leaving), Decision::Cut(End::Lingering));
    }

    #[test]
    fn what_a_certificate_carried_ends_with_it_and_with_the_trust_in_its_authority() {
        assert_eq!(
            at(7_200, |_| Seen::default()),
            Decision::Cut(End::CertificateEnded)
        );
        let untrusted = |_| Seen {
            is_untrusted: true,
            ..Seen::default()
        };
        assert_eq!(at(1, untrusted), Decision::Cut(End::NotTrusted));
    }

    #[test]
    fn an_answer_that_nobody_takes_ends_its_connection_when_it_is_due_and_no_later() {
        let stalled = |now| Seen {
            stalled_since: Some(now),
            ..Seen::default()
        };
        let now = Instant::now();
        let almost = now + 28 * SECOND;
        let decided = decide(&bounds(now), &stalled(now), almost);
        assert_eq!(decided, Decision::Wait(now + 30 * SECOND));
        assert_eq!(at(30, stalled), Decision::Cut(End::Stalled));
    }

    #[test]
    fn requests_that_are_taken_back_are_counted_against_those_that_were_answered() {
        let activity = Activity::begin(Instant::now());
        for _ in 0..50 {
            drop(activity.request(&Method::POST).answer(Body::empty()));
            // The transport takes no body for it, and nobody has given up.
            drop(activity.request(&Method::HEAD).answer(Body::from("one")));
        }
        for _ in 0..200 {
            drop(activity.request(&Method::POST));
        }
        assert!(!activity.seen().is_taking_back);
        drop(activity.request(&Method::POST));
        assert!(activity.seen().is_taking_back);
        let decided = decide(&bounds(Instant::now()), &activity.seen(), Instant::now());
        assert_eq!(decided, Decision::Cut(End::TakenBack));
    }

    #[tokio::test]
    async fn an_answer_is_carried_until_it_was_taken_whole() {
        use futures::stream::{StreamExt as _, iter, pending};
        use std::future::poll_fn;

        let activity = Activity::begin(Instant::now());
        let parts = iter([Ok::<_, std::io::Error>("one")]).chain(pending());
        let mut body = activity
            .request(&Method::GET)
            .answer(Body::from_stream(parts));
        assert_eq!(activity.seen().idle_since, None);
        let part = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert!(part.is_some_and(|part| part.is_ok()));
        assert!(activity.seen().stalled_since.is_some(), "not taken yet");
        let nothing =
            poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context).is_pending()));
        assert!(nothing.await);
        assert_eq!(activity.seen().stalled_since, None, "taken: more is asked");
        drop(body);
        assert!(activity.seen().idle_since.is_some());
    }
}
