//! What values may be, and who may read the secrets.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use hessra_files::{Readers, SecretError, open_secret};

use super::{ByteSize, Config, Lasting, PolicyGit};

/// A file that the configuration names and that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SecretFileError {
    #[error("cannot read `{path}`, named by `{setting}`: {reason}")]
    Unreadable {
        setting: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error(
        "`{path}`, named by `{setting}`, can be read by every user (mode {mode:04o}). Run: chmod 600 {path}"
    )]
    WorldReadable {
        setting: &'static str,
        path: PathBuf,
        mode: u32,
    },
}

/// A value that is refused: dotted path of its key, and why.
pub(super) struct Fault {
    path: String,
    pub(super) sentence: String,
}

impl Fault {
    pub(super) fn path_parts(&self) -> Vec<&str> {
        self.path.split('.').collect()
    }
}

fn fault(path: &str, sentence: impl Display) -> Result<(), Fault> {
    Err(Fault {
        path: path.to_owned(),
        sentence: format!("`{path}` {sentence}"),
    })
}

pub(super) fn values(config: &Config) -> Result<(), Fault> {
    cluster(config)?;
    listening(config)?;
    required_paths(config)?;
    policy_git(&config.policy.git)?;
    ranges(config)
}

fn cluster(config: &Config) -> Result<(), Fault> {
    let cluster = &config.cluster;
    if !is_name(&cluster.name) {
        return fault(
            "cluster.name",
            "is missing or not a name: 1 to 64 of `A-Z a-z 0-9 . _ -`",
        );
    }
    if cluster.node_id == 0 {
        return fault(
            "cluster.node_id",
            "is missing: choose a number from 1 that no node of the cluster ever had",
        );
    }
    if cluster.initial_members.is_empty() {
        return Ok(());
    }
    if config.policy.clients.as_os_str().is_empty() {
        return fault(
            "policy.clients",
            "is missing: a new cluster starts with a policy",
        );
    }
    members(config)
}

fn members(config: &Config) -> Result<(), Fault> {
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (position, member) in config.cluster.initial_members.iter().enumerate() {
        let path = |key: &str| format!("cluster.initial_members.{position}.{key}");
        if member.id == 0 || !ids.insert(member.id) {
            return fault(
                &path("id"),
                format!("is {}: ids are from 1 and each is used once", member.id),
            );
        }
        for (key, address) in [("peer", &member.peer), ("public", &member.public)] {
            if !is_address(address) {
                return fault(&path(key), format!("is `{address}`: write `host:port`"));
            }
            if !addresses.insert(address) {
                return fault(
                    &path(key),
                    format!("`{address}` is the address of two doors: each has its own"),
                );
            }
        }
    }
    if !ids.contains(&config.cluster.node_id) {
        let sentence = format!(
            "does not name this node ({}). Add it, or leave the list empty",
            config.cluster.node_id
        );
        return fault("cluster.initial_members", sentence);
    }
    Ok(())
}

fn listening(config: &Config) -> Result<(), Fault> {
    if !config.listen.operations.ip().is_loopback() {
        let sentence = format!(
            "is `{}`: only a loopback address, it has no TLS",
            config.listen.operations
        );
        return fault("listen.operations", sentence);
    }
    Ok(())
}

fn required_paths(config: &Config) -> Result<(), Fault> {
    let required = [
        ("storage.path", &config.storage.path),
        ("public_tls.certificate", &config.public_tls.certificate),
        ("public_tls.key", &config.public_tls.key),
        ("public_tls.client_ca", &config.public_tls.client_ca),
        ("peer_tls.certificate", &config.peer_tls.certificate),
        ("peer_tls.key", &config.peer_tls.key),
        ("peer_tls.ca", &config.peer_tls.ca),
    ];
    if config.keys.kek.is_none() {
        return fault(
            "keys.kek",
            "is missing: name a key-encryption key, such as `file:kek`",
        );
    }
    match required
        .iter()
        .find(|(_, path)| path.as_os_str().is_empty())
    {
        Some((setting, _)) => fault(setting, "is missing: name a path"),
        None => Ok(()),
    }
}

fn policy_git(git: &PolicyGit) -> Result<(), Fault> {
    if git.url.is_empty() {
        return Ok(());
    }
    if let Some(sentence) = bad_address(&git.url) {
        return fault("policy.git.url", sentence);
    }
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    let is_plain = |text: &str| {
        text.bytes().all(plain) && !text.contains("..") && !text.starts_with(['-', '/'])
    };
    if git.branch.is_empty() || git.branch.len() > 200 || !is_plain(&git.branch) {
        return fault(
            "policy.git.branch",
            "is not a branch: letters, digits and `. _ - /`",
        );
    }
    if git.directory.len() > 500 || !is_plain(&git.directory) {
        return fault(
            "policy.git.directory",
            "is not a folder of the repository, such as `policy/production`",
        );
    }
    if git.url.starts_with("ssh://") {
        for (setting, path) in [
            ("policy.git.ssh_key", &git.ssh_key),
            ("policy.git.ssh_known_hosts", &git.ssh_known_hosts),
        ] {
            if path.as_os_str().is_empty() {
                return fault(setting, "is missing: an ssh address needs it");
            }
        }
    }
    within(
        "policy.git.interval",
        git.interval,
        Lasting::seconds(1),
        Lasting::seconds(86_400),
    )?;
    within(
        "policy.git.timeout",
        git.timeout,
        Lasting::seconds(1),
        Lasting::seconds(600),
    )?;
    within(
        "policy.git.size_max",
        git.size_max,
        ByteSize::kibibytes(64),
        ByteSize::mebibytes(1024),
    )
}

fn bad_address(url: &str) -> Option<&'static str> {
    let printable = url.len() <= 1_000 && url.bytes().all(|byte| byte.is_ascii_graphic());
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split('/').next().unwrap_or_default();
    // `user@` names the account for ssh; anything with a password, or any user for https, is a secret in a setting.
    let secret = match scheme {
        "ssh" => authority
            .split_once('@')
            .is_some_and(|(user, _)| user.contains(':')),
        _ => authority.contains('@'),
    };
    match scheme {
        _ if secret => {
            Some("has credentials in it: name a file with policy.git.https_credentials or ssh_key")
        }
        _ if !printable => Some("is not an address: write printable characters without spaces"),
        "https" | "ssh" if authority.is_empty() || authority.starts_with('-') => {
            Some("names no host")
        }
        "https" | "ssh" => None,
        "" if url.starts_with('/') => None,
        _ => Some("is not followed: write `https://…`, `ssh://…` or an absolute path"),
    }
}

fn ranges(config: &Config) -> Result<(), Fault> {
    let (storage, issuing, limits) = (&config.storage, &config.issuing, &config.limits);
    within(
        "storage.cache",
        storage.cache,
        ByteSize::mebibytes(8),
        ByteSize::mebibytes(16 << 10),
    )?;
    within(
        "storage.free_min",
        storage.free_min,
        ByteSize::mebibytes(16),
        ByteSize(u64::MAX),
    )?;
    within(
        "storage.flush_max",
        storage.flush_max,
        Lasting::milliseconds(100),
        Lasting::seconds(600),
    )?;
    let audit = &config.audit;
    within(
        "audit.segment_size",
        audit.segment_size,
        ByteSize::kibibytes(64),
        ByteSize::mebibytes(1 << 10),
    )?;
    within(
        "audit.keep_age",
        audit.keep_age,
        Lasting::seconds(3_600),
        Lasting::seconds(100_000 * 3_600),
    )?;
    within(
        "audit.keep_size",
        audit.keep_size,
        ByteSize(audit.segment_size.0.saturating_mul(4)),
        ByteSize(u64::MAX),
    )?;
    within(
        "issuing.stale_max",
        issuing.stale_max,
        Lasting::seconds(1),
        Lasting::seconds(60),
    )?;
    within(
        "limits.connections_max",
        limits.connections_max,
        16,
        1_000_000,
    )?;
    within(
        "limits.connections_per_address_max",
        limits.connections_per_address_max,
        1,
        1_000_000,
    )?;
    within(
        "limits.handshake_timeout",
        limits.handshake_timeout,
        Lasting::seconds(1),
        Lasting::seconds(60),
    )?;
    within(
        "limits.header_timeout",
        limits.header_timeout,
        Lasting::seconds(1),
        Lasting::seconds(60),
    )?;
    within(
        "limits.idle_timeout",
        limits.idle_timeout,
        Lasting::seconds(10),
        Lasting::seconds(3600),
    )?;
    within("limits.streams_max", limits.streams_max, 1, 10_000)?;
    within(
        "limits.header_bytes_max",
        limits.header_bytes_max,
        ByteSize::kibibytes(16),
        ByteSize::mebibytes(1),
    )?;
    within(
        "limits.body_bytes_max",
        limits.body_bytes_max,
        ByteSize::kibibytes(1),
        ByteSize::mebibytes(1),
    )?;
    within(
        "limits.requests_per_second",
        limits.requests_per_second,
        1,
        100_000,
    )?;
    within(
        "limits.requests_at_once_max",
        limits.requests_at_once_max,
        1,
        100_000,
    )?;
    timing(config)
}

fn timing(config: &Config) -> Result<(), Fault> {
    let (raft, feed) = (&config.raft, &config.feed);
    within(
        "raft.heartbeat",
        raft.heartbeat,
        Lasting::milliseconds(20),
        Lasting::seconds(5),
    )?;
    within(
        "raft.election_min",
        raft.election_min,
        Lasting(raft.heartbeat.0 * 2),
        Lasting::seconds(60),
    )?;
    let above_min = Lasting(raft.election_min.0 + std::time::Duration::from_millis(1));
    within(
        "raft.election_max",
        raft.election_max,
        above_min,
        Lasting::seconds(60),
    )?;
    within(
        "raft.snapshot_entries",
        raft.snapshot_entries,
        100,
        10_000_000,
    )?;
    within("raft.log_keep", raft.log_keep, 0, 10_000_000)?;
    within(
        "feed.heartbeat",
        feed.heartbeat,
        Lasting::milliseconds(250),
        Lasting::seconds(10),
    )?;
    within(
        "feed.fresh_for",
        feed.fresh_for,
        Lasting::seconds(2),
        Lasting::seconds(300),
    )?;
    // Three heartbeats may be lost before a verifier fails closed for no reason but the network.
    if feed.fresh_for.0 < feed.heartbeat.0 * 2 {
        let sentence = format!(
            "is {}: at least twice `feed.heartbeat` ({})",
            feed.fresh_for, feed.heartbeat
        );
        return fault("feed.fresh_for", sentence);
    }
    if let Some(every) = config.keys.rotate_every.0 {
        let (shortest, longest) = (Lasting::seconds(60), Lasting::seconds(3650 * 86_400));
        within("keys.rotate_every", Lasting(every), shortest, longest)?;
    }
    within("feed.subscribers_max", feed.subscribers_max, 1, 1_000_000)?;
    within(
        "feed.forget_after",
        feed.forget_after,
        Lasting::seconds(10),
        Lasting::seconds(86_400),
    )
}

fn within<T: PartialOrd + Display>(path: &str, value: T, min: T, max: T) -> Result<(), Fault> {
    if value < min || value > max {
        return fault(path, format!("is {value}: from {min} to {max}"));
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    !host.is_empty() && text.len() <= 260 && port.parse::<u16>().is_ok_and(|port| port > 0)
}

pub(super) fn files(config: &Config) -> Result<(), SecretFileError> {
    let mut secrets = vec![
        ("public_tls.key", &config.public_tls.key),
        ("peer_tls.key", &config.peer_tls.key),
    ];
    secrets.extend(config.keys.kek.secret_file().map(|path| ("keys.kek", path)));
    let previous = config.keys.kek_previous.secret_file();
    secrets.extend(previous.map(|path| ("keys.kek_previous", path)));
    let git = &config.policy.git;
    let optional_secrets = [
        ("policy.git.ssh_key", &git.ssh_key),
        ("policy.git.https_credentials", &git.https_credentials),
    ];
    let open = [
        ("public_tls.certificate", &config.public_tls.certificate),
        ("public_tls.client_ca", &config.public_tls.client_ca),
        ("public_tls.server_ca", &config.public_tls.server_ca),
        ("peer_tls.certificate", &config.peer_tls.certificate),
        ("peer_tls.ca", &config.peer_tls.ca),
        ("policy.git.allowed_signers", &git.allowed_signers),
        ("policy.git.ssh_known_hosts", &git.ssh_known_hosts),
        ("policy.git.https_ca", &git.https_ca),
    ];
    let named = |(_, path): &(&str, &PathBuf)| !path.as_os_str().is_empty();
    for (setting, path) in secrets
        .into_iter()
        .chain(optional_secrets.into_iter().filter(named))
    {
        secret(setting, path)?;
    }
    for (setting, path) in open
        .into_iter()
        .filter(|(_, path)| !path.as_os_str().is_empty())
    {
        readable(setting, path)?;
    }
    Ok(())
}

/// Members of the file's group may read it: that is how a container platform hands out secrets.
fn secret(setting: &'static str, path: &Path) -> Result<(), SecretFileError> {
    let opened = open_secret(path, Readers::OwnerAndGroup);
    opened.map(drop).map_err(|error| match error {
        SecretError::Unreadable(error) => unreadable(setting, path, &error),
        SecretError::Exposed { mode } => SecretFileError::WorldReadable {
            setting,
            path: path.into(),
            mode,
        },
    })
}

fn readable(setting: &'static str, path: &Path) -> Result<(), SecretFileError> {
    let opened = std::fs::File::open(path);
    opened
        .map(drop)
        .map_err(|error| unreadable(setting, path, &error))
}

fn unreadable(setting: &'static str, path: &Path, error: &std::io::Error) -> SecretFileError {
    SecretFileError::Unreadable {
        setting,
        path: path.into(),
        reason: error.to_string(),
    }
}
