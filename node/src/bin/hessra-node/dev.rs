//! The commands that only a node for development has: a local cluster, whose nodes end with the process that started
//! them.

use std::path::Path;

use hessra_dev::{CLUSTER, DevOptions, Layout, NodeEntry, NodeFiles};
use hessra_node::config::{Config, InitialMember};
use hessra_node::edge::random_bytes;
use hessra_node::seal::{KekSource, SealError, create_file};
use hessra_node::tls::node_urn;
use miette::{IntoDiagnostic as _, WrapErr as _};

/// The writer of a node's files.
struct OfNode;

/// Error of a node's file that was not written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum NotWritten {
    #[error(transparent)]
    Kek(#[from] SealError),
    #[error("`{0}` is no address with a port")]
    Address(String),
}

/// Makes a cluster, or finds it, and runs it unless only its files are wanted.
pub(crate) fn execute(options: &DevOptions, prepare: bool) -> miette::Result<()> {
    if prepare {
        return Ok(hessra_dev::prepare(options, &OfNode).map(|_| ())?);
    }
    // One thread: the system ends the children when the *thread* that started them ends.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .into_diagnostic()?;
    Ok(runtime.block_on(hessra_dev::run(options, &OfNode))?)
}

/// Ends this process when the one that started it ends.
pub(crate) fn end_with(parent: Option<u32>) -> miette::Result<()> {
    match parent {
        Some(parent) => hessra_dev::watch_parent(parent)
            .into_diagnostic()
            .wrap_err("cannot follow the parent process"),
        None => Ok(()),
    }
}

impl NodeFiles for OfNode {
    type Error = NotWritten;

    fn make_secret(&self, path: &Path) -> Result<(), NotWritten> {
        Ok(create_file(path, random_bytes())?)
    }

    fn settings(&self, layout: &Layout, node: &NodeEntry) -> Result<String, NotWritten> {
        let address = |text: &str| {
            let parsed = text.parse();
            parsed.map_err(|_| NotWritten::Address(text.to_owned()))
        };
        let directory = layout.node_directory(node.id);
        let mut config = Config::default();
        config.cluster.name = CLUSTER.to_owned();
        config.cluster.node_id = node.id;
        let member = |node: &NodeEntry| InitialMember {
            id: node.id,
            peer: node.peer.clone(),
            public: node.public.clone(),
        };
        config.cluster.initial_members = layout.nodes.iter().map(member).collect();
        config.cluster.join_secret = layout.directory.join("join-secret");
        config.listen.public = address(&node.public)?;
        config.listen.peer = address(&node.peer)?;
        config.listen.operations = address(&node.ops)?;
        config.storage.path = node.data_dir.clone();
        config.public_tls.certificate = directory.join("server.crt");
        config.public_tls.key = directory.join("server.key");
        config.public_tls.client_ca = layout.directory.join("ca.crt");
        config.public_tls.server_ca = layout.directory.join("ca.crt");
        config.peer_tls.certificate = directory.join("peer.crt");
        config.peer_tls.key = directory.join("peer.key");
        config.peer_tls.ca = layout.directory.join("cluster-ca.crt");
        config.keys.kek = KekSource::File(layout.directory.join("kek"));
        config.policy.clients = layout.directory.join("clients.toml");
        config.policy.resources = layout.directory.join("resources.toml");
        Ok(config.show())
    }

    fn member_urn(&self, id: u64) -> String {
        node_urn(CLUSTER, id)
    }
}
