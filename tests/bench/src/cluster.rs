//! Three processes of one side: how they are reached, asked, and measured.
//!
//! Both sides look the same from here on: addresses for clients, a certificate to show, an operations port that speaks
//! plain HTTP on loopback.

pub(crate) mod etcd;
pub(crate) mod hessra;

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hessra_sdk_rust::admin::RequestSigner;
use hessra_sdk_rust::config::PORT_DEFAULT;
use hessra_sdk_rust::{Authority, ClientError, Connection, Credentials, Servers, Trust};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::failure::BenchError;
use crate::process::Process;

/// Time from the first process to the last one being ready, on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two looks at a process that is not ready yet.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Side {
    /// Three `hessra-node` processes.
    Hessra,
    /// Three `etcd` processes.
    Etcd,
}

/// Certificate and key that a client shows, and the authority that it trusts. PEM.
pub(crate) struct Tls {
    /// The authority that servers are believed by.
    pub authority: String,
    /// The client's own certificate.
    pub certificate: String,
    /// Private key of the certificate.
    pub key: String,
}

/// One process and where it is reached.
pub(crate) struct Member {
    /// The process.
    pub process: Process,
    /// Address for clients, `127.0.0.1:PORT`, TLS.
    pub public: String,
    /// Address of the operations port, plain HTTP.
    pub operations: SocketAddr,
}

/// Three members that serve.
pub(crate) struct Cluster {
    /// Side that the cluster is of.
    pub side: Side,
    /// Members in the order of their numbers.
    pub members: Vec<Member>,
    /// Certificate and key for clients.
    pub tls: Tls,
    /// Directory of the cluster, for a client that wants files.
    pub directory: PathBuf,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Side {
    /// Name, as tables say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hessra => "hessra",
            Self::Etcd => "etcd",
        }
    }

    fn leader_metric(self) -> &'static str {
        match self {
            Self::Hessra => "hessra_raft_is_leader",
            Self::Etcd => "etcd_server_is_leader",
        }
    }

    fn readiness_path(self) -> &'static str {
        match self {
            Self::Hessra => "/readyz",
            Self::Etcd => "/health",
        }
    }
}

impl Cluster {
    /// Waits until every member serves.
    ///
    /// # Errors
    /// One ended, or is not ready in time.
    pub(crate) fn until_ready(mut self) -> Result<Self, BenchError> {
        let began = Instant::now();
        let path = self.side.readiness_path();
        for member in &mut self.members {
            while get(member.operations, path).is_none_or(|(status, _)| status != 200) {
                member.process.alive()?;
                if began.elapsed() > READY_TIMEOUT {
                    return Err(BenchError::NotReady {
                        what: member.process.name.clone(),
                        seconds: READY_TIMEOUT.as_secs(),
                        log: member.process.log.clone(),
                    });
                }
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(self)
    }

    /// Position of the leader among the members; the first one while none says that it leads.
    pub(crate) fn leader(&self) -> usize {
        let leads = |member: &Member| metric(member.operations, self.side.leader_metric()) > 0.0;
        self.members.iter().position(leads).unwrap_or_default()
    }

    /// A metric, summed over labels and members.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.members
            .iter()
            .map(|member| metric(member.operations, name))
            .sum()
    }

    /// Opens `count` connections: one after the other to every one of `to` (positions of members).
    ///
    /// # Errors
    /// A connection cannot be opened.
    pub(crate) async fn channels(
        &self,
        count: usize,
        to: &[usize],
    ) -> Result<Vec<Channel>, BenchError> {
        let mut channels = Vec::with_capacity(count);
        for position in to.iter().cycle().take(count) {
            channels.push(self.channel(&self.members[*position].public).await?);
        }
        Ok(channels)
    }

    /// Signer of the operator's requests.
    ///
    /// # Errors
    /// No member says which cluster this is.
    pub(crate) async fn signer(&self) -> Result<RequestSigner, BenchError> {
        let failed = |error: ClientError| BenchError::Connect {
            side: self.side.name(),
            reason: error.to_string(),
        };
        let addresses = self.members.iter().map(|member| &member.public);
        let servers = Servers::parse(addresses, PORT_DEFAULT).map_err(failed)?;
        let tls = &self.tls;
        let credentials = Credentials::pem(tls.certificate.as_str(), tls.key.as_str());
        let credentials = credentials.map_err(failed)?;
        let trust = Trust::pem(tls.authority.as_str()).map_err(failed)?;
        let connection = Connection::new(servers, trust).credentials(credentials.clone());
        let cluster = Authority::new(connection).cluster().await;
        RequestSigner::new(&credentials, cluster.map_err(failed)?).map_err(failed)
    }

    async fn channel(&self, address: &str) -> Result<Channel, BenchError> {
        // tonic says only "transport error"; its sources say which.
        let failed = |error: tonic::transport::Error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            BenchError::Connect {
                side: self.side.name(),
                reason: format!("`{address}`: {cause}"),
            }
        };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.tls.authority))
            .identity(Identity::from_pem(&self.tls.certificate, &self.tls.key))
            .domain_name("127.0.0.1");
        let endpoint =
            Endpoint::from_shared(format!("https://{address}")).and_then(|it| it.tls_config(tls));
        endpoint
            .map_err(failed)?
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(failed)
    }
}

/// Ports that are free now. Another process may take one before it is used: the start then fails and says so.
///
/// # Errors
/// The loopback interface has none.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>, BenchError> {
    let open = || {
        TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| Ok((listener.local_addr()?.port(), listener)))
    };
    let listeners: std::io::Result<Vec<_>> = (0..count).map(|_| open()).collect();
    let listeners = listeners
        .map_err(|error| BenchError::Tool(format!("no free port on loopback: {error}")))?;
    Ok(listeners.into_iter().map(|(port, _)| port).collect())
}

/// Value of a metric of one member; zero when the member does not answer or does not know it.
fn metric(address: SocketAddr, name: &str) -> f64 {
    let Some((200, text)) = get(address, "/metrics") else {
        return 0.0;
    };
    sum_of(&text, name)
}

/// Sum over all labels, in the Prometheus text format.
fn sum_of(text: &str, name: &str) -> f64 {
    let lines = text
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Status and body. HTTP/1.0, so that the body comes whole and not in chunks.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other_name_is_taken_for_it() {
        let text = "# TYPE a counter\na{b=\"1\"} 2\na{b=\"2\"} 3.5\na_total 100\nab 7\n";
        assert_eq!(
            (sum_of(text, "a"), sum_of(text, "ab"), sum_of(text, "x")),
            (5.5, 7.0, 0.0)
        );
    }

    #[test]
    fn free_ports_are_different_ports() {
        let ports: std::collections::BTreeSet<u16> =
            free_ports(6).expect("ports").into_iter().collect();
        assert_eq!(ports.len(), 6);
    }
}
