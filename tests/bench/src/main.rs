//! Benchmarks: the cost of each operation, beside that of what a user would pick instead.
//!
//! ```text
//! bench revoke       durable revokes/s and their latency        beside puts into a three-node etcd
//! bench propagation  revoke asked → verifiers deny              beside etcd's put → watchers
//! bench issue        tokens/s of every endpoint             beside the Ed25519 work inside them
//! bench verify       one check of a delegated token             beside biscuit-auth alone
//! ```
//! `--check` after any of them compares its ratios with those of `ratios.toml`, and names what got worse; `--save` keeps them.
//!
//! Every figure is a ratio in one run on one machine: both sides take turns, with TLS on all links, on the same disk,
//! under the same clients. Nothing here asserts a time, and a lost run is reported, not dropped.

mod cluster;
mod etcd;
mod failure;
mod fsync;
mod issue;
mod load;
mod machine;
mod process;
mod profile;
mod propagation;
mod ratios;
mod report;
mod revoke;
mod verify;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::failure::BenchError;
use crate::load::Numbers;
use crate::ratios::Ratios;
use crate::report::prose;
use crate::writer::Names;

#[derive(Parser)]
#[command(
    about = "What Hessra costs on this machine, beside what you would pick instead",
    version
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    kept: Kept,
}

#[derive(Args)]
struct Kept {
    /// Compares the ratios of the run with those that are kept, and fails when one is worse by more than a tenth
    #[arg(long, global = true)]
    check: bool,
    /// Keeps the ratios of the run, in the place of earlier ones
    #[arg(long, global = true, conflicts_with = "check")]
    save: bool,
    /// Ratios that are kept
    #[arg(long, global = true, default_value = "tests/bench/ratios.toml")]
    ratios: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Durable revokes/s and their latency, beside puts into a three-node etcd
    Revoke(RevokeArguments),
    /// From asking for a revoke until verifiers deny, beside etcd's put until watchers see it
    Propagation(PropagationArguments),
    /// Tokens/s and latency of every endpoint that issues, beside the Ed25519 work inside the tokens
    Issue(IssueArguments),
    /// One check of a delegated token, beside biscuit-auth alone
    Verify(VerifyArguments),
}

#[derive(Args)]
struct Shared {
    /// Turns of each side, in alternating order
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Directory for the data of both sides [default: below the target directory, removed afterwards]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only shows that it runs: one round of two seconds
    #[arg(long)]
    short: bool,
}

#[derive(Args)]
struct RevokeArguments {
    /// Clients at once, each with one request under way; several numbers give several tables
    #[arg(long, value_delimiter = ',', default_value = "1,64,256", value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: Vec<u16>,
    /// Seconds measured in every turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// One more turn of each side under perf: the functions that the time goes to
    #[arg(long)]
    profile: bool,
    /// One side alone
    #[arg(long)]
    only: Option<cluster::Side>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args)]
struct PropagationArguments {
    /// Writes of each side, one after the other, all rounds together
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    revokes: u32,
    /// Verifiers (and etcd watchers) at once; several numbers give several tables
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    verifiers: Vec<u16>,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args)]
struct IssueArguments {
    /// Clients at once, each with one request under way on a connection of its own
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// Seconds measured in every turn of every endpoint
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Tokens of every kind in every round in this process
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    tokens: u32,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args)]
struct VerifyArguments {
    /// Checks of every kind in every round
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    checks: u32,
    /// Delegations in the token; several numbers give several tables
    #[arg(long, value_delimiter = ',', default_value = "0,1,3", value_parser = clap::value_parser!(u8).range(0..=10))]
    delegations: Vec<u8>,
    /// Rounds, in which the kinds take turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Only shows that it runs: one round of 100 checks
    #[arg(long)]
    short: bool,
}

/// Workplace of a run: its directory, and the names that it gives.
struct Workplace {
    directory: PathBuf,
    // Removed with the value, when no directory was named.
    _temporary: Option<tempfile::TempDir>,
    numbers: Numbers,
}

impl Workplace {
    fn open(shared: &Shared) -> Result<Self, BenchError> {
        let numbers = Numbers::new(Names::new(rand::random()));
        if let Some(directory) = &shared.dir {
            std::fs::create_dir_all(directory)
                .map_err(|error| BenchError::file(directory, &error))?;
            return Ok(Self {
                directory: directory.clone(),
                _temporary: None,
                numbers,
            });
        }
        // Beside the executable: a temporary directory may be in memory, where fsync costs nothing.
        let here = std::env::current_exe().unwrap_or_default();
        let folder = here
            .parent()
            .map_or_else(|| PathBuf::from("."), PathBuf::from);
        let temporary = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&folder);
        let temporary = temporary.map_err(|error| BenchError::file(&folder, &error))?;
        Ok(Self {
            directory: temporary.path().to_owned(),
            _temporary: Some(temporary),
            numbers,
        })
    }
}

fn main() -> ExitCode {
    // One provider for the whole process, by name.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        prose(format_args!("a TLS provider is installed already"));
    }
    raise_descriptor_limit();
    let Arguments { command, kept } = Arguments::parse();
    match run(command).and_then(|ratios| keep(&ratios, &kept)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the soft limit of open files to the hard one: a thousand verifiers have a thousand connections, and the usual
/// soft limit is 1,024; the hard one is far above. Nodes inherit it.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .is_err()
    {
        prose(format_args!("the limit of open files stays as it is"));
    }
}

fn keep(ratios: &Ratios, kept: &Kept) -> Result<(), BenchError> {
    if kept.save {
        ratios.save(&kept.ratios)?;
    }
    match kept.check {
        true => ratios.check(&kept.ratios),
        false => Ok(()),
    }
}

fn run(command: Command) -> Result<Ratios, BenchError> {
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| BenchError::Tool(format!("no runtime: {error}")))?;
    match command {
        Command::Revoke(arguments) => {
            let workplace = Workplace::open(&arguments.shared)?;
            runtime.block_on(revoke::run(
                &revoke_options(&arguments, &workplace),
                &workplace.numbers,
            ))
        }
        Command::Propagation(arguments) => {
            let workplace = Workplace::open(&arguments.shared)?;
            runtime.block_on(propagation::run(
                &propagation_options(&arguments, &workplace),
                &workplace.numbers,
            ))
        }
        Command::Issue(arguments) => {
            let workplace = Workplace::open(&arguments.shared)?;
            runtime.block_on(issue::run(&issue_options(&arguments, &workplace)))
        }
        Command::Verify(arguments) => verify::run(&verify_options(&arguments)),
    }
}

fn revoke_options(arguments: &RevokeArguments, workplace: &Workplace) -> revoke::Options {
    let short = arguments.shared.short;
    revoke::Options {
        clients: if short {
            vec![4]
        } else {
            arguments.clients.iter().copied().map(usize::from).collect()
        },
        duration: Duration::from_secs(if short { 2 } else { arguments.seconds.into() }),
        warm_up: Duration::from_secs(1),
        rounds: if short {
            1
        } else {
            arguments.shared.rounds.into()
        },
        profile: arguments.profile,
        only: arguments.only,
        directory: workplace.directory.clone(),
    }
}

fn propagation_options(
    arguments: &PropagationArguments,
    workplace: &Workplace,
) -> propagation::Options {
    let short = arguments.shared.short;
    propagation::Options {
        writes: if short {
            20
        } else {
            usize::try_from(arguments.revokes).unwrap_or(usize::MAX)
        },
        followers: if short {
            vec![2]
        } else {
            arguments
                .verifiers
                .iter()
                .copied()
                .map(usize::from)
                .collect()
        },
        rounds: if short {
            1
        } else {
            arguments.shared.rounds.into()
        },
        directory: workplace.directory.clone(),
    }
}

fn issue_options(arguments: &IssueArguments, workplace: &Workplace) -> issue::Options {
    let short = arguments.shared.short;
    issue::Options {
        clients: if short { 2 } else { arguments.clients.into() },
        warm_up: Duration::from_millis(if short { 100 } else { 500 }),
        duration: if short {
            Duration::from_millis(300)
        } else {
            Duration::from_secs(arguments.seconds.into())
        },
        rounds: if short {
            1
        } else {
            arguments.shared.rounds.into()
        },
        tokens: if short {
            100
        } else {
            usize::try_from(arguments.tokens).unwrap_or(usize::MAX)
        },
        directory: workplace.directory.clone(),
    }
}

fn verify_options(arguments: &VerifyArguments) -> verify::Options {
    let short = arguments.short;
    verify::Options {
        checks: if short {
            100
        } else {
            usize::try_from(arguments.checks).unwrap_or(usize::MAX)
        },
        rounds: if short { 1 } else { arguments.rounds.into() },
        delegations: arguments
            .delegations
            .iter()
            .copied()
            .map(usize::from)
            .collect(),
    }
}
