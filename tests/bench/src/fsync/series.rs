//! Durable calls of one write that wait for each other: the longest row of calls, of all members, of which each begins when
//! the one before has ended, between the request and its answer.
//!
//! Counted under strace, for one client. A call that has nothing to do with the write but falls between its request and its
//! answer is counted too, so the median of many writes is what says something.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cluster::Cluster;
use crate::failure::BenchError;
use crate::fsync::Tracing;
use crate::load::Numbers;
use crate::report::Spread;
use crate::writer::Writer;

/// Writes that are followed.
const WRITES: usize = 200;

/// A call or a write, from one instant to another: Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval {
    from: f64,
    to: f64,
}

/// Durable calls in series of a write, over [`WRITES`] of them.
///
/// # Errors
/// strace may not trace, or the cluster cannot be reached.
pub(crate) async fn measure(
    cluster: &Cluster,
    directory: &Path,
    numbers: &Numbers,
) -> Result<Spread, BenchError> {
    let channel = cluster.channels(1, &[0]).await?.pop();
    let channel = channel.ok_or_else(|| BenchError::Tool("no connection".to_owned()))?;
    let mut writer = Writer::new(cluster, channel).await?;
    let tracing = Tracing::start(cluster, directory)?;
    let mut writes = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let from = now();
        let written = writer.write(numbers.names(), numbers.next()).await;
        if written.is_ok() {
            writes.push(Interval { from, to: now() });
        }
    }
    let calls = intervals(&tracing.stop()?);
    Ok(Spread::of(
        writes.iter().map(|write| in_series(&calls, *write) as f64),
    ))
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Calls of a trace with `-f -ttt -T`: `PID TIME call(..) = 0 <SECONDS>`, or begun in one line and ended in another.
fn intervals(trace: &str) -> Vec<Interval> {
    let mut begun = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let mut fields = line.split_whitespace();
        let (Some(id), Some(Ok(at))) = (fields.next(), fields.next().map(str::parse::<f64>)) else {
            continue;
        };
        if line.contains("<unfinished") {
            begun.insert(id, at);
            continue;
        }
        let took = line
            .rsplit_once('<')
            .and_then(|(_, rest)| rest.strip_suffix('>'));
        let Some(Ok(took)) = took.map(str::parse::<f64>) else {
            continue;
        };
        let from = match line.contains(" resumed>") {
            true => begun.remove(id).unwrap_or(at),
            false => at,
        };
        calls.push(Interval {
            from,
            to: from + took,
        });
    }
    calls.sort_by(|one, other| one.to.total_cmp(&other.to));
    calls
}

/// Most calls within the write that follow each other. The one that ends first is always part of such a row.
fn in_series(calls: &[Interval], write: Interval) -> usize {
    let within = calls
        .iter()
        .filter(|call| call.from >= write.from && call.to <= write.to);
    let mut free = write.from;
    let mut count = 0;
    for call in within {
        if call.from >= free {
            count += 1;
            free = call.to;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
101 1000.000100 fdatasync(7) = 0 <0.000100>
101 1000.000300 sync_file_range(7, 0, 0, 7 <unfinished ...>
202 1000.000310 fdatasync(8)  = 0 <0.000050>
101 1000.000420 <... sync_file_range resumed>) = 0 <0.000120>
202 1000.000500 fdatasync(8)  = 0 <0.000100>
strace: Process 303 attached
303 1000.000900 fdatasync(9)  = ? <unavailable>
";

    #[test]
    fn calls_are_read_also_when_others_come_between() {
        let calls = intervals(TRACE);
        let from: Vec<f64> = calls.iter().map(|call| call.from).collect();
        assert_eq!(from, [1000.0001, 1000.00031, 1000.0003, 1000.0005]);
    }

    #[test]
    fn calls_at_the_same_time_are_one_wait() {
        let calls = intervals(TRACE);
        let whole = Interval {
            from: 1000.0,
            to: 1001.0,
        };
        assert_eq!(in_series(&calls, whole), 3);
        let first = Interval {
            from: 1000.0,
            to: 1000.00025,
        };
        assert_eq!(in_series(&calls, first), 1);
        assert_eq!(in_series(&calls, Interval { from: 0.0, to: 1.0 }), 0);
    }
}
