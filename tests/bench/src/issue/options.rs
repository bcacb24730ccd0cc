//! Options of `bench issue`.

use std::path::PathBuf;
use std::time::Duration;

/// Options of one run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Clients at once, over HTTPS, each with a request under way on a connection of its own.
    pub clients: usize,
    /// Time of the warm-up, not measured.
    pub warm_up: Duration,
    /// Time measured in every turn of every kind.
    pub duration: Duration,
    /// Turns of every kind, in alternating order.
    pub rounds: usize,
    /// Tokens of every kind and round in this process.
    pub tokens: usize,
    /// Directory for the data of the nodes.
    pub directory: PathBuf,
}
