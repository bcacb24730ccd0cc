//! Ports that stay a cluster's own while its nodes are down.

use std::fs::File;
use std::net::TcpListener;

/// Ports in a block: as many as `hessra-node dev --base-port` counts from its base.
const BLOCK: u16 = 30;
/// Bases of blocks: below the ports that a system gives to outgoing connections.
const BASES: std::ops::Range<u16> = 10_000..31_900;

/// A block of ports, for as long as this lives: other test processes take other blocks.
pub(crate) struct Ports {
    /// The number below the first.
    pub base: u16,
    _lock: File,
}

impl Ports {
    /// Reserves the first block that no other process has and on which nothing listens.
    ///
    /// # Panics
    /// When all are taken.
    pub(crate) fn reserve() -> Self {
        let locks = std::env::temp_dir().join("hessra-test-ports");
        std::fs::create_dir_all(&locks).expect("the temporary directory can be written");
        let reserved = BASES.step_by(usize::from(BLOCK)).find_map(|base| {
            let lock = File::create(locks.join(base.to_string())).ok()?;
            lock.try_lock().ok()?;
            is_free(base).then_some(Self { base, _lock: lock })
        });
        reserved.expect("a free block of ports")
    }
}

fn is_free(base: u16) -> bool {
    (base..base + BLOCK).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}
