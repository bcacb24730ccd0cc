//! Layout of a dev directory, and the ports of its nodes: `nodes.json`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rand::RngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};

use crate::error::DevError;
use crate::write::replace;

/// Name of every dev cluster.
pub const CLUSTER: &str = "dev";

/// Options of a dev cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DevOptions {
    /// Number of nodes; `None`: as many as the directory has, three in a new one.
    pub nodes: Option<u64>,
    pub directory: PathBuf,
    /// Base of the ports; 0: free ports. Of no meaning for a directory that has ports already.
    pub base_port: u16,
    /// True when a node is started again when it dies.
    pub restart: bool,
}

/// Node of the cluster, as `nodes.json` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Node id.
    pub id: u64,
    /// Process id; absent while it does not run.
    pub pid: Option<u32>,
    /// Address for clients, `host:port`.
    pub public: String,
    /// Address for members, `host:port`.
    pub peer: String,
    /// Address of the operations listener, `host:port`.
    pub ops: String,
    /// The data directory.
    pub data_dir: PathBuf,
}

/// Layout: the directory and its nodes.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Directory, as an absolute path.
    pub directory: PathBuf,
    /// Nodes in the order of their ids.
    pub nodes: Vec<NodeEntry>,
}

/// Most nodes of a directory, those that wait to be added among them: a cluster whose members are replaced one after the other has
/// few at a time.
pub const NODES_MAX: u64 = 40;
/// Most nodes that have numbered ports: the scheme has room for so many.
const NUMBERED_MAX: u16 = 9;

impl Layout {
    /// Layout of the nodes that the directory has, or of new ones as the options say.
    pub(crate) fn open(options: &DevOptions) -> Result<Self, DevError> {
        let directory = std::path::absolute(&options.directory)
            .map_err(|error| DevError::file(&options.directory, &error))?;
        let nodes = match read(&directory)? {
            Some(nodes) => same_number(options, nodes)?,
            None => new_nodes(options, &directory)?,
        };
        let layout = Self { directory, nodes };
        Ok(layout)
    }

    /// Writes `nodes.json` in one step: a reader sees the old or the new list, never half of one.
    pub(crate) fn save(&self) -> Result<(), DevError> {
        let text =
            serde_json::to_string_pretty(&self.nodes).expect("entries are plain text and numbers");
        replace(&self.directory.join("nodes.json"), &format!("{text}\n"))
    }

    /// Directory of a node, `node-N/`.
    #[must_use]
    pub fn node_directory(&self, id: u64) -> PathBuf {
        self.directory.join(format!("node-{id}"))
    }

    /// Public addresses, comma-separated, as `HESSRA_SERVER` takes them.
    pub(crate) fn servers(&self) -> String {
        self.nodes
            .iter()
            .map(|node| node.public.as_str())
            .collect::<Vec<_>>()
            .join(",")
    }
}

fn read(directory: &Path) -> Result<Option<Vec<NodeEntry>>, DevError> {
    let path = directory.join("nodes.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DevError::file(&path, &error)),
    };
    let nodes: Vec<NodeEntry> = serde_json::from_str(&text).map_err(|error| DevError::File {
        path: path.clone(),
        reason: format!("not a list of nodes: {error}"),
    })?;
    Ok(Some(nodes))
}

fn same_number(options: &DevOptions, nodes: Vec<NodeEntry>) -> Result<Vec<NodeEntry>, DevError> {
    let have = nodes.len() as u64;
    match options.nodes {
        Some(asked) if asked != have => Err(DevError::OtherNumber {
            directory: options.directory.clone(),
            have,
            asked,
        }),
        _ => Ok(nodes
            .into_iter()
            .map(|node| NodeEntry { pid: None, ..node })
            .collect()),
    }
}

fn new_nodes(options: &DevOptions, directory: &Path) -> Result<Vec<NodeEntry>, DevError> {
    let count = options.nodes.unwrap_or(3);
    let ports = if options.base_port == 0 {
        free_ports(count)?
    } else {
        numbered_ports(options.base_port, count)?
    };
    let node = |(id, [public, peer, ops]): (u64, [u16; 3])| NodeEntry {
        id,
        pid: None,
        public: format!("127.0.0.1:{public}"),
        peer: format!("127.0.0.1:{peer}"),
        ops: format!("127.0.0.1:{ops}"),
        data_dir: directory.join(format!("node-{id}/data")),
    };
    Ok((1..).zip(ports).map(node).collect())
}

/// Ports by number: node N has public BASE+N, peer BASE+10+N, operations BASE+20+N.
fn numbered_ports(base: u16, count: u64) -> Result<Vec<[u16; 3]>, DevError> {
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    if count > NUMBERED_MAX {
        return Err(DevError::Ports(format!(
            "--base-port has room for {NUMBERED_MAX} nodes, and {count} were asked for. With `--base-port 0` they get free ports"
        )));
    }
    if base.checked_add(20 + count).is_none() {
        return Err(DevError::Ports(format!(
            "--base-port {base} leaves no room: choose one below 65000"
        )));
    }
    Ok((1..=count)
        .map(|id| [base + id, base + 10 + id, base + 20 + id])
        .collect())
}

/// Ports to take free ones from. They are all held before any is let go, so that they differ. Below the ports that a
/// system gives to outgoing connections: a node that is down for a moment finds its own port free.
const FREE_PORTS: std::ops::Range<u16> = 10_000..32_000;

fn free_ports(count: u64) -> Result<Vec<[u16; 3]>, DevError> {
    let skipped = OsRng.next_u32() as usize % FREE_PORTS.len();
    let wanted = usize::try_from(count * 3).unwrap_or(usize::MAX);
    let held: Vec<TcpListener> = FREE_PORTS
        .cycle()
        .skip(skipped)
        .take(FREE_PORTS.len())
        .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .take(wanted)
        .collect();
    if held.len() < wanted {
        return Err(DevError::Ports("too few free ports".to_owned()));
    }
    let ports: Vec<u16> = held
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()
        .map_err(|error| DevError::Ports(error.to_string()))?;
    Ok(ports
        .chunks_exact(3)
        .map(|three| [three[0], three[1], three[2]])
        .collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn options(directory: &Path, nodes: Option<u64>, base_port: u16) -> DevOptions {
        DevOptions {
            nodes,
            directory: directory.into(),
            base_port,
            restart: false,
        }
    }

    #[test]
    fn ports_follow_from_the_base_and_the_number() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&options(directory.path(), None, 7400)).unwrap();
        let second = &layout.nodes[1];
        assert_eq!(layout.nodes.len(), 3);
        assert_eq!(
            (
                second.public.as_str(),
                second.peer.as_str(),
                second.ops.as_str()
            ),
            ("127.0.0.1:7402", "127.0.0.1:7412", "127.0.0.1:7422")
        );
        assert_eq!(
            layout.servers(),
            "127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403"
        );
        assert!(Layout::open(&options(directory.path(), None, 65_530)).is_err());
        assert!(Layout::open(&options(directory.path(), Some(10), 7400)).is_err());
        let many = Layout::open(&options(directory.path(), Some(23), 0)).unwrap();
        assert_eq!(many.nodes.len(), 23);
    }

    #[test]
    fn free_ports_differ_and_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&options(directory.path(), Some(9), 0)).unwrap();
        let listeners = layout
            .nodes
            .iter()
            .flat_map(|node| [&node.public, &node.peer, &node.ops]);
        assert_eq!(listeners.collect::<BTreeSet<_>>().len(), 27);
        layout.save().unwrap();
        let again = Layout::open(&options(directory.path(), None, 7400)).unwrap();
        assert_eq!(again.nodes, layout.nodes);
    }

    #[test]
    fn another_number_of_nodes_than_the_directory_has_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        Layout::open(&options(directory.path(), Some(3), 0))
            .unwrap()
            .save()
            .unwrap();
        let refused = Layout::open(&options(directory.path(), Some(5), 0))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("holds a cluster of 3 nodes, not 5"),
            "{refused}"
        );
    }
}
