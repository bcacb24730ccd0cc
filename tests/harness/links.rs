//! The links between the nodes of one cluster: a relay before every peer port, which knows who calls.
//!
//! All nodes are on one host, so an address does not tell who calls; the kernel's socket table does. The relay looks up
//! which process owns the calling socket, and lets a link be cut by caller and callee.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Relays of one cluster.
#[derive(Clone, Default)]
pub struct Links {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Process id of each node, now.
    processes: BTreeMap<u64, u32>,
    /// Cut links, by caller and callee.
    cut: BTreeSet<(u64, u64)>,
    open: Vec<Open>,
}

struct Open {
    caller: u64,
    callee: u64,
    ends: [TcpStream; 2],
}

impl Links {
    /// A relay before the peer port of `callee`. Returns the address that the others are told.
    pub fn relay(&self, callee: u64, target: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let links = self.clone();
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let links = links.clone();
                std::thread::spawn(move || links.carry(caller, callee, target));
            }
        });
        address
    }

    /// Notes that a node runs as this process from now on.
    pub fn node_runs_as(&self, node: u64, process: u32) {
        self.state
            .lock()
            .expect("no panic while held")
            .processes
            .insert(node, process);
    }

    /// Cuts `node` off from all others, in both directions. Streams to its public port stay open.
    pub fn cut_off(&self, node: u64) {
        let others: Vec<u64> = {
            let state = self.state.lock().expect("no panic while held");
            state
                .processes
                .keys()
                .copied()
                .filter(|other| *other != node)
                .collect()
        };
        for other in others {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Cuts what `caller` asks of `callee`; answers to the other direction's calls still pass.
    pub fn cut(&self, caller: u64, callee: u64) {
        let mut state = self.state.lock().expect("no panic while held");
        state.cut.insert((caller, callee));
        state.open.retain(|open| {
            let stays = (open.caller, open.callee) != (caller, callee);
            if !stays {
                open.close();
            }
            stays
        });
    }

    /// Makes all links whole again.
    pub fn heal(&self) {
        self.state.lock().expect("no panic while held").cut.clear();
    }

    fn carry(&self, caller: TcpStream, callee: u64, target: SocketAddr) {
        let (Ok(from), Ok(to)) = (caller.peer_addr(), caller.local_addr()) else {
            return;
        };
        let process = owner(from, to);
        let Ok(connection) = TcpStream::connect(target) else {
            return;
        };
        let (Ok(a), Ok(b)) = (caller.try_clone(), connection.try_clone()) else {
            return;
        };
        {
            let mut state = self.state.lock().expect("no panic while held");
            let node = state
                .processes
                .iter()
                .find(|(_, known)| Some(**known) == process)
                .map(|(node, _)| *node);
            let caller = node.unwrap_or(0);
            if state.cut.contains(&(caller, callee)) {
                return;
            }
            state.open.push(Open {
                caller,
                callee,
                ends: [a, b],
            });
        }
        let (Ok(back_from), Ok(back_to)) = (connection.try_clone(), caller.try_clone()) else {
            return;
        };
        let back = std::thread::spawn(move || copy(back_from, back_to));
        copy(caller, connection);
        let _ = back.join();
    }
}

impl Open {
    fn close(&self) {
        for end in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// The process that owns the socket bound to `from` and connected to `to`, from the kernel's tables (proc(5)).
fn owner(from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (as_in_table(from)?, as_in_table(to)?);
    let inode = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str()) && fields.get(2) == Some(&remote.as_str()))
            .then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    })?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|process| holds(*process, &inode))
}

fn holds(process: u32, inode: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    files
        .flatten()
        .any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.to_str() == Some(inode)))
}

fn as_in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    Some(format!(
        "{:08X}:{:04X}",
        u32::from_le_bytes(address.ip().octets()),
        address.port()
    ))
}
