//! Dials members and checks that each is the member it should be.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tracing::warn;

use super::{PeerCertificate, TlsError, TlsFiles};

/// Time for TCP and TLS together: a peer on another continent needs three round trips, 1 s; a dead one must not hold up
/// long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between pings: a dead connection to a peer is found within two of these.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// The client side of the peer port: this node's certificate, the cluster's CA, and whom it may speak to. Cheap to
/// clone; all clones follow a reload.
#[derive(Clone)]
pub struct PeerTls {
    cluster: Arc<str>,
    config: Arc<ArcSwap<ClientConfig>>,
}

impl PeerTls {
    /// The client side, from the files of the peer port.
    ///
    /// # Errors
    /// A file cannot be read, or the parts do not fit together.
    pub fn new(cluster: &str, files: &TlsFiles) -> Result<Self, TlsError> {
        let config = Arc::new(ArcSwap::from_pointee(files.peer_client()?));
        Ok(Self {
            cluster: cluster.into(),
            config,
        })
    }

    /// Takes over changed files for connections that are made from now on.
    ///
    /// # Errors
    /// As [`PeerTls::new`]; what was in use stays.
    pub fn reload(&self, files: &TlsFiles) -> Result<(), TlsError> {
        self.config.store(Arc::new(files.peer_client()?));
        Ok(())
    }

    /// The cluster's name, as in the certificates.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Connects to a member and checks that it is that member.
    ///
    /// # Errors
    /// The connection or the handshake failed, or the certificate names another node; the sentence says which.
    pub async fn connect(
        &self,
        address: &str,
        node: u64,
    ) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let attempt = self.handshake(address, node);
        let connected = timeout(CONNECT_TIMEOUT, attempt).await;
        connected.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("`{address}` did not answer"),
            ))
        })
    }

    async fn handshake(
        &self,
        address: &str,
        node: u64,
    ) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let host = address
            .rsplit_once(':')
            .map_or(address, |(host, _)| host)
            .trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(self.config.load_full());
        let stream = connector.connect(name, stream).await.inspect_err(|error| {
            warn!(node, address, %error, "peer refused: no handshake");
        })?;
        self.check_member(&stream, address, node)?;
        Ok(TokioIo::new(stream))
    }

    fn check_member(
        &self,
        stream: &TlsStream<TcpStream>,
        address: &str,
        node: u64,
    ) -> io::Result<()> {
        let shown = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|own| PeerCertificate::read(own, true));
        let id = shown.and_then(|certificate| certificate.node_id(&self.cluster));
        if id == Some(node) {
            return Ok(());
        }
        let found = id.map_or_else(
            || "no member of this cluster".to_owned(),
            |id| format!("node {id}"),
        );
        let sentence = format!("`{address}` should be node {node}, its certificate names {found}");
        warn!(node, address, %found, "peer refused: another node answers there");
        Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence))
    }
}

impl PeerTls {
    /// A channel that connects when it is first used, again when it broke, and only to node `id`.
    #[must_use]
    pub fn channel(&self, id: u64, address: &str) -> Channel {
        let (tls, address) = (self.clone(), address.to_owned());
        let connector = tower::service_fn(move |_: Uri| {
            let (tls, address) = (tls.clone(), address.clone());
            async move { tls.connect(&address, id).await }
        });
        // The URI names the peer in requests only; the connector has the address.
        Endpoint::from_static("http://peer")
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(connector)
    }
}
