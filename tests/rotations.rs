//! `rotations`: signing keys rotate many times under load; no token that should verify is refused by a connected
//! verifier, and none that should not is accepted.
//!
//! ```text
//! cargo run -p hessra-tests --bin rotations -- --count 1000
//! ```

use std::process::ExitCode;

use clap::Parser;
use hessra_tests::{Layout, rotations};

/// Rotates the keys of a real cluster under load.
#[derive(Parser)]
struct Arguments {
    /// How often the key for tokens is replaced.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cluster = Layout::new("rotations")
        .set("feed", "fresh_for", "2s")
        .start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let report = runtime.block_on(rotations::rotate(&cluster, arguments.count));
    println!(
        "{} rotations of the token key, {} of feed and audit keys, {} keys revoked, in {:.0} s",
        report.rotations,
        report.others,
        report.revoked,
        report.took.as_secs_f64()
    );
    println!("{} tokens minted, {} checks", report.minted, report.checks);
    println!("refused that should verify: {}", report.refused.len());
    println!("accepted that should not: {}", report.accepted.len());
    for line in report.refused.iter().chain(&report.accepted).take(20) {
        println!("  {line}");
    }
    let good = report.refused.is_empty() && report.accepted.is_empty();
    if good && report.rotations == arguments.count {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
