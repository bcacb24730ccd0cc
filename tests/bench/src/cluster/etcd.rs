//! Three `etcd` processes as its documentation sets them up: TLS and client certificates on both links, default timing,
//! default fsync.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::{Cluster, Member, Side, Tls, free_ports};
use crate::failure::BenchError;
use crate::process::Process;

/// Command that installs etcd.
pub(crate) const INSTALL: &str = "apt-get install etcd-server";

/// The three ports of one member.
struct Ports {
    client: u16,
    peer: u16,
    metrics: u16,
}

/// Version of the installed etcd; `None` where there is none to compare with.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("etcd").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("etcd Version: ").map(str::to_owned))
}

/// Starts a cluster with its data below `directory`.
///
/// # Errors
/// A member does not become ready.
pub(crate) fn start(directory: &Path) -> Result<Cluster, BenchError> {
    let tls = certificates(directory)?;
    let free = free_ports(9)?;
    let ports: Vec<Ports> = free
        .chunks_exact(3)
        .map(|it| Ports {
            client: it[0],
            peer: it[1],
            metrics: it[2],
        })
        .collect();
    let peers: Vec<String> = (1..)
        .zip(&ports)
        .map(|(id, ports)| format!("n{id}={}", url(ports.peer)))
        .collect();
    let members: Result<Vec<Member>, BenchError> = (1..)
        .zip(&ports)
        .map(|(id, ports)| member(directory, id, ports, &peers.join(",")))
        .collect();
    Cluster {
        side: Side::Etcd,
        members: members?,
        tls,
        directory: directory.to_owned(),
    }
    .until_ready()
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn member(directory: &Path, id: usize, ports: &Ports, peers: &str) -> Result<Member, BenchError> {
    let file = |name: &str| directory.join(name).display().to_string();
    let settings = [
        ("name", format!("n{id}")),
        ("data-dir", file(&format!("n{id}"))),
        ("listen-client-urls", url(ports.client)),
        ("advertise-client-urls", url(ports.client)),
        ("listen-peer-urls", url(ports.peer)),
        ("initial-advertise-peer-urls", url(ports.peer)),
        ("initial-cluster", peers.to_owned()),
        ("initial-cluster-state", "new".to_owned()),
        (
            "listen-metrics-urls",
            format!("http://127.0.0.1:{}", ports.metrics),
        ),
        ("cert-file", file("node.crt")),
        ("key-file", file("node.key")),
        ("trusted-ca-file", file("ca.crt")),
        ("client-cert-auth", "true".to_owned()),
        ("peer-cert-file", file("node.crt")),
        ("peer-key-file", file("node.key")),
        ("peer-trusted-ca-file", file("ca.crt")),
        ("peer-client-cert-auth", "true".to_owned()),
        ("logger", "zap".to_owned()),
    ];
    let mut command = Command::new("etcd");
    command.args(
        settings
            .iter()
            .map(|(name, value)| format!("--{name}={value}")),
    );
    Ok(Member {
        process: Process::start(
            format!("etcd {id}"),
            &mut command,
            &directory.join(format!("n{id}.log")),
        )?,
        public: format!("127.0.0.1:{}", ports.client),
        operations: ([127, 0, 0, 1], ports.metrics).into(),
    })
}

/// One authority, one certificate for all members, one for clients: P-256, as those of a development cluster.
fn certificates(directory: &Path) -> Result<Tls, BenchError> {
    let failed = |error: rcgen::Error| BenchError::Certificate(error.to_string());
    let mut params = named("bench authority", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(failed)?)
        .map_err(failed)?;
    let issue = |name: &str, names: Vec<String>, usages: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = named(name, names)?;
        params.extended_key_usages = usages;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &authority).map_err(failed)?;
        Ok::<_, BenchError>((certificate.pem(), key.serialize_pem()))
    };
    let both = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let (node, node_key) = issue(
        "node",
        vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        both,
    )?;
    let (certificate, key) = issue(
        "client",
        Vec::new(),
        vec![ExtendedKeyUsagePurpose::ClientAuth],
    )?;
    let authority = authority.pem();
    for (name, pem) in [
        ("ca.crt", &authority),
        ("node.crt", &node),
        ("node.key", &node_key),
    ] {
        write(directory.join(name), pem)?;
    }
    Ok(Tls {
        authority,
        certificate,
        key,
    })
}

fn named(common_name: &str, names: Vec<String>) -> Result<CertificateParams, BenchError> {
    let mut params = CertificateParams::new(names)
        .map_err(|error| BenchError::Certificate(error.to_string()))?;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

/// Writes a PEM file for the owner alone; keys live as long as the run.
fn write(path: PathBuf, pem: &str) -> Result<(), BenchError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    let written = file.and_then(|mut file| file.write_all(pem.as_bytes()));
    written.map_err(|error| BenchError::file(&path, &error))
}
