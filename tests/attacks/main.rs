//! `attacks`: what strangers and careless clients do to a node, and what it costs the others.
//!
//! ```text
//! cargo run --release -p hessra-tests --bin attacks
//! cargo run --release -p hessra-tests --bin attacks -- --only ghosts,rapid-reset
//! ```
//! A cluster of three with the default settings is attacked over its public port, from the address from which its operator and
//! its verifier come too. Each attack leaves memory, seats, audit and the latency of `revoke` within figures, which are printed;
//! an operator is let in, and a verifier stays fresh, all the while. Exit code 1: a bound was broken. No bound is a time: the
//! latencies are for a person on a quiet machine.

mod attack;
mod bounds;
mod measure;
mod target;

use std::process::ExitCode;

use clap::Parser;

use crate::attack::{Attack, Scale};
use crate::target::Target;

/// Attacks a cluster and prints what each attack cost.
#[derive(Parser)]
struct Arguments {
    /// A tenth of each attack, without the waits for timeouts: about a minute.
    #[arg(long)]
    short: bool,
    /// Only these attacks.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Attack>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One provider for the whole process, by name.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing else installs one");
    raise_descriptor_limit();
    let scale = match arguments.short {
        true => Scale::Short,
        false => Scale::Full,
    };
    let target = Target::start().await;
    println!(
        "node {} of three, default settings, {scale:?}; memory in MiB, audit in KiB, revoke in ms (p50/p99)\n",
        target.id()
    );
    println!("{}", measure::HEAD);
    let mut broken = Vec::new();
    for attack in Attack::all(&arguments.only) {
        let measured = measure::run(&target, attack, scale).await;
        println!("{measured}");
        broken.extend(bounds::broken(&measured));
    }
    println!();
    for sentence in &broken {
        println!("BROKEN: {sentence}");
    }
    match broken.is_empty() {
        true => {
            println!("all bounds hold");
            ExitCode::SUCCESS
        }
        false => ExitCode::FAILURE,
    }
}

/// Raises the soft limit of open files to the hard one; nodes inherit it.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        eprintln!("the limit of open files stays as it is");
    }
}
