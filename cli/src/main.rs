//! `hessra`, the command line: a thin layer over the Rust SDK that decides nothing about tokens or revocations.
//!
//! ```text
//! args ── what was asked          context ── of which cluster, with what      tokens, store ── about which token
//!                     └──────────────► commands ◄──────────────┘
//!                                          │ answer or CommandError
//!                                          ▼
//!                              output ── stdout, stderr, exit code
//! ```
//!
//! `args` is the grammar, `commands` has one module per command, `output` knows the streams, `exit` and `failure`
//! how a command ends.

mod args;
mod clock;
mod commands;
mod context;
mod exit;
mod failure;
mod files;
mod knowledge;
mod output;
mod sdk;
mod signing_key;
mod store;
mod tokens;
mod trace;
mod until;
mod verification;

use std::process::ExitCode;

use args::Arguments;
use exit::Exit;
use failure::{CommandError, Outcome};
use output::Console;

fn main() -> ExitCode {
    let arguments = Arguments::read();
    let console = Console::new(&arguments.output);
    let exit = match run(arguments, console) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            console.failure(&failure);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

/// Runs one command, on one thread: nothing here needs two.
fn run(arguments: Arguments, console: Console) -> Outcome {
    // One TLS provider for the process, by name; it fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        CommandError::new(
            Exit::Failed,
            "internal",
            format!("cannot start a runtime: {error}"),
        )
    })?;
    let outcome = runtime.block_on(commands::run(arguments, console));
    // A blocked read of stdin or a name look-up must not hold up the exit.
    runtime.shutdown_background();
    outcome
}
