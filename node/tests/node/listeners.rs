//! Admission of callers, and limits of connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use reqwest::Identity;

use rustix::process::{Signal, kill_process};

use super::running::{Running, answer, shared, until};

/// Longest wait: ten times what it takes on an idle machine.
const WAIT: Duration = Duration::from_secs(30);

/// A client certificate for `urn:hessra:alice` by a CA that nobody knows.
fn forged() -> Identity {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    signed_by(&Issuer::new(ca, ca_key), (2024, 2044))
}

/// The same by the cluster's own CA for clients.
fn by_our_ca(running: &Running, years: (i32, i32)) -> Identity {
    let read = |name: &str| std::fs::read_to_string(running.directory().join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca.key")).unwrap();
    signed_by(
        &Issuer::from_ca_cert_pem(&read("ca.crt"), key).unwrap(),
        years,
    )
}

fn signed_by(issuer: &Issuer<'_, KeyPair>, (from, to): (i32, i32)) -> Identity {
    alice(issuer, |params| {
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
    })
}

/// A client certificate for `urn:hessra:alice`.
fn alice(issuer: &Issuer<'_, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("urn:hessra:alice".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let certificate = params.signed_by(&key, issuer).unwrap();
    Identity::from_pem(format!("{}{}", key.serialize_pem(), certificate.pem()).as_bytes()).unwrap()
}

/// A CA that nobody knows yet, and its PEM.
fn another_ca() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// Asks for what anyone may have, until a connection is refused. The client keeps its connection while it can.
async fn until_refused(client: &reqwest::Client, url: &str) {
    let begun = std::time::Instant::now();
    while client.get(url).send().await.is_ok() {
        assert!(begun.elapsed() < WAIT, "the connection is still served");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_open_connection_ends_when_its_authority_is_removed() {
    let running = Running::start();
    let file = running.directory().join("ca.crt");
    let before = std::fs::read_to_string(&file).unwrap();
    let (issuer, pem) = another_ca();
    let kept = running.client(Some("alice"));
    let url = running.url("/health");
    // Made with the CA's file as it is now: its server is believed by it.
    let removed = running.client_with(Some(signed_by(&issuer, (2024, 2044))));
    std::fs::write(&file, format!("{before}{pem}")).unwrap();
    kill_process(running.node_pid(), Signal::HUP).unwrap();
    let begun = std::time::Instant::now();
    while removed.get(&url).send().await.is_err() {
        assert!(begun.elapsed() < WAIT, "the new authority is not believed");
    }
    assert!(kept.get(&url).send().await.is_ok());
    std::fs::write(&file, &before).unwrap();
    kill_process(running.node_pid(), Signal::HUP).unwrap();
    until_refused(&removed, &url).await;
    assert!(kept.get(&url).send().await.is_ok(), "another one stays");
}

#[tokio::test]
async fn an_open_connection_ends_with_its_certificate() {
    let running = shared();
    let read = |name: &str| std::fs::read_to_string(running.directory().join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), key).unwrap();
    // Long enough for a first request on a busy machine.
    let ends = std::time::SystemTime::now() + Duration::from_secs(5);
    let client = running.client_with(Some(alice(&issuer, |params| {
        params.not_after = ends.into();
    })));
    let url = running.url("/health");
    assert!(client.get(&url).send().await.is_ok());
    until_refused(&client, &url).await;
}

async fn comes_in(running: &Running, identity: Identity) -> bool {
    running
        .client_with(Some(identity))
        .get(running.url("/public_key"))
        .send()
        .await
        .is_ok()
}

#[tokio::test]
async fn a_certificate_that_does_not_check_ends_the_handshake() {
    let running = shared();
    assert!(comes_in(&running, by_our_ca(&running, (2024, 2044))).await);
    assert!(
        !comes_in(&running, by_our_ca(&running, (2020, 2021))).await,
        "an expired one came in"
    );
    assert!(
        !comes_in(&running, forged()).await,
        "one of another CA came in"
    );
    let member = running.certificate(&running.directory().join("node-1/peer"));
    assert!(
        !comes_in(&running, member).await,
        "a member's came in at the clients' listener"
    );
}

#[tokio::test]
async fn the_peer_port_is_for_members_only() {
    let running = Running::start();
    let url = format!("https://{}/", running.address("peer"));
    let cluster_ca = std::fs::read(running.directory().join("cluster-ca.crt")).unwrap();
    let alice = running.certificate(&running.directory().join("clients/alice"));
    let _ = rustls::crypto::ring::default_provider().install_default();
    for identity in [None, Some(alice)] {
        let builder = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&cluster_ca).unwrap()])
            .http2_prior_knowledge()
            .timeout(Duration::from_secs(10));
        let client = match identity {
            Some(identity) => builder.identity(identity).build().unwrap(),
            None => builder.build().unwrap(),
        };
        assert!(client.get(&url).send().await.is_err());
    }
    for sentence in [
        "the caller showed no certificate",
        "was not signed by a CA that this port trusts",
    ] {
        until(WAIT, sentence, || {
            running.log().contains(sentence).then_some(())
        });
    }
}

#[tokio::test]
async fn silence_and_noise_cost_a_bounded_time_and_nothing_else() {
    let running = shared();
    // As many as a laptop opens in a moment; none of them says anything.
    let silent: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(running.address("public")).unwrap())
        .collect();
    let mut noisy = TcpStream::connect(running.address("public")).unwrap();
    noisy.write_all(&[0x5a; 4096]).unwrap();
    let (status, _) = answer(running.client(Some("alice")).get(running.url("/health"))).await;
    assert!(status.is_success());
    for mut stream in silent.into_iter().take(3) {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut byte = [0];
        assert!(
            matches!(stream.read(&mut byte), Ok(0) | Err(_)),
            "a silent connection was answered"
        );
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_sixteen_kilobytes_are_not() {
    let running = shared();
    let client = running.client(None);
    let with = |bytes: usize| {
        client
            .get(running.url("/health"))
            .header("Authorization", "x".repeat(bytes))
            .send()
    };
    assert!(with(16 * 1024).await.unwrap().status().is_success());
    let refused = with(200 * 1024).await;
    assert!(refused.is_err() || refused.is_ok_and(|response| !response.status().is_success()));
    assert!(with(10).await.unwrap().status().is_success());
}

/// The certificate that a new connection is shown.
async fn shown(running: &Running) -> Vec<u8> {
    let client = running.builder().tls_info(true).build().unwrap();
    let response = client.get(running.url("/health")).send().await.unwrap();
    let info = response
        .extensions()
        .get::<reqwest::tls::TlsInfo>()
        .unwrap();
    info.peer_certificate().unwrap().to_vec()
}

#[tokio::test]
async fn a_changed_certificate_is_taken_over_and_a_bad_one_is_not() {
    let running = Running::start();
    let kept = running.client(None);
    assert!(
        kept.get(running.url("/health"))
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let before = shown(&running).await;
    let (certificate, key) = ("node-1/server.crt", "node-1/server.key");

    std::fs::write(running.directory().join(certificate), "no certificate").unwrap();
    kill_process(running.node_pid(), Signal::HUP).unwrap();
    until(WAIT, "the refusal is logged", || {
        running
            .log()
            .contains("certificates not read")
            .then_some(())
    });
    assert_eq!(
        shown(&running).await,
        before,
        "a bad file changed what is shown"
    );

    let (new_certificate, new_key) = server_by_our_ca(&running);
    std::fs::write(running.directory().join(key), new_key).unwrap();
    std::fs::write(running.directory().join(certificate), new_certificate).unwrap();
    kill_process(running.node_pid(), Signal::HUP).unwrap();
    let begun = std::time::Instant::now();
    while shown(&running).await == before {
        assert!(
            begun.elapsed() < WAIT,
            "the new certificate was not taken over"
        );
    }
    assert!(
        kept.get(running.url("/health"))
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
}

fn server_by_our_ca(running: &Running) -> (String, String) {
    let read = |name: &str| std::fs::read_to_string(running.directory().join(name)).unwrap();
    let authority_key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (
        params.signed_by(&key, &issuer).unwrap().pem(),
        key.serialize_pem(),
    )
}
