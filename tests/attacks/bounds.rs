//! Bounds that an attack may not break. None is a time.

use crate::attack::Attack;
use crate::measure::Measured;

const MIB: u64 = 1024 * 1024;
/// Memory that an attack may add: the seats of one address, a thousand requests, and the bodies of callers without rights
/// together.
const MEMORY_PEAK_MAX: u64 = 256 * MIB;
/// Memory that may stay after it: what the allocator keeps for the next burst.
const MEMORY_AFTER_MAX: u64 = 128 * MIB;
/// Seats of one address without a proof: the default of `limits.connections_per_address_max`.
const SEATS_MAX: u64 = 512;
/// Records that an attack may cause: those of the revokes that are measured, and refusals up to their rate.
const AUDIT_MAX: u64 = 4 * MIB;

/// A sentence for each bound that was broken.
pub(crate) fn broken(measured: &Measured) -> Vec<String> {
    let name = measured.attack.name();
    let grown = |now: u64| now.saturating_sub(measured.memory.before);
    let (peak, after) = (grown(measured.memory.peak), grown(measured.memory.after));
    let bounds = [
        (
            peak <= MEMORY_PEAK_MAX,
            format!("{} MiB more memory", peak / MIB),
        ),
        (
            after <= MEMORY_AFTER_MAX,
            format!("{} MiB stay after it", after / MIB),
        ),
        (
            measured.seats.peak <= SEATS_MAX,
            format!("one address held {} seats", measured.seats.peak),
        ),
        (
            measured.seats.after <= measured.seats.before,
            format!("{} seats stay taken", measured.seats.after),
        ),
        (
            measured.audit_bytes <= AUDIT_MAX,
            format!("{} KiB of audit", measured.audit_bytes / 1024),
        ),
        (
            measured.during.failed == 0,
            format!("{} revokes failed", measured.during.failed),
        ),
        (
            measured.is_operator_let_in,
            "an operator was locked out".to_owned(),
        ),
        (
            measured.is_verifier_fresh,
            "a verifier went stale".to_owned(),
        ),
        (
            measured.is_waiting_over,
            "`revoke --wait` did not come to an end".to_owned(),
        ),
        (
            // An attack that did not take place shows nothing.
            measured.tried > 0,
            "it could not be tried".to_owned(),
        ),
        (
            measured.attack != Attack::CostlyChecks || measured.let_in == 0,
            format!("{} costly tokens were accepted", measured.let_in),
        ),
    ];
    let broken = bounds.into_iter().filter(|(holds, _)| !holds);
    broken
        .map(|(_, sentence)| format!("{name}: {sentence}"))
        .collect()
}
