//! `bench issue`: cost of issuing a token, beside the signatures inside it.
//!
//! A Biscuit cannot be made without one fresh Ed25519 key pair and one signature per block, and a token that is shown
//! cannot be believed without one verification per signature and one public key derived from the proof at its end
//! (Biscuit, `SPECIFICATIONS.md`, "Verifying"). That is the floor of any server that issues Biscuits, and the *share* is
//! how much of the CPU time went into it: 100 % would be a server that does nothing else. Both are CPU time, so that a
//! busy machine and the clients beside the server do not count.
//!
//! | table | what is measured |
//! |---|---|
//! | in this process | the node's own issuer: caller, policy, revocations, limits, minting; one thread |
//! | over HTTPS | one node of three over connections that stay open: TLS, HTTP, the same issuer, the audit record on disk |

mod https;
mod inside;
mod options;
mod signatures;

use crate::cluster::hessra;
use crate::failure::BenchError;
use crate::machine;
use crate::ratios::{Better, Ratios};
use crate::report::{Spread, Table, milliseconds};

pub(crate) use options::Options;

use signatures::Floor;

/// Runs the benchmark and prints its tables.
///
/// # Errors
/// A node cannot be started, or refuses to issue.
pub(crate) async fn run(options: &Options) -> Result<Ratios, BenchError> {
    println!(
        "# Issuing tokens, beside the Ed25519 work inside them\n\n{}",
        machine::description(&options.directory)
    );
    println!("load average before: {}", machine::load_average());
    let directory = options.directory.join("issue");
    let cluster = hessra::start_with(
        &directory,
        &[
            ("requests_per_second", "100000"),
            ("requests_per_second_per_address", "100000"),
        ],
    )?;
    let inside = inside::Inside::open(&directory)?;
    let outside = https::Outside::open(&cluster, &directory).await?;
    let mut floors = Vec::new();
    let mut inner: Vec<Vec<f64>> = inside.kinds().iter().map(|_| Vec::new()).collect();
    let mut outer: Vec<Vec<https::Turn>> = outside.kinds().iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        floors.push(Floor::measure(options.tokens)?);
        for (place, seconds) in alternating(&mut inner, round) {
            seconds.push(inside.round(&inside.kinds()[place], options.tokens)?);
        }
        for (place, turns) in alternating(&mut outer, round) {
            turns.push(outside.turn(&outside.kinds()[place], options).await?);
        }
    }
    let floor = Floor::of(&floors);
    println!(
        "\nEd25519 on this machine, CPU: key pair and signature {:.1} µs, verification {:.1} µs, public key {:.1} µs",
        floor.made * 1e6,
        floor.verified * 1e6,
        floor.derived * 1e6
    );
    let mut ratios = Ratios::default();
    print_inside(&inside, &inner, floor, &mut ratios);
    print_outside((&outside, &outer), floor, options.clients, &mut ratios);
    println!("\nload average after: {}", machine::load_average());
    Ok(ratios)
}

/// Every place once, beginning with another one in every round.
fn alternating<T>(all: &mut [T], round: usize) -> impl Iterator<Item = (usize, &mut T)> {
    let (before, after) = all.split_at_mut(round % all.len().max(1));
    let begin = before.len();
    let after = after
        .iter_mut()
        .enumerate()
        .map(move |(place, one)| (begin + place, one));
    after.chain(before.iter_mut().enumerate())
}

fn print_inside(inside: &inside::Inside, measured: &[Vec<f64>], floor: Floor, ratios: &mut Ratios) {
    let mut table = Table::new(&[
        "token",
        "tokens/s of a core",
        "CPU µs",
        "Ed25519 µs",
        "share %",
    ]);
    for (kind, seconds) in inside.kinds().iter().zip(measured) {
        let needed = kind.signatures.seconds(floor);
        let each = |change: &dyn Fn(f64) -> f64| Spread::of(seconds.iter().map(|it| change(*it)));
        let share = each(&|seconds| needed / seconds);
        ratios.add(
            format!("issue: {}, in this process, share", kind.name),
            share,
            Better::Higher,
        );
        table.row([
            kind.name.to_owned(),
            format!("{:.0}", each(&|seconds| 1.0 / seconds)),
            format!("{:.1}", each(&|seconds| seconds * 1e6)),
            format!("{:.1}", needed * 1e6),
            format!("{:.0}", each(&|seconds| 100.0 * needed / seconds)),
        ]);
    }
    table.print("in this process, one thread");
}

fn print_outside(
    (outside, measured): (&https::Outside, &[Vec<https::Turn>]),
    floor: Floor,
    clients: usize,
    ratios: &mut Ratios,
) {
    let mut table = Table::new(&[
        "endpoint",
        "answers/s",
        "p50 ms",
        "p99 ms",
        "failed",
        "node's CPU µs",
        "Ed25519 µs",
        "share %",
    ]);
    for (kind, turns) in outside.kinds().iter().zip(measured) {
        let needed = kind.signatures.seconds(floor);
        let each = |of: &dyn Fn(&https::Turn) -> f64| Spread::of(turns.iter().map(of));
        let share = each(&|turn| needed / turn.cpu());
        ratios.add(
            format!("issue: {}, over HTTPS, share", kind.name),
            share,
            Better::Higher,
        );
        let quantile = |quantile: f64| {
            let sorted = Spread::of(
                turns
                    .iter()
                    .map(|turn| turn.latencies.value_at_quantile(quantile) as f64),
            );
            milliseconds(sorted.median as u64)
        };
        table.row([
            kind.name.to_owned(),
            format!("{:.0}", each(&|turn| turn.rate())),
            quantile(0.5),
            quantile(0.99),
            turns
                .iter()
                .map(|turn| turn.failed)
                .sum::<u64>()
                .to_string(),
            format!("{:.0}", each(&|turn| turn.cpu() * 1e6)),
            format!("{:.0}", needed * 1e6),
            format!("{:.0}", each(&|turn| 100.0 * needed / turn.cpu())),
        ]);
    }
    table.print(&format!(
        "over HTTPS, {clients} connections that stay open, one node of three"
    ));
    for failure in measured
        .iter()
        .flatten()
        .filter_map(|turn| turn.failure.as_ref())
    {
        println!("\nfailed: {failure}");
    }
}
