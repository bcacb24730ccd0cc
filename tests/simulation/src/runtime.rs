//! Time, randomness and process life, all from one seed.
//!
//! The whole simulation is one thread on tokio's paused clock: when every task waits, time jumps to the next timer.
//! tokio's own choices (which receiver of a watch channel wakes first) come from the seed too. openraft draws its
//! election time-outs from [`SimRuntime::thread_rng`], which is seeded. A simulated process is a set of tasks: every
//! task spawned by a task of a process belongs to it too, so that a crash can end all of them at the await they are in.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use tokio::task::AbortHandle;

/// A simulated process: one life of one node, verifier or client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(pub u64);

thread_local! {
    static RNG: RefCell<SmallRng> = RefCell::new(SmallRng::seed_from_u64(0));
    static CURRENT: Cell<Option<Process>> = const { Cell::new(None) };
    static TASKS: RefCell<BTreeMap<Process, Vec<AbortHandle>>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT: Cell<u64> = const { Cell::new(1) };
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// True when one seed is one history. tokio draws the order in which the receivers of a watch channel wake; it takes
/// a seed for that only when it was compiled with `--cfg tokio_unstable`, as `.cargo/config.toml` says.
#[must_use]
pub fn is_repeatable() -> bool {
    cfg!(tokio_unstable)
}

/// Takes the sentences of the panics in the current run. A panic ends one task: the rest of a node may go on, so that
/// nothing else tells of it.
pub fn panics() -> Vec<String> {
    PANICS.take()
}

/// Keeps panics of a run instead of printing them. Panics outside of one are printed as ever.
fn keep_panics() {
    static KEEPING: Once = Once::new();
    KEEPING.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if RUNNING.get() {
                PANICS.with_borrow_mut(|kept| kept.push(panic.to_string()));
            } else {
                print(panic);
            }
        }));
    });
}

/// Runs one seed to its end on a fresh runtime.
pub fn run<F: Future>(seed: u64, world: F) -> F::Output {
    keep_panics();
    PANICS.take();
    RUNNING.set(true);
    RNG.with_borrow_mut(|rng| *rng = SmallRng::seed_from_u64(seed));
    TASKS.with_borrow_mut(BTreeMap::clear);
    NEXT.set(1);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    let runtime = builder
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO needs nothing from the system");
    let outcome = runtime.block_on(world);
    drop(runtime);
    RUNNING.set(false);
    outcome
}

/// The simulation's only randomness.
pub fn random() -> SeededRng {
    SeededRng
}

/// Generator that draws from the seed of the current run.
#[derive(Clone, Copy, Debug)]
pub struct SeededRng;

impl RngCore for SeededRng {
    fn next_u32(&mut self) -> u32 {
        RNG.with_borrow_mut(RngCore::next_u32)
    }

    fn next_u64(&mut self) -> u64 {
        RNG.with_borrow_mut(RngCore::next_u64)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        RNG.with_borrow_mut(|rng| rng.fill_bytes(bytes));
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl Process {
    /// A new process without tasks.
    pub fn start() -> Self {
        let number = NEXT.get();
        NEXT.set(number + 1);
        Self(number)
    }

    /// Runs `future` as a task of this process. It ends with the process, at the await it is in.
    pub fn spawn<F>(self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.spawn_returning(future));
    }

    /// Polls `future` here, in the caller's task; all that it spawns belongs to this process.
    pub fn scope<F: Future>(self, future: F) -> InProcess<F> {
        InProcess {
            process: Some(self),
            future: Box::pin(future),
        }
    }

    /// Ends every task at the await it is in. Returns when the last is gone.
    pub async fn crash(self) {
        let tasks = TASKS
            .with_borrow_mut(|tasks| tasks.remove(&self))
            .unwrap_or_default();
        tasks.iter().for_each(AbortHandle::abort);
        while tasks.iter().any(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
    }

    fn spawn_returning<F>(self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::task::spawn(self.scope(future));
        TASKS.with_borrow_mut(|tasks| {
            let tasks = tasks.entry(self).or_default();
            if tasks.len() % 256 == 255 {
                tasks.retain(|task| !task.is_finished());
            }
            tasks.push(task.abort_handle());
        });
        task
    }
}

/// A future whose polls, and the tasks they spawn, belong to a process.
pub struct InProcess<F> {
    process: Option<Process>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for InProcess<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let outer = CURRENT.replace(self.process);
        let polled = self.future.as_mut().poll(context);
        CURRENT.set(outer);
        polled
    }
}

/// tokio's runtime with seeded randomness and tasks that belong to processes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SimRuntime;

impl AsyncRuntime for SimRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SeededRng;
    type OneshotSender<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiver<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotReceiver<T>;
    type OneshotReceiverError = <TokioRuntime as AsyncRuntime>::OneshotReceiverError;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match CURRENT.get() {
            Some(process) => process.spawn_returning(future),
            None => tokio::task::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(error)
    }

    fn thread_rng() -> SeededRng {
        SeededRng
    }

    fn oneshot<T: OptionalSend>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        TokioRuntime::oneshot()
    }
}
