//! The client for tokens against a server that answers what the test says, byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hessra_sdk_rust::{
    Authentication, Connection, Credentials, IdentityClient, Reason, Servers, Trust,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

struct Server {
    address: SocketAddr,
    trust: Trust,
    credentials: Credentials,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Server {
    /// Starts a server that answers every request with this status line and JSON body.
    async fn start(status: &'static str, body: String) -> Self {
        let key = rcgen::KeyPair::generate().expect("key");
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("params");
        let certificate = params.self_signed(&key).expect("signed").pem();
        let chain =
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
        let der = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, der)
            .expect("a server");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = mpsc::unbounded_channel();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let Some(request) = read(&mut stream).await else {
                    continue;
                };
                let _ = sender.send(request);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        let trust = Trust::pem(certificate.clone()).expect("a certificate");
        let credentials = Credentials::pem(certificate, key.serialize_pem()).expect("credentials");
        Self {
            address,
            trust,
            credentials,
            requests,
        }
    }

    fn client(&self) -> IdentityClient {
        self.client_of(&[self.address])
    }

    fn client_of(&self, addresses: &[SocketAddr]) -> IdentityClient {
        let servers =
            Servers::parse(addresses.iter().map(ToString::to_string), 443).expect("addresses");
        let connection =
            Connection::new(servers, self.trust.clone()).timeout(Duration::from_secs(5));
        IdentityClient::new(connection.credentials(self.credentials.clone())).expect("a client")
    }
}

/// Head and body of one request.
async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut request = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        request.push_str(std::str::from_utf8(&buffer[..count]).ok()?);
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |digits| digits.parse().expect("digits")) {
            return Some(request);
        }
    }
}

fn identity_answer() -> String {
    r#"{"response_msg":"ok","token":"abc=","expires_in":600,"identity":"urn:hessra:alice"}"#
        .to_owned()
}

#[tokio::test]
async fn a_wished_lifetime_goes_where_published_clients_put_it() {
    let mut server = Server::start("200 OK", identity_answer()).await;
    let token = server
        .client()
        .request_identity_token(Some(Duration::from_secs(600)))
        .await
        .expect("issued");
    assert_eq!(
        (token.identity.as_str(), token.expires_in),
        ("urn:hessra:alice", Duration::from_secs(600))
    );
    assert!(
        !format!("{token:?}").contains("abc"),
        "a token is never printed"
    );
    let request = server.requests.recv().await.expect("a request");
    assert!(
        request.starts_with("POST /request_identity_token HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.ends_with(r#"{"identifier":"600"}"#), "{request}");
}

#[tokio::test]
async fn an_identity_token_never_leaves_without_a_limit() {
    let mut server = Server::start(
        "200 OK",
        r#"{"response_msg":"ok","token":"xyz="}"#.to_owned(),
    )
    .await;
    let root = biscuit_auth::KeyPair::new();
    let identity = biscuit_auth::macros::biscuit!(r#"subject("urn:hessra:alice")"#)
        .build(&root)
        .expect("a token");
    let text = identity.to_base64().expect("text");
    let client = server.client();
    let token = client
        .request_token("api", "read", Authentication::Identity(&text))
        .await
        .expect("issued");
    assert_eq!(token.token, "xyz=");
    let request = server.requests.recv().await.expect("a request");
    let bearer = request
        .lines()
        .find_map(|line| line.strip_prefix("authorization: Bearer "))
        .expect("a bearer");
    let sent = biscuit_auth::UnverifiedBiscuit::from_base64(bearer).expect("a token");
    assert_eq!(sent.block_count(), 2);
    assert!(
        sent.print_block_source(1)
            .expect("a block")
            .contains("check if time")
    );
    assert!(
        request.ends_with(r#"{"resource":"api","operation":"read"}"#),
        "{request}"
    );

    let sealed = identity.seal().expect("sealed").to_base64().expect("text");
    let error = client
        .request_token("api", "read", Authentication::Identity(&sealed))
        .await
        .expect_err("not sent");
    assert_eq!(error.reason, Reason::InvalidArgument);
    assert!(server.requests.try_recv().is_err(), "nothing was sent");
}

#[tokio::test]
async fn a_refusal_keeps_its_words_and_its_kind() {
    let body = r#"{"response_msg":"Identity mismatch","token":null}"#.to_owned();
    let server = Server::start("401 Unauthorized", body).await;
    let error = server
        .client()
        .request_identity_token(None)
        .await
        .expect_err("refused");
    assert_eq!(
        (error.reason, error.message.as_str()),
        (Reason::Unauthenticated, "Identity mismatch")
    );
}

#[tokio::test]
async fn a_server_without_a_token_to_give_says_why() {
    let body =
        r#"{"response_msg":"no such client","token":null,"expires_in":null,"identity":null}"#
            .to_owned();
    let server = Server::start("200 OK", body).await;
    let error = server
        .client()
        .request_identity_token(None)
        .await
        .expect_err("refused");
    assert_eq!(
        (error.reason, error.message.as_str()),
        (Reason::NotPermitted, "no such client")
    );
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let server = Server::start("200 OK", "x".repeat(1024 * 1024)).await;
    let error = server.client().public_keys().await.expect_err("refused");
    assert!(error.message.contains("too long"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over() {
    let mut server = Server::start("200 OK", identity_answer()).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("an address");
    let client = server.client_of(&[gone, server.address]);
    client
        .request_identity_token(None)
        .await
        .expect("issued by the second");
    assert!(server.requests.recv().await.is_some());
}

#[tokio::test]
async fn without_a_certificate_an_identity_is_not_asked_for() {
    let server = Server::start("200 OK", identity_answer()).await;
    let servers = Servers::parse([server.address.to_string()], 443).expect("an address");
    let client =
        IdentityClient::new(Connection::new(servers, server.trust.clone())).expect("a client");
    let error = client
        .request_identity_token(None)
        .await
        .expect_err("refused");
    assert_eq!(error.exit_code(), 4);
}
