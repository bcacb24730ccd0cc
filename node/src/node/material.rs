//! Keys and certificates of a node, read from the files that its configuration names.

use std::sync::Arc;

use hessra_proof::Checker;
use hessra_revocation::UnixMillis;

use super::bootstrap;
use super::error::NodeError;
use crate::config::Config;
use crate::edge::Clock;
use crate::join::JoinSecret;
use crate::signer::Keyholder;
use crate::tls::inspect::{Fault, Needed, Port, check_chain};
use crate::tls::{PeerCertificate, PeerTls, PortTls, TlsFiles, node_urn};

/// Material that was read. The TLS configurations are replaced in place when their files change.
pub(super) struct Material {
    pub(super) keys: Keyholder,
    pub(super) join_secret: Option<JoinSecret>,
    pub(super) public_files: TlsFiles,
    pub(super) peer_files: TlsFiles,
    pub(super) public_port: PortTls,
    pub(super) peer_port: PortTls,
    pub(super) peer_tls: PeerTls,
    /// Believes the authorities of the public port's file. Not those of the policy: whoever may change the policy could name
    /// an authority, and with it any operator.
    pub(super) operators: Arc<Checker>,
}

impl Material {
    pub(super) fn load(config: &Config) -> Result<Self, NodeError> {
        let keys = Keyholder::new(config.keks()?);
        let (public_files, peer_files) = tls_files(config);
        own_certificate(config, &peer_files)?;
        own_authority(config, &peer_files, Clock::start().wall())?;
        Ok(Self {
            keys,
            join_secret: join_secret(config)?,
            public_port: PortTls::new(public_files.public_server(&[])?),
            peer_port: PortTls::new(peer_files.peer_server()?),
            operators: Arc::new(Checker::new(public_files.authorities()?)),
            peer_tls: PeerTls::new(&config.cluster.name, &peer_files)?,
            public_files,
            peer_files,
        })
    }
}

/// Checks what the configuration's files hold: certificates, keys, policy. For `config check`.
///
/// # Errors
/// Those of [`super::Node::start`].
pub fn check_material(config: &Config) -> Result<(), NodeError> {
    Material::load(config)?;
    if !config.cluster.initial_members.is_empty() {
        bootstrap::policy(config)?;
    }
    Ok(())
}

fn join_secret(config: &Config) -> Result<Option<JoinSecret>, NodeError> {
    let path = &config.cluster.join_secret;
    let named = (!path.as_os_str().is_empty()).then_some(path);
    Ok(named.map(|path| JoinSecret::read(path)).transpose()?)
}

fn tls_files(config: &Config) -> (TlsFiles, TlsFiles) {
    let public = TlsFiles {
        certificate: config.public_tls.certificate.clone(),
        key: config.public_tls.key.clone(),
        authority: config.public_tls.client_ca.clone(),
    };
    let peer = TlsFiles {
        certificate: config.peer_tls.certificate.clone(),
        key: config.peer_tls.key.clone(),
        authority: config.peer_tls.ca.clone(),
    };
    (public, peer)
}

/// Checks that the certificate is this node's. Peers would refuse it: better to say so here.
fn own_certificate(config: &Config, files: &TlsFiles) -> Result<(), NodeError> {
    let chain = files.chain()?;
    let names = PeerCertificate::read(&chain[0], true);
    if names.node_id(&config.cluster.name) == Some(config.cluster.node_id) {
        return Ok(());
    }
    Err(NodeError::OtherCertificate {
        path: files.certificate.clone(),
        found: names
            .san_uris
            .first()
            .cloned()
            .unwrap_or_else(|| "no node".to_owned()),
        cluster: config.cluster.name.clone(),
        id: config.cluster.node_id,
    })
}

/// Checks that the certificate is of the cluster's CA, for the same reason. One that has ended is a condition and no reason
/// not to start: the next one is read without a restart.
fn own_authority(config: &Config, files: &TlsFiles, now: UnixMillis) -> Result<(), NodeError> {
    let checked = check_chain(
        &files.chain()?,
        &files.authorities()?,
        Port::Peer,
        now.seconds().0,
    );
    let Err(error) = checked else {
        return Ok(());
    };
    let needed = Needed {
        uri: Some(node_urn(&config.cluster.name, config.cluster.node_id)),
        host: None,
    };
    let authorities = files.authority.display().to_string();
    Fault::of_chain(&error, authorities, &needed).map_or(Ok(()), |fault| {
        Err(NodeError::OtherAuthority {
            path: files.certificate.clone(),
            fault,
        })
    })
}
