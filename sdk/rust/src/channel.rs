//! gRPC connections to servers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint as Transport};

use crate::failover::{Failed, Failover};
use crate::{ClientError, Connection, Endpoint, Reason, clock, tls};

/// Time between pings, which find a server that vanished without a word: no TCP timeout is that short.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Time before the end of a request at which connecting ends: so that it is known that nothing was sent.
const CONNECTED_BEFORE: Duration = Duration::from_millis(20);

/// Attempt at one server.
pub(crate) struct Attempt {
    pub channel: Channel,
    /// Time that is left for the request.
    pub left: Duration,
}

/// Connections that are open, reused by every request.
#[derive(Debug)]
pub(crate) struct Channels {
    pub connection: Connection,
    pub failover: Failover,
    open: Mutex<BTreeMap<Endpoint, Channel>>,
}

impl Channels {
    pub(crate) fn new(connection: Connection) -> Self {
        let failover = Failover::new(connection.servers.clone());
        Self {
            connection,
            failover,
            open: Mutex::default(),
        }
    }

    /// Asks as [`Failover::each`] does, with a connection to the server.
    ///
    /// # Errors
    /// The last failure, with the server it came from.
    pub(crate) async fn each<A, F>(
        &self,
        again: impl Fn(&ClientError) -> bool,
        attempt: impl Fn(Attempt) -> F,
    ) -> Result<(Endpoint, A), ClientError>
    where
        F: Future<Output = Result<A, ClientError>>,
    {
        let attempt = &attempt;
        self.connection.check_certificate(clock::wall())?;
        let one = |server: Endpoint, left: Duration| async move {
            let connecting = left.saturating_sub(CONNECTED_BEFORE);
            let channel = tokio::time::timeout(connecting, self.channel(&server)).await;
            let channel = channel.unwrap_or_else(|_| Err(no_answer(&server, connecting)));
            let channel = channel.map_err(Failed::NotSent)?;
            let answer = attempt(Attempt { channel, left }).await;
            answer.map_err(|error| self.failed(&server, error))
        };
        self.failover
            .each(self.connection.timeout, again, one)
            .await
    }

    /// Drops the connection after a failure that another attempt may cure: the server gets a new one next time.
    fn failed(&self, server: &Endpoint, error: ClientError) -> Failed {
        if error.retryable {
            self.lock().remove(server);
        }
        Failed::Sent(error)
    }

    async fn channel(&self, server: &Endpoint) -> Result<Channel, ClientError> {
        if let Some(channel) = self.lock().get(server) {
            return Ok(channel.clone());
        }
        let channel = connect(&self.connection, server).await?;
        self.lock().insert(server.clone(), channel.clone());
        Ok(channel)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Endpoint, Channel>> {
        // Nothing panics while it holds the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a connection: TCP, TLS and HTTP/2, within the connect timeout.
///
/// # Errors
/// `unavailable`, saying whether the server is unreachable or not believed; `unauthenticated` for a client certificate that has
/// ended, or that the server refuses.
pub(crate) async fn connect(
    connection: &Connection,
    server: &Endpoint,
) -> Result<Channel, ClientError> {
    connection.check_certificate(clock::wall())?;
    let failed = |error: tonic::transport::Error| unreachable(server, &error);
    let transport = Transport::from_shared(server.url())
        .and_then(|transport| transport.tls_config(connection.grpc_tls(server)))
        .map_err(failed)?
        .connect_timeout(connection.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    let connected = tokio::time::timeout(connection.connect_timeout, transport.connect()).await;
    connected
        .map_err(|_| no_answer(server, connection.connect_timeout))?
        .map_err(failed)
}

fn no_answer(server: &Endpoint, limit: Duration) -> ClientError {
    ClientError::new(
        Reason::Unavailable,
        format!("`{server}` did not answer within {} s", limit.as_secs_f32()),
    )
    .naming_server()
}

/// Error of a failure to connect, with what to look at.
pub(crate) fn unreachable(
    server: &Endpoint,
    error: &(dyn std::error::Error + 'static),
) -> ClientError {
    let failure = match tls::certificate_refused(error) {
        Some(refused) => ClientError::new(Reason::Unauthenticated, format!("`{server}` {refused}"))
            .hint(refused.hint()),
        None => ClientError::new(
            Reason::Unavailable,
            format!("cannot connect to `{server}`: {}", root_cause(error)),
        )
        .hint(hint(tls::cause(error))),
    };
    failure.naming_server()
}

fn hint(tls: Option<&rustls::Error>) -> &'static str {
    use rustls::CertificateError as Refused;
    match tls {
        Some(rustls::Error::InvalidCertificate(refused)) => match refused {
            Refused::UnknownIssuer | Refused::BadSignature => {
                "Check that the CA file is that of this cluster."
            }
            Refused::NotValidForName | Refused::NotValidForNameContext { .. } => {
                "Check that the server's certificate names this host."
            }
            Refused::Expired
            | Refused::ExpiredContext { .. }
            | Refused::NotValidYet
            | Refused::NotValidYetContext { .. } => {
                "Check the server's certificate and both clocks."
            }
            _ => HINT_DEFAULT,
        },
        _ => HINT_DEFAULT,
    }
}

const HINT_DEFAULT: &str = "Check the address, and that the node is running.";

/// The innermost cause: the outer ones say "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("transport error")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_refusal_of_tls_says_whose_certificate_is_to_be_looked_at() {
        let server: Endpoint = "node1:7443".parse().expect("an address");
        let said = |refusal| unreachable(&server, &Outer(std::io::Error::other(refusal)));
        let ended = said(rustls::Error::AlertReceived(
            AlertDescription::CertificateExpired,
        ));
        assert_eq!(
            (ended.reason, ended.exit_code(), ended.retryable),
            (Reason::Unauthenticated, 4, false)
        );
        assert_eq!(
            ended.message,
            "`node1:7443` refuses the client certificate: it has ended, or is not valid yet"
        );
        let unknown = said(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer,
        ));
        assert!(unknown.hint.contains("CA file"));
        let other = said(rustls::Error::InvalidCertificate(CertificateError::Revoked));
        assert_eq!(other.hint, HINT_DEFAULT);
        let plain = Outer(std::io::ErrorKind::ConnectionRefused.into());
        assert_eq!(unreachable(&server, &plain).hint, HINT_DEFAULT);
    }
}
