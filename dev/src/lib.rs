//! Cluster, whole and local, as child processes: `hessra-node dev`.
//!
//! ```text
//! hessra-node dev ─┬─ hessra-node run --config DIR/node-1/node.toml   (log: DIR/node-1/node.log)
//!                  ├─ … node-2
//!                  └─ … node-3
//! ```
//! The first start on a directory makes CAs, certificates, the key-encryption key and a sample policy; a later one
//! finds them and the data. Prose goes to stderr; stdout gets the single line `ready` when every node is ready. The
//! nodes are real: their own processes, disks and ports, so that one can be killed and started again by hand. It is no
//! way to run in production: all keys lie in one directory. So a node that is built for production does not link it.
//!
//! Files that only a node can write (its settings, its key-encryption key) are asked of it: [`NodeFiles`].
//!
//! [`init`] makes the files of a real cluster, and runs nothing: it is here because certificates are made here.

mod certificates;
mod children;
mod error;
mod files;
pub mod init;
mod layout;
mod write;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

pub use children::watch_parent;
pub use error::DevError;
pub use files::NodeFiles;
pub use layout::{CLUSTER, DevOptions, Layout, NODES_MAX, NodeEntry};

/// Time from the first process to the last node being ready. Three unoptimised nodes on a busy machine take some
/// seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// Runs the cluster until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// The cluster could not be made or did not become ready; nothing is left running then.
pub async fn run(options: &DevOptions, node: &impl NodeFiles) -> Result<(), DevError> {
    let resumed = options.directory.join("nodes.json").exists();
    let (layout, _lock) = prepare(options, node)?;
    let mut children = children::Children::start(layout, options.restart)?;
    if let Err(error) = children.until_ready(READY_TIMEOUT).await {
        children.stop().await;
        return Err(error);
    }
    eprint!("{}", guide(children.layout(), resumed));
    println!("ready");
    // A reader on the other end of a pipe waits for this line.
    let _ = std::io::stdout().flush();
    children.until_stopped().await;
    Ok(())
}

/// Makes the files of a cluster, or finds them, and starts nothing. The directory is this caller's while the lock is
/// open.
///
/// # Errors
/// A file cannot be made, or the directory is in use.
pub fn prepare(options: &DevOptions, node: &impl NodeFiles) -> Result<(Layout, File), DevError> {
    write::make_directory(&options.directory)?;
    let lock = lock(&options.directory)?;
    let layout = Layout::open(options)?;
    files::make(&layout, node)?;
    layout.save()?;
    Ok((layout, lock))
}

/// Lock of a directory, held as long as the file is open.
fn lock(directory: &Path) -> Result<File, DevError> {
    let path = directory.join("dev.lock");
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(|error| DevError::file(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(DevError::InUse {
            directory: directory.into(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(DevError::file(&path, &error)),
    }
}

fn guide(layout: &Layout, resumed: bool) -> String {
    let directory = layout.directory.display();
    let verb = if resumed { "resumed" } else { "started" };
    let mut text = format!(
        "\nhessra dev: {} nodes {verb} in {directory}\n\n",
        layout.nodes.len()
    );
    for node in &layout.nodes {
        text += &format!(
            "  node {}  clients https://{}  members {}  operations http://{}  pid {}\n",
            node.id,
            node.public,
            node.peer,
            node.ops,
            node.pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        );
    }
    text + &format!(
        "\n  certificates  ca.crt, clients/{{operator,responder,alice,gateway,mycompany}}.{{crt,key}}\n  \
         policy        clients.toml, resources.toml (read once, by a new cluster)\n  \
         logs          node-N/node.log\n\n\
         Try, in another terminal:\n\n  \
         source {directory}/env\n  \
         hessra status\n  \
         hessra identity authenticate --cert {directory}/clients/alice.crt --key {directory}/clients/alice.key --save-as alice\n  \
         hessra identity delegate --from-token alice --identity urn:hessra:alice:agent --ttl 3600 --save-as agent\n  \
         hessra identity verify --token-name agent --identity urn:hessra:alice:agent\n  \
         hessra revoke --subtree urn:hessra:alice:agent --yes\n\n\
         Ctrl-C stops it; the same command resumes it.\n\n"
    )
}
