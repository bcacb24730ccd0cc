//! A cluster of real `hessra-node` processes in a directory of its own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::ports::Ports;
use crate::{Cli, Links, Probe, Proof, binary, until};

/// Time within which a cluster is up, or a fault is over.
const PATIENCE: Duration = Duration::from_secs(60);

/// Layout of a cluster before it starts.
pub struct Layout {
    name: &'static str,
    nodes: usize,
    joining: usize,
    settings: Vec<(&'static str, &'static str, toml::Value)>,
    environment: Vec<(&'static str, String)>,
}

/// One node of a cluster.
pub struct Node {
    /// Id: 1, 2, 3…
    pub id: u64,
    /// Address that clients reach it at.
    pub public: String,
    /// Address that other members reach it at, through a relay.
    pub peer: String,
    /// Address of its operations port.
    pub operations: SocketAddr,
    /// Path of its configuration.
    pub config: PathBuf,
    /// Directory of its data.
    pub data: PathBuf,
    /// Path of its log.
    pub log: PathBuf,
    process: Option<Child>,
    environment: Vec<(String, String)>,
}

/// Cluster of real processes, real disks, real TLS.
pub struct Cluster {
    directory: tempfile::TempDir,
    _ports: Ports,
    /// Links between the nodes.
    pub links: Links,
    nodes: BTreeMap<u64, Node>,
    environment: Vec<(&'static str, String)>,
    homes: std::cell::Cell<u32>,
}

impl Layout {
    /// Layout of three nodes with the settings of a development cluster.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            nodes: 3,
            joining: 0,
            settings: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Sets another number of nodes.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self
    }

    /// Adds so many nodes, with the highest ids, that no list of initial members names: they wait to be added.
    #[must_use]
    pub fn joining(mut self, count: usize) -> Self {
        self.joining = count;
        self
    }

    /// Sets a value in every node's file.
    #[must_use]
    pub fn set(
        mut self,
        section: &'static str,
        key: &'static str,
        value: impl Into<toml::Value>,
    ) -> Self {
        self.settings.push((section, key, value.into()));
        self
    }

    /// Sets a variable in every node's environment.
    #[must_use]
    pub fn environment(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Makes log and snapshots so short that a node that was away must be caught up by a snapshot.
    #[must_use]
    pub fn short_log(self) -> Self {
        self.set("raft", "snapshot_entries", 100)
            .set("raft", "log_keep", 10)
    }

    /// Makes certificates, keys, policy and configurations; starts nothing.
    pub fn prepare(self) -> Cluster {
        let directory = tempfile::Builder::new()
            .prefix(&format!("hessra-{}-", self.name))
            .tempdir();
        let directory = directory.expect("a temporary directory");
        let count = self.nodes + self.joining;
        let ports = Ports::reserve();
        // Numbered ports have room for nine nodes; of more the ports are free when the files are made.
        let base = if count > 9 { 0 } else { ports.base };
        let count = count.to_string();
        let prepared = Command::new(binary("hessra-node"))
            .args([
                "dev",
                "--prepare",
                "--base-port",
                &base.to_string(),
                "--nodes",
                &count,
                "--dir",
            ])
            .arg(directory.path())
            .output()
            .expect("hessra-node can be run");
        assert!(
            prepared.status.success(),
            "dev --prepare: {}",
            String::from_utf8_lossy(&prepared.stderr)
        );
        name_targets(&directory.path().join("clients.toml"));
        let links = Links::default();
        let mut nodes: BTreeMap<u64, Node> = described(directory.path())
            .into_iter()
            .map(|node| (node.id, node))
            .collect();
        for node in nodes.values_mut() {
            let target = node.peer.parse().expect("a peer address");
            node.peer = links.relay(node.id, target).to_string();
        }
        let peers: BTreeMap<u64, String> = nodes
            .values()
            .map(|node| (node.id, node.peer.clone()))
            .collect();
        for node in nodes.values() {
            configure(&node.config, &peers, &self.settings);
            name_founders(&node.config, node.id, self.nodes as u64);
        }
        Cluster {
            directory,
            _ports: ports,
            links,
            nodes,
            environment: self.environment,
            homes: std::cell::Cell::new(0),
        }
    }

    /// Prepares, starts every node, and waits until all of them serve.
    pub fn start(self) -> Cluster {
        let mut cluster = self.prepare();
        cluster.start_all();
        cluster
    }
}

/// Adds a client to the policy below which tests revoke names: one that nothing has would have to be forced.
fn name_targets(clients: &Path) {
    let policy = std::fs::read_to_string(clients).expect("dev writes clients.toml");
    let client = "\n[[clients]]\nidentifier = { type = \"san_uri\", value = \"urn:hessra:test\" }\nresources = []\n";
    // Before the limits, which are what tests append to.
    let (before, limits) = policy.split_at(policy.find("\n[[operators]]").expect("operators"));
    std::fs::write(clients, format!("{before}{client}{limits}")).expect("clients.toml is replaced");
}

/// Nodes, as `nodes.json` describes them.
fn described(directory: &Path) -> Vec<Node> {
    let text =
        std::fs::read_to_string(directory.join("nodes.json")).expect("dev writes nodes.json");
    let nodes: Vec<serde_json::Value> = serde_json::from_str(&text).expect("nodes.json is JSON");
    let node = |described: &serde_json::Value| {
        let text = |key: &str| {
            described[key]
                .as_str()
                .unwrap_or_else(|| panic!("nodes.json has no {key}"))
                .to_owned()
        };
        let id = described["id"].as_u64().expect("an id");
        let folder = directory.join(format!("node-{id}"));
        Node {
            id,
            public: text("public"),
            peer: text("peer"),
            operations: text("ops").parse().expect("an address"),
            config: folder.join("node.toml"),
            data: PathBuf::from(text("data_dir")),
            log: folder.join("test.log"),
            process: None,
            environment: Vec::new(),
        }
    };
    nodes.iter().map(node).collect()
}

/// Sends peers through the relays, and applies the layout's settings.
fn configure(
    path: &Path,
    peers: &BTreeMap<u64, String>,
    settings: &[(&'static str, &'static str, toml::Value)],
) {
    let text = std::fs::read_to_string(path).expect("dev writes node.toml");
    let mut config: toml::Table = text.parse().expect("node.toml is TOML");
    if let Some(members) = config["cluster"]
        .get_mut("initial_members")
        .and_then(toml::Value::as_array_mut)
    {
        for member in members {
            let id = u64::try_from(member["id"].as_integer().expect("an id")).expect("a small id");
            member["peer"] = peers[&id].clone().into();
        }
    }
    for (section, key, value) in settings {
        let section = config
            .entry(*section)
            .or_insert_with(|| toml::Table::new().into());
        section
            .as_table_mut()
            .expect("a section")
            .insert((*key).to_owned(), value.clone());
    }
    std::fs::write(path, config.to_string()).expect("node.toml can be written");
}

/// Names the founders: only the first `founders` nodes begin the cluster; a later one has an empty list, and so waits
/// to be added.
fn name_founders(path: &Path, id: u64, founders: u64) {
    let text = std::fs::read_to_string(path).expect("it was just written");
    let mut config: toml::Table = text.parse().expect("node.toml is TOML");
    let members = config["cluster"]
        .get_mut("initial_members")
        .and_then(toml::Value::as_array_mut)
        .expect("dev names the initial members");
    let founder = |member: &toml::Value| {
        let member = member["id"]
            .as_integer()
            .and_then(|id| u64::try_from(id).ok());
        id <= founders && member.is_some_and(|member| member <= founders)
    };
    members.retain(founder);
    std::fs::write(path, config.to_string()).expect("node.toml can be written");
}

impl Node {
    /// Id of its process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

impl Cluster {
    /// Starts a cluster of three nodes.
    pub fn start(name: &'static str) -> Self {
        Layout::new(name).start()
    }

    /// Directory with all files of the cluster.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// One node.
    pub fn node(&self, id: u64) -> &Node {
        &self.nodes[&id]
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Ids of the nodes that run.
    pub fn running(&self) -> Vec<u64> {
        self.nodes
            .values()
            .filter(|node| node.process.is_some())
            .map(|node| node.id)
            .collect()
    }

    /// Starts every node that does not run, and waits until all serve.
    pub fn start_all(&mut self) {
        let down: Vec<u64> = self
            .nodes
            .values()
            .filter(|node| node.process.is_none())
            .map(|node| node.id)
            .collect();
        self.start_nodes(down);
    }

    /// Starts these nodes, and waits until all of them serve.
    pub fn start_nodes(&mut self, ids: impl IntoIterator<Item = u64>) {
        let ids: Vec<u64> = ids.into_iter().collect();
        for id in &ids {
            self.spawn(*id);
        }
        for id in ids {
            self.wait_ready(id);
        }
    }

    /// Starts one node without waiting for it.
    pub fn spawn(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&node.log)
            .expect("a log file");
        let process = Command::new(binary("hessra-node"))
            .args(["run", "--config"])
            .arg(&node.config)
            .envs(self.environment.iter().cloned())
            .envs(node.environment.iter().cloned())
            .env(
                "HESSRA_LOG",
                std::env::var("HESSRA_LOG").unwrap_or_else(|_| "info".to_owned()),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("hessra-node can be run");
        self.links.node_runs_as(id, process.id());
        node.process = Some(process);
    }

    /// Starts one node and waits until it serves.
    pub fn start_node(&mut self, id: u64) {
        self.spawn(id);
        self.wait_ready(id);
    }

    /// Waits until a node says that it is ready.
    pub fn wait_ready(&mut self, id: u64) {
        self.wait_for(id, "/readyz");
    }

    /// Waits until a node answers on its ports, ready or not.
    pub fn wait_live(&mut self, id: u64) {
        self.wait_for(id, "/livez");
    }

    /// Sets a variable in the environment of one node, from its next start on.
    pub fn set_environment_of(&mut self, id: u64, name: &str, value: &str) {
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        node.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Answer of a node to `/readyz`, whatever it is; empty when it does not answer.
    pub fn ready_answer(&self, id: u64) -> String {
        get(self.nodes[&id].operations, "/readyz").map_or_else(String::new, |(_, body)| body)
    }

    /// Reason for which a node is not ready, as it says; `None` = it is ready, or does not answer.
    pub fn not_ready(&self, id: u64) -> Option<String> {
        let (status, body) = get(self.nodes[&id].operations, "/readyz")?;
        (status != 200).then_some(body)
    }

    fn wait_for(&mut self, id: u64, path: &str) {
        let operations = self.nodes[&id].operations;
        let began = std::time::Instant::now();
        while get(operations, path).is_none_or(|(status, _)| status != 200) {
            self.expect_alive(id);
            assert!(
                began.elapsed() < PATIENCE,
                "node {id} does not answer 200 at {path}:\n{}",
                self.tail(id)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn expect_alive(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        let ended = node
            .process
            .as_mut()
            .and_then(|process| process.try_wait().ok().flatten());
        if let Some(status) = ended {
            panic!("node {id} ended with {status}:\n{}", self.tail(id));
        }
    }

    /// Waits for a node that must end by itself. Returns its exit code and its log.
    pub fn wait_ended(&mut self, id: u64) -> (i32, String) {
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        let mut process = node.process.take().expect("it was started");
        let status = until(&format!("node {id} ends"), PATIENCE, || {
            process.try_wait().ok().flatten()
        });
        (status.code().unwrap_or(-1), self.tail(id))
    }

    /// Kills a node (`kill -9`).
    pub fn kill(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        let mut process = node
            .process
            .take()
            .unwrap_or_else(|| panic!("node {id} does not run"));
        process.kill().expect("our own child can be killed");
        process.wait().expect("a killed child can be waited for");
    }

    /// Stops a node by SIGTERM, and waits for the end.
    pub fn stop(&mut self, id: u64) {
        self.signal(id, rustix::process::Signal::TERM);
        let node = self.nodes.get_mut(&id).expect("a node of this cluster");
        let mut process = node.process.take().expect("it was running");
        until(&format!("node {id} stops"), PATIENCE, || {
            process.try_wait().ok().flatten()
        });
    }

    /// Sends a signal to a node.
    pub fn signal(&self, id: u64, signal: rustix::process::Signal) {
        let process = self.nodes[&id].process.as_ref().expect("it runs").id();
        let process = rustix::process::Pid::from_raw(i32::try_from(process).expect("a pid"))
            .expect("not zero");
        rustix::process::kill_process(process, signal).expect("our own child can be signalled");
    }

    /// Kills all nodes (`kill -9`).
    pub fn kill_all(&mut self) {
        self.running().into_iter().for_each(|id| self.kill(id));
    }

    /// Stops all nodes by SIGTERM.
    pub fn stop_all(&mut self) {
        self.running().into_iter().for_each(|id| self.stop(id));
    }

    /// The operator's command, with a home of its own.
    pub fn operator(&self) -> Cli {
        self.person("operator")
    }

    /// Command of a person, with a home of its own.
    pub fn person(&self, name: &str) -> Cli {
        let number = self.homes.replace(self.homes.get() + 1);
        let home = self.directory.path().join(format!("home-{name}-{number}"));
        let servers: Vec<String> = self
            .nodes
            .values()
            .map(|node| node.public.clone())
            .collect();
        Cli::new(self.directory.path(), name, &servers, home)
    }

    /// A verifier in a process of its own, following these nodes.
    pub fn probe(&self, id: &str, nodes: &[u64]) -> Probe {
        let servers: Vec<String> = nodes
            .iter()
            .map(|node| self.nodes[node].public.clone())
            .collect();
        Probe::start(self.directory.path(), id, &servers)
    }

    /// Another replica of a service that uses the same name `id`: a verifier like [`Self::probe`] with a state of its own.
    pub fn replica(&self, id: &str, nodes: &[u64]) -> Probe {
        let servers: Vec<String> = nodes
            .iter()
            .map(|node| self.nodes[node].public.clone())
            .collect();
        Probe::replica(self.directory.path(), id, &servers)
    }

    /// A verifier in a process of its own that shows what `proof` says instead of the verifiers' certificate.
    pub fn probe_as(&self, id: &str, proof: &Proof, nodes: &[u64]) -> Probe {
        let servers: Vec<String> = nodes
            .iter()
            .map(|node| self.nodes[node].public.clone())
            .collect();
        Probe::start_as(self.directory.path(), id, proof, &servers)
    }

    /// Result of `hessra status -o json`.
    pub fn status(&self) -> Option<serde_json::Value> {
        let finished = self
            .operator()
            .run(["status", "-o", "json", "--timeout", "3s"]);
        serde_json::from_str(&finished.stdout()).ok()
    }

    /// The leader, as soon as there is one that runs.
    pub fn leader(&self) -> u64 {
        until("the cluster has a leader", PATIENCE, || {
            let leader = self.status()?["leader"].as_u64()?;
            self.running().contains(&leader).then_some(leader)
        })
    }

    /// A running node that does not lead.
    pub fn follower(&self) -> u64 {
        let leader = self.leader();
        self.running()
            .into_iter()
            .find(|id| *id != leader)
            .expect("a node besides the leader")
    }

    /// One metric of one node, summed over its labels.
    pub fn metric(&self, id: u64, name: &str) -> f64 {
        self.metric_with(id, name, &[])
    }

    /// One metric of one node, summed over the lines that have these labels (`port="public"`).
    pub fn metric_with(&self, id: u64, name: &str, labels: &[&str]) -> f64 {
        let (_, text) =
            get(self.nodes[&id].operations, "/metrics").expect("a running node has metrics");
        let lines = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter(|line| labels.iter().all(|label| line.contains(label)));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The end of a node's log.
    pub fn tail(&self, id: u64) -> String {
        let text = std::fs::read_to_string(&self.nodes[&id].log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for id in self.nodes.keys() {
                eprintln!("--- node {id}\n{}", self.tail(*id));
            }
        }
        for node in self.nodes.values_mut() {
            if let Some(mut process) = node.process.take() {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

/// A plain HTTP/1.1 GET: status and body.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
