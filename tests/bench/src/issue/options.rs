//! What `bench issue` is asked for.

use std::path::PathBuf;
use std::time::Duration;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// At once, over HTTPS, each with a request under way on a connection of its own.
    pub clients: usize,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured, in every turn of every kind.
    pub duration: Duration,
    /// Turns of every kind, in alternating order.
    pub rounds: usize,
    /// Tokens of every kind and round in this process.
    pub tokens: usize,
    /// For the data of the nodes.
    pub directory: PathBuf,
}
