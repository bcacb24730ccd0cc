//! Three `hessra-node` processes, with the settings and certificates of a development cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cluster, Member, Side, Tls};
use crate::failure::BenchError;
use crate::process::Process;

/// Starts a cluster with its data below `directory`.
///
/// # Errors
/// The binary is missing, cannot prepare a cluster, or a node does not become ready.
pub(crate) fn start(directory: &Path) -> Result<Cluster, BenchError> {
    start_with(directory, &[])
}

/// Starts a cluster with other settings than a development cluster's: key and value, each on a line of its own in
/// `node.toml`.
///
/// # Errors
/// As [`start`]; and a key that the file does not have.
pub(crate) fn start_with(
    directory: &Path,
    settings: &[(&str, &str)],
) -> Result<Cluster, BenchError> {
    let node = binary()?;
    prepare(&node, directory)?;
    for id in 1..=3 {
        change(&directory.join(format!("node-{id}/node.toml")), settings)?;
    }
    let described = read(&directory.join("nodes.json"))?;
    let described: Vec<serde_json::Value> =
        serde_json::from_str(&described).map_err(|_| strange())?;
    let members: Result<Vec<Member>, BenchError> = described
        .iter()
        .map(|described| member(&node, directory, described))
        .collect();
    let pem = |name: &str| read(&directory.join(name));
    let tls = Tls {
        authority: pem("ca.crt")?,
        certificate: pem("clients/operator.crt")?,
        key: pem("clients/operator.key")?,
    };
    Cluster {
        side: Side::Hessra,
        members: members?,
        tls,
        directory: directory.to_owned(),
    }
    .until_ready()
}

/// Path of `hessra-node`: beside this executable, in the same profile.
fn binary() -> Result<PathBuf, BenchError> {
    let here = std::env::current_exe()
        .map_err(|error| BenchError::Tool(format!("where am I? {error}")))?;
    let folder = here
        .ancestors()
        .find(|folder| folder.join(".fingerprint").is_dir())
        .or(here.parent());
    let path = folder.unwrap_or(Path::new(".")).join("hessra-node");
    if path.is_file() {
        Ok(path)
    } else {
        Err(BenchError::Binary { path })
    }
}

fn prepare(node: &Path, directory: &Path) -> Result<(), BenchError> {
    let mut command = Command::new(node);
    command
        .args([
            "dev",
            "--prepare",
            "--base-port",
            "0",
            "--nodes",
            "3",
            "--dir",
        ])
        .arg(directory);
    let prepared = command
        .output()
        .map_err(|error| BenchError::Prepare(error.to_string()))?;
    if prepared.status.success() {
        return Ok(());
    }
    Err(BenchError::Prepare(
        String::from_utf8_lossy(&prepared.stderr).trim().to_owned(),
    ))
}

fn change(file: &Path, settings: &[(&str, &str)]) -> Result<(), BenchError> {
    let mut lines: Vec<String> = read(file)?.lines().map(str::to_owned).collect();
    for (key, value) in settings {
        let begin = format!("{key} =");
        let line = lines.iter_mut().find(|line| line.starts_with(&begin));
        *line.ok_or_else(strange)? = format!("{key} = {value}");
    }
    std::fs::write(file, lines.join("\n")).map_err(|error| BenchError::file(file, &error))
}

fn member(
    node: &Path,
    directory: &Path,
    described: &serde_json::Value,
) -> Result<Member, BenchError> {
    let text = |key: &str| {
        described[key]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(strange)
    };
    let id = described["id"].as_u64().ok_or_else(strange)?;
    let folder = directory.join(format!("node-{id}"));
    let mut command = Command::new(node);
    command
        .args(["run", "--config"])
        .arg(folder.join("node.toml"));
    Ok(Member {
        process: Process::start(
            format!("hessra {id}"),
            &mut command,
            &folder.join("bench.log"),
        )?,
        public: text("public")?,
        operations: text("ops")?.parse().map_err(|_| strange())?,
    })
}

fn strange() -> BenchError {
    BenchError::Prepare(
        "nodes.json is not what this bench knows. Build both from one source".to_owned(),
    )
}

fn read(path: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(path).map_err(|error| BenchError::file(path, &error))
}
