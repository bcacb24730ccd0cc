//! Failover of one request among several servers: the order in which they are asked, and when to give up.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::{ClientError, Endpoint, Reason, Servers};

/// First pause after every known server failed; doubles with each round.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause: an election takes about a second, and a longer pause would only add to it.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Least share: an answer that waits for a slow disk takes longer than a healthy one's few milliseconds.
const SHARE_MIN: Duration = Duration::from_millis(500);

/// Failure of one attempt, by what it means for the next.
pub(crate) enum Failed {
    /// Not sent: another server may always be asked.
    NotSent(ClientError),
    /// Sent: it may or may not have had an effect.
    Sent(ClientError),
}

impl Failed {
    fn error(&self) -> &ClientError {
        match self {
            Self::NotSent(error) | Self::Sent(error) => error,
        }
    }

    /// True when the server may have done what it was asked for.
    fn is_unanswered(&self) -> bool {
        match self {
            Self::NotSent(_) => false,
            Self::Sent(error) => error.retryable && !error.had_no_effect(),
        }
    }
}

/// Failover: the servers known, and the one that answered last.
#[derive(Debug)]
pub(crate) struct Failover {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    servers: Servers,
    /// Index of the server to ask first: it answered last time.
    preferred: usize,
}

impl Failover {
    pub(crate) fn new(servers: Servers) -> Self {
        Self {
            inner: Mutex::new(Inner {
                servers,
                preferred: 0,
            }),
        }
    }

    pub(crate) fn servers(&self) -> Servers {
        self.lock().servers.clone()
    }

    pub(crate) fn learn(&self, endpoint: Endpoint) {
        self.lock().servers.add(endpoint);
    }

    /// Asks one server after the other until one answers, a failure is not worth another try, or time runs out.
    ///
    /// `attempt` gets the server and the time that it has: its share of what is left among the servers that were not asked in
    /// this round, so that none that is silent takes the time of all. `again` says whether a retryable failure *after sending*
    /// may be followed by another attempt; when it may not, the first server that gets the request has all that is left.
    ///
    /// # Errors
    /// The last failure, with the server it came from.
    pub(crate) async fn each<A, F>(
        &self,
        timeout: Duration,
        again: impl Fn(&ClientError) -> bool,
        attempt: impl Fn(Endpoint, Duration) -> F,
    ) -> Result<(Endpoint, A), ClientError>
    where
        F: Future<Output = Result<A, Failed>>,
    {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut pause = PAUSE_FIRST;
        // What one server may have done, no failure of another makes undone.
        let mut unanswered = false;
        let ends = |error: ClientError, unanswered| match unanswered {
            true => error.unanswered(),
            false => error,
        };
        loop {
            let mut last = out_of_time();
            let round = self.round();
            let count = round.len();
            // When every server refuses for good, a second round hears the same.
            let mut may_change = false;
            for (place, (index, server)) in round.into_iter().enumerate() {
                let has = match again(&out_of_time()) {
                    true => share(left(), count - place),
                    false => left(),
                };
                let answer = tokio::time::timeout(has, attempt(server.clone(), has)).await;
                let answer = answer.unwrap_or_else(|_| Err(Failed::Sent(out_of_time())));
                if let Err(failed) = &answer {
                    unanswered |= failed.is_unanswered();
                    may_change |= failed.error().retryable;
                }
                match answer {
                    Ok(answer) => {
                        self.lock().preferred = index;
                        return Ok((server, answer));
                    }
                    Err(Failed::NotSent(error)) => last = error.at(&server),
                    Err(Failed::Sent(error)) if error.retryable && again(&error) => {
                        last = error.at(&server)
                    }
                    // A refusal is an answer, also to what an earlier attempt asked for under the same id.
                    Err(Failed::Sent(error)) => {
                        let unanswered = unanswered && error.retryable;
                        return Err(ends(error.at(&server), unanswered));
                    }
                }
                if left().is_zero() {
                    return Err(ends(last, unanswered));
                }
            }
            if !may_change {
                return Err(ends(last, unanswered));
            }
            let wait = jitter(last.retry_after.unwrap_or(pause).min(PAUSE_MAX));
            if wait >= left() {
                return Err(ends(last, unanswered));
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Round of all servers, beginning with the one that answered last.
    fn round(&self) -> Vec<(usize, Endpoint)> {
        let inner = self.lock();
        let servers = inner.servers.as_slice();
        let indexes = (0..servers.len()).map(|offset| (inner.preferred + offset) % servers.len());
        indexes
            .map(|index| (index, servers[index].clone()))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock, and a list of servers cannot be half changed.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Share of one of so many servers in the time that is left.
fn share(left: Duration, servers: usize) -> Duration {
    let servers = u32::try_from(servers).unwrap_or(u32::MAX).max(1);
    (left / servers).max(SHARE_MIN).min(left)
}

/// Random time between half and all of a pause, so that many clients do not come back at one instant.
pub(crate) fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::thread_rng().gen_range(0.5..=1.0))
}

fn out_of_time() -> ClientError {
    ClientError::new(Reason::Deadline, "no server answered in time")
        .hint("Ask again, or give more time; `hessra status` shows which nodes answer.")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn failover() -> Failover {
        Failover::new("a:1,b:2,c:3".parse().expect("addresses"))
    }

    fn unavailable() -> ClientError {
        ClientError::new(Reason::Unavailable, "down")
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_server_is_asked_and_then_preferred() {
        let servers = failover();
        let only_b = |server: Endpoint, _| async move {
            if server.host() == "b" {
                Ok(())
            } else {
                Err(Failed::NotSent(unavailable()))
            }
        };
        let (answered, ()) = servers
            .each(Duration::from_secs(5), |_| true, only_b)
            .await
            .expect("b answers");
        assert_eq!(answered.host(), "b");
        assert_eq!(servers.round()[0].1.host(), "b");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final_and_names_the_server() {
        let refuse = |_, _| async {
            Err::<(), _>(Failed::Sent(ClientError::new(Reason::NotPermitted, "no")))
        };
        let error = failover()
            .each(Duration::from_secs(5), |_| true, refuse)
            .await
            .expect_err("refused");
        assert_eq!(
            (error.reason, error.server.as_deref()),
            (Reason::NotPermitted, Some("a:1"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_had_an_effect_is_not_repeated_unless_that_is_safe() {
        let sent = AtomicU32::new(0);
        let lost = |_, _| {
            sent.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>(Failed::Sent(unavailable())) }
        };
        failover()
            .each(Duration::from_secs(5), |_| false, lost)
            .await
            .expect_err("lost");
        assert_eq!(sent.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_with_the_time_and_servers_that_never_answer_do_not_hold_it_up() {
        let silent = |_, _| std::future::pending::<Result<(), Failed>>();
        let error = failover()
            .each(Duration::from_secs(5), |_| true, silent)
            .await
            .expect_err("silence");
        assert_eq!(error.reason, Reason::Deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_leaves_the_others_their_share_of_the_time() {
        let only_c = |server: Endpoint, has: Duration| async move {
            match server.host() {
                "c" => Ok(has),
                _ => std::future::pending().await,
            }
        };
        let began = Instant::now();
        let (_, has) = failover()
            .each(Duration::from_secs(6), |_| true, only_c)
            .await
            .expect("c answers");
        assert_eq!(has, Duration::from_secs(2));
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_cannot_be_repeated_has_all_the_time_at_the_server_that_gets_it() {
        let slow = |_, has: Duration| async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok::<_, Failed>(has)
        };
        let (_, has) = failover()
            .each(Duration::from_secs(6), |_| false, slow)
            .await
            .expect("it answers late");
        assert_eq!(has, Duration::from_secs(6));
    }
}
