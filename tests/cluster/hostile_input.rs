//! Input from strangers: refused with a sentence, bounded in cost, and not noticed by other clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hessra_tests::{Cluster, until};

use crate::walk_through::delegate;

/// An HTTPS client as a published Hessra client would be one.
struct Https {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    base: String,
}

impl Https {
    fn new(cluster: &Cluster, person: Option<&str>) -> Self {
        let read = |name: String| {
            std::fs::read(cluster.directory().join(name)).expect("a file of the cluster")
        };
        let ca = reqwest::Certificate::from_pem(&read("ca.crt".to_owned())).expect("a CA");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([ca])
            .timeout(Duration::from_secs(10));
        if let Some(person) = person {
            let mut pem = read(format!("clients/{person}.crt"));
            pem.extend(read(format!("clients/{person}.key")));
            builder = builder
                .identity(reqwest::Identity::from_pem(&pem).expect("a certificate and its key"));
        }
        let port = cluster
            .node(1)
            .public
            .rsplit(':')
            .next()
            .expect("a port")
            .to_owned();
        Self {
            client: builder.build().expect("a client"),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
            base: format!("https://localhost:{port}"),
        }
    }

    fn post(
        &self,
        path: &str,
        body: impl Into<reqwest::Body>,
        bearer: Option<&str>,
    ) -> (u16, String) {
        let mut request = self.client.post(format!("{}{path}", self.base));
        request = request
            .header("content-type", "application/json")
            .body(body);
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        self.runtime.block_on(async {
            let answer = request.send().await.expect("an answer");
            (
                answer.status().as_u16(),
                answer.text().await.unwrap_or_default(),
            )
        })
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.runtime.block_on(async {
            let answer = self
                .client
                .get(format!("{}{path}", self.base))
                .send()
                .await
                .expect("an answer");
            (
                answer.status().as_u16(),
                answer.text().await.unwrap_or_default(),
            )
        })
    }
}

fn still_serves(cluster: &Cluster) {
    let (status, body) = Https::new(cluster, None).get("/public_key");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("BEGIN PUBLIC KEY"), "{body}");
}

#[test]
fn malformed_and_oversized_requests_get_a_json_answer_with_a_reason() {
    let cluster = Cluster::start("hostile");
    let https = Https::new(&cluster, Some("alice"));
    let huge = format!(
        "{{\"resource\":\"{}\",\"operation\":\"read\"}}",
        "x".repeat(200_000)
    );
    for (body, expected) in [
        ("{", vec![400, 422]),
        ("{\"resource\":1}", vec![400, 422]),
        ("[]", vec![400, 422]),
        (huge.as_str(), vec![413]),
        (
            "{\"resource\":\"vault\",\"operation\":\"read\"}",
            vec![401, 403],
        ),
        (
            "{\"resource\":\"api\",\"operation\":\"fly\"}",
            vec![401, 403],
        ),
    ] {
        let (status, answer) = https.post("/request_token", body.to_owned(), None);
        let shown: String = body.chars().take(60).collect();
        assert!(expected.contains(&status), "{shown}: {status} {answer}");
        let answer: serde_json::Value =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{shown}: {answer}"));
        assert!(
            answer["response_msg"].is_string() && answer["token"].is_null(),
            "{shown}: {answer}"
        );
        assert!(
            !answer.to_string().contains("hessra_"),
            "no internals for strangers: {answer}"
        );
    }
    let (status, _) = https.get("/nowhere");
    assert_eq!(status, 404);
    still_serves(&cluster);
}

#[test]
fn a_token_that_is_garbage_tampered_or_too_large_is_refused() {
    let cluster = Cluster::start("tokens");
    let alice = cluster.person("alice");
    delegate(&alice);
    let arguments = [
        "identity",
        "delegate",
        "--from-token",
        "alice",
        "--identity",
        "urn:hessra:alice:agent",
        "--token-only",
    ];
    let token = alice.run(arguments).done().stdout().trim().to_owned();
    let https = Https::new(&cluster, None);
    let body = r#"{"resource":"api","operation":"read"}"#;
    assert_eq!(
        https.post("/request_token", body, Some(&token)).0 / 100,
        2,
        "the token itself is good"
    );
    let mut tampered = token.clone().into_bytes();
    let middle = tampered.len() / 2;
    tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).expect("ASCII");
    for bad in ["garbage", "", tampered.as_str(), &"A".repeat(20_000)] {
        let (status, answer) = https.post("/request_token", body, Some(bad));
        assert!([400, 401, 403, 431].contains(&status), "{status} {answer}");
        assert!(
            bad.len() < 20 || !answer.contains(bad),
            "a refusal does not echo what was sent"
        );
    }
    assert_eq!(
        https.post("/request_token", body, None).0,
        401,
        "nobody is nobody"
    );
    still_serves(&cluster);
}

#[test]
fn a_revoked_identity_gets_no_token_for_anything() {
    let cluster = Cluster::start("revoked_bearer");
    let alice = cluster.person("alice");
    delegate(&alice);
    let arguments = [
        "identity",
        "delegate",
        "--from-token",
        "alice",
        "--identity",
        "urn:hessra:alice:agent",
        "--token-only",
    ];
    let token = alice.run(arguments).done().stdout().trim().to_owned();
    cluster
        .operator()
        .run([
            "revoke",
            "--subtree",
            "urn:hessra:alice",
            "--permanent",
            "--yes",
            "--wait",
            "commit",
        ])
        .done();
    let https = Https::new(&cluster, None);
    let body = r#"{"resource":"api","operation":"read"}"#;
    until(
        "node 1 has applied the revocation and refuses",
        Duration::from_secs(10),
        || (https.post("/request_token", body, Some(&token)).0 / 100 == 4).then_some(()),
    );
    alice
        .run(["identity", "authenticate", "--save-as", "again"])
        .exits(3);
}

#[test]
fn garbage_and_slow_connections_do_not_stop_the_service() {
    let cluster = Cluster::start("slow");
    let address = cluster.node(1).public.clone();
    let mut idle: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(&address).expect("connects"))
        .collect();
    for (number, stream) in idle.iter_mut().enumerate() {
        let first = [
            b"GET / HTTP/1.1\r\n".as_slice(),
            &[0x16, 3, 1, 0xff, 0xff],
            b"\0\0\0",
        ][number % 3];
        let _ = stream.write_all(first);
    }
    still_serves(&cluster);
    cluster
        .operator()
        .run(["revoke", "urn:hessra:test:x", "--yes", "--wait", "commit"])
        .done();
    let peer = cluster.node(1).peer.clone();
    let mut stranger = TcpStream::connect(peer).expect("connects");
    let _ = stranger.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let _ = stranger.set_read_timeout(Some(Duration::from_secs(10)));
    let mut answer = Vec::new();
    let _ = stranger.read_to_end(&mut answer);
    assert!(
        answer.len() < 100,
        "the peer port says nothing to who has no certificate"
    );
    assert_eq!(cluster.status().expect("a status")["healthy"], true);
}
