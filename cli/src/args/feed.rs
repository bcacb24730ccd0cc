//! `hessra feed …`

use clap::Subcommand;

/// What to see of the feed.
#[derive(Debug, Subcommand)]
pub(crate) enum FeedCommand {
    /// Position, age and keys of the feed.
    Status,
    /// Every verifier: where it is connected, how far it has got, when it fails closed.
    Verifiers,
    /// Follow the feed and print what comes, verified.
    Watch {
        /// Begin above this revision [default: what is new].
        #[arg(long, value_name = "REVISION")]
        from: Option<u64>,
    },
}
