//! Checks over the network: each node's TLS, clocks, leader, feed, versions.

use std::sync::Arc;
use std::time::Duration;

use hessra_sdk_rust::revocation::Checkpoint;
use hessra_sdk_rust::v1::{NodeStatus, StatusResponse};
use hessra_sdk_rust::{Authority, Connection, Endpoint};
use hessra_settings::duration;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::finding::Finding;
use super::{certificates, keys};
use crate::commands::{feed, status};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome, in_words};
use crate::{clock, files};

/// Largest difference of clocks: a larger one makes tokens with short lives fail, as published clients add a check of 5
/// s.
const SKEW_MAX_MS: u64 = 2_000;
/// Time for one TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Checks the way to the cluster and the cluster itself.
pub(super) async fn check(context: &Context) -> Vec<Finding> {
    let Ok(connection) = context.connection() else {
        return Vec::new();
    };
    let authority = Authority::new(connection.clone());
    let status = ask_status(&connection, &authority).await;
    let mut findings = Vec::new();
    for server in authority.servers().as_slice() {
        findings.push(tls(context, server).await);
    }
    // A cluster goes on without a node: that needs a look, and nothing is broken as long as another one answers.
    if findings.iter().any(|finding| finding.exit == Exit::Done) {
        findings.iter_mut().for_each(Finding::soften);
    }
    findings.extend(check_feed(&authority).await);
    match status {
        None => findings.push(Finding::warning(
            "leader",
            "not asked: that needs a client certificate",
            "Give --cert FILE and --key FILE.",
        )),
        Some(Err(failure)) => findings.push(Finding::failed("leader", failure)),
        Some(Ok(status)) => {
            let keys = keys::check(&authority).await;
            let people = keys::two_person(&status);
            findings.extend([leader(&status), version(&status), keys, people]);
            findings.extend(conditions(&status));
            findings.push(clocks(&status));
        }
    }
    findings
}

/// Status of the cluster. Asked for first, because the answer names members that were not given.
async fn ask_status(
    connection: &Connection,
    authority: &Authority,
) -> Option<Outcome<StatusResponse>> {
    connection.credentials.as_ref()?;
    Some(authority.status().await.map_err(CommandError::from))
}

async fn tls(context: &Context, server: &Endpoint) -> Finding {
    let handshake = tokio::time::timeout(HANDSHAKE, server_certificate(context, server)).await;
    let what = format!("certificate of {server}");
    match handshake {
        Ok(Ok(validity)) => certificates::assess("node", &what, &[validity], clock::unix_seconds()),
        Ok(Err(failure)) => Finding::failed("node", failure),
        Err(_) => Finding::bad(
            "node",
            format!("{server} does not answer"),
            "Check the address and that it runs.",
        ),
    }
}

/// Validity of a server's certificate, by a handshake of our own, because only it shows the certificate.
async fn server_certificate(
    context: &Context,
    server: &Endpoint,
) -> Outcome<certificates::Validity> {
    let failed = |error: std::io::Error| {
        CommandError::unavailable(format!("cannot connect to {server}: {}", in_words(&error)))
            .hint("Check the address, that the node runs, and that --ca is the authority of its certificate.")
    };
    let stream = TcpStream::connect((server.host(), server.port()))
        .await
        .map_err(failed)?;
    let name = ServerName::try_from(server.host().to_owned()).map_err(|_| {
        CommandError::usage(format!(
            "`{}` is not a name that a certificate can have",
            server.host()
        ))
    })?;
    let tls = TlsConnector::from(client_config(context)?)
        .connect(name, stream)
        .await
        .map_err(failed)?;
    let (_, session) = tls.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    leaf.and_then(|leaf| certificates::validity(leaf))
        .ok_or_else(|| {
            CommandError::unavailable(format!("{server} shows no certificate that can be read"))
                .hint("Check that the address is that of a Hessra node.")
        })
}

fn client_config(context: &Context) -> Outcome<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(ca) = &context.ca {
        let pem = files::read(ca)?;
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    Ok(Arc::new(
        rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}

async fn check_feed(authority: &Authority) -> Vec<Finding> {
    match feed::checkpoint(authority).await {
        Err(failure) => vec![Finding::failed("feed", failure)],
        Ok((checkpoint, _)) => {
            let now = clock::unix_milliseconds();
            vec![clock_skew(&checkpoint, now), freshness(&checkpoint, now)]
        }
    }
}

/// Skew of the clocks. A checkpoint is at most one heartbeat old, so only a later one or a much older one tells of
/// clocks.
fn clock_skew(checkpoint: &Checkpoint, now: u64) -> Finding {
    let ahead = checkpoint.issued_at.0.saturating_sub(now);
    if ahead > SKEW_MAX_MS {
        let ahead = duration::rounded(Duration::from_millis(ahead));
        let message = format!(
            "the clock of node {} is {ahead} ahead of this computer's",
            checkpoint.node
        );
        return Finding::warning("clock", message, "Synchronise both clocks (NTP).");
    }
    Finding::good("clock", "agrees with the node's")
}

fn freshness(checkpoint: &Checkpoint, now: u64) -> Finding {
    let (age, bound) = feed::age_and_bound(checkpoint, now);
    let revision = checkpoint.revision;
    let Some(age) = age else {
        let message = format!(
            "revision {revision} was never confirmed by node {} yet",
            checkpoint.node
        );
        return Finding::warning(
            "feed",
            message,
            "Look again in a second, then see `hessra status`.",
        );
    };
    let shown = duration::rounded(age);
    if age <= bound {
        return Finding::good(
            "feed",
            format!("revision {revision}, confirmed {shown} ago"),
        );
    }
    let message = format!(
        "revision {revision} was confirmed {shown} ago, verifiers trust it for {}",
        duration::rounded(bound)
    );
    Finding::warning(
        "feed",
        message,
        "The node has lost its quorum, or its clock is behind: see `hessra status`.",
    )
}

fn leader(status: &StatusResponse) -> Finding {
    match status::health(status) {
        Ok(()) => Finding::good(
            "leader",
            format!("node {}, term {}", status.leader, status.term),
        ),
        Err(failure) if failure.exit == Exit::Unconfirmed => {
            Finding::warning("leader", failure.message, failure.hint.unwrap_or_default())
        }
        Err(failure) => Finding::failed("leader", failure),
    }
}

/// What each node says is wrong with it, or as far as it can see.
fn conditions(status: &StatusResponse) -> Vec<Finding> {
    let of_node = |node: &NodeStatus| -> Vec<Finding> {
        let found = node.conditions.iter().map(|condition| {
            let message = format!("node {}: {}", node.id, condition.message);
            Finding::warning(
                "node",
                message,
                format!(
                    "Its code is `{}`; the node's log says more.",
                    condition.code
                ),
            )
        });
        found.collect()
    };
    status.nodes.iter().flat_map(of_node).collect()
}

/// Clocks of the members, beside that of the node that answered.
fn clocks(status: &StatusResponse) -> Finding {
    let off: Vec<String> = status
        .nodes
        .iter()
        .filter_map(|node| Some((node.id, node.clock_ahead_ms?)))
        .filter(|(_, ahead)| ahead.unsigned_abs() > SKEW_MAX_MS)
        .map(|(id, ahead)| {
            let by = duration::rounded(Duration::from_millis(ahead.unsigned_abs()));
            let side = if ahead < 0 { "behind" } else { "ahead of" };
            format!(
                "that of node {id} is {by} {side} node {}'s",
                status.answered_by
            )
        })
        .collect();
    match off.is_empty() {
        true => Finding::good("clocks", "of the members agree"),
        false => Finding::warning("clocks", off.join(", "), "Synchronise them (NTP)."),
    }
}

/// Versions of the nodes and this command: those of one minor version are tested together.
fn version(status: &StatusResponse) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    let others: Vec<String> = status
        .nodes
        .iter()
        .filter(|node| node.reachable && minor(&node.version) != minor(ours))
        .map(|node| format!("node {} has {}", node.id, node.version))
        .collect();
    if others.is_empty() {
        return Finding::good("version", format!("{ours}, and all reachable nodes"));
    }
    Finding::warning(
        "version",
        format!("this command has {ours}, {}", others.join(", ")),
        "Upgrade the older ones.",
    )
}
