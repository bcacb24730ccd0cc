//! What values may be that depends on more than their type: what is required, what fits together.
//!
//! Every rule is looked at, so that all mistakes are said at once; a rule between two settings is left out while one of
//! them is wrong by itself.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use hessra_settings::{Document, Faults};

use super::{ByteSize, Config, InitialMember, Lasting, PolicyGit};

/// No member waits longer before it stands for election.
const ELECTION_MAX: Lasting = Lasting::seconds(60);

/// The document that a configuration was read from, and what is wrong with it so far.
pub(super) struct Rules<'r, 't> {
    pub(super) document: &'r Document<'t>,
    pub(super) faults: &'r mut Faults<'t>,
}

impl Rules<'_, '_> {
    /// Refuses the value of a dotted path, unless something is wrong with it already.
    fn refuse(&mut self, path: &str, sentence: impl Display) {
        if self.is_sound(path) {
            let parts: Vec<&str> = path.split('.').collect();
            let place = self.document.place(&parts);
            self.faults.add(place, format!("`{path}` {sentence}"), "");
        }
    }

    fn within<T: PartialOrd + Display>(&mut self, path: &str, value: T, min: T, max: T) {
        if value < min || value > max {
            self.refuse(path, format!("is {value}: from {min} to {max}"));
        }
    }

    /// Is nothing wrong with this value so far? An absent one is its default.
    fn is_sound(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('.').collect();
        let extent = self.document.extent(&parts);
        extent.is_none_or(|extent| !self.faults.any_within(&extent))
    }
}

pub(super) fn values(config: &Config, rules: &mut Rules<'_, '_>) {
    cluster(config, rules);
    listening(config, rules);
    required_paths(config, rules);
    policy_git(&config.policy.git, rules);
    ranges(config, rules);
    timing(config, rules);
}

fn cluster(config: &Config, rules: &mut Rules<'_, '_>) {
    let cluster = &config.cluster;
    if !is_name(&cluster.name) {
        rules.refuse(
            "cluster.name",
            "is missing or not a name: 1 to 64 of `A-Z a-z 0-9 . _ -`",
        );
    }
    if cluster.node_id == 0 {
        rules.refuse(
            "cluster.node_id",
            "is missing: choose a number from 1 that no node of the cluster ever had",
        );
    }
    if cluster.initial_members.is_empty() {
        return;
    }
    if config.policy.clients.as_os_str().is_empty() {
        rules.refuse(
            "policy.clients",
            "is missing: a new cluster starts with a policy",
        );
    }
    members(config, rules);
}

fn members(config: &Config, rules: &mut Rules<'_, '_>) {
    const LIST: &str = "cluster.initial_members";
    // Positions in the list are those of the document only when every member could be read.
    if !rules.is_sound(LIST) {
        return;
    }
    let (members, this) = (&config.cluster.initial_members, config.cluster.node_id);
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (position, member) in members.iter().enumerate() {
        let path = format!("{LIST}.{position}");
        if member.id == 0 || !ids.insert(member.id) {
            let sentence = format!("is {}: ids are from 1 and each is used once", member.id);
            rules.refuse(&format!("{path}.id"), sentence);
        } else {
            doors(&path, member, &mut addresses, rules);
        }
    }
    if this != 0
        && rules.is_sound(LIST)
        && rules.is_sound("cluster.node_id")
        && !ids.contains(&this)
    {
        let sentence = format!("does not name this node ({this}). Add it, or leave the list empty");
        rules.refuse(LIST, sentence);
    }
}

fn doors<'m>(
    path: &str,
    member: &'m InitialMember,
    addresses: &mut BTreeSet<&'m str>,
    rules: &mut Rules<'_, '_>,
) {
    for (key, address) in [("peer", &member.peer), ("public", &member.public)] {
        let path = format!("{path}.{key}");
        if !is_address(address) {
            rules.refuse(&path, format!("is `{address}`: write `host:port`"));
        } else if !addresses.insert(address) {
            let sentence = format!("`{address}` is the address of two doors: each has its own");
            rules.refuse(&path, sentence);
        }
    }
}

fn listening(config: &Config, rules: &mut Rules<'_, '_>) {
    if !config.listen.operations.ip().is_loopback() {
        let sentence = format!(
            "is `{}`: only a loopback address, it has no TLS",
            config.listen.operations
        );
        rules.refuse("listen.operations", sentence);
    }
}

fn required_paths(config: &Config, rules: &mut Rules<'_, '_>) {
    if config.keys.kek.is_none() {
        rules.refuse(
            "keys.kek",
            "is missing: name a key-encryption key, such as `file:kek`",
        );
    }
    for (setting, path) in [
        ("storage.path", &config.storage.path),
        ("public_tls.certificate", &config.public_tls.certificate),
        ("public_tls.key", &config.public_tls.key),
        ("public_tls.client_ca", &config.public_tls.client_ca),
        ("peer_tls.certificate", &config.peer_tls.certificate),
        ("peer_tls.key", &config.peer_tls.key),
        ("peer_tls.ca", &config.peer_tls.ca),
    ] {
        if path.as_os_str().is_empty() {
            rules.refuse(setting, "is missing: name a path");
        }
    }
}

fn policy_git(git: &PolicyGit, rules: &mut Rules<'_, '_>) {
    if git.url.is_empty() {
        return;
    }
    if let Some(sentence) = bad_address(&git.url) {
        rules.refuse("policy.git.url", sentence);
    }
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    let is_plain = |text: &str| {
        text.bytes().all(plain) && !text.contains("..") && !text.starts_with(['-', '/'])
    };
    if git.branch.is_empty() || git.branch.len() > 200 || !is_plain(&git.branch) {
        rules.refuse(
            "policy.git.branch",
            "is not a branch: letters, digits and `. _ - /`",
        );
    }
    if git.directory.len() > 500 || !is_plain(&git.directory) {
        rules.refuse(
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
                rules.refuse(setting, "is missing: an ssh address needs it");
            }
        }
    }
    rules.within(
        "policy.git.interval",
        git.interval,
        Lasting::seconds(1),
        Lasting::seconds(86_400),
    );
    rules.within(
        "policy.git.timeout",
        git.timeout,
        Lasting::seconds(1),
        Lasting::seconds(600),
    );
    rules.within(
        "policy.git.size_max",
        git.size_max,
        ByteSize::kibibytes(64),
        ByteSize::mebibytes(1024),
    );
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

fn ranges(config: &Config, rules: &mut Rules<'_, '_>) {
    let (storage, issuing, limits) = (&config.storage, &config.issuing, &config.limits);
    rules.within(
        "storage.cache",
        storage.cache,
        ByteSize::mebibytes(8),
        ByteSize::mebibytes(16 << 10),
    );
    rules.within(
        "storage.free_min",
        storage.free_min,
        ByteSize::mebibytes(16),
        ByteSize::MAX,
    );
    rules.within(
        "storage.flush_max",
        storage.flush_max,
        Lasting::milliseconds(100),
        Lasting::seconds(600),
    );
    let audit = &config.audit;
    rules.within(
        "audit.segment_size",
        audit.segment_size,
        ByteSize::kibibytes(64),
        ByteSize::mebibytes(1 << 10),
    );
    rules.within(
        "audit.keep_age",
        audit.keep_age,
        Lasting::seconds(3_600),
        Lasting::seconds(100_000 * 3_600),
    );
    if rules.is_sound("audit.segment_size") {
        let four_segments = ByteSize(audit.segment_size.0.saturating_mul(4));
        rules.within(
            "audit.keep_size",
            audit.keep_size,
            four_segments,
            ByteSize::MAX,
        );
    }
    rules.within(
        "issuing.stale_max",
        issuing.stale_max,
        Lasting::seconds(1),
        Lasting::seconds(60),
    );
    rules.within(
        "limits.connections_max",
        limits.connections_max,
        16,
        1_000_000,
    );
    rules.within(
        "limits.connections_per_address_max",
        limits.connections_per_address_max,
        1,
        1_000_000,
    );
    rules.within(
        "limits.handshake_timeout",
        limits.handshake_timeout,
        Lasting::seconds(1),
        Lasting::seconds(60),
    );
    rules.within(
        "limits.header_timeout",
        limits.header_timeout,
        Lasting::seconds(1),
        Lasting::seconds(60),
    );
    rules.within(
        "limits.idle_timeout",
        limits.idle_timeout,
        Lasting::seconds(10),
        Lasting::seconds(3600),
    );
    rules.within("limits.streams_max", limits.streams_max, 1, 10_000);
    rules.within(
        "limits.header_bytes_max",
        limits.header_bytes_max,
        ByteSize::kibibytes(16),
        ByteSize::mebibytes(1),
    );
    rules.within(
        "limits.body_bytes_max",
        limits.body_bytes_max,
        ByteSize::kibibytes(1),
        ByteSize::mebibytes(1),
    );
    rules.within(
        "limits.requests_per_second",
        limits.requests_per_second,
        1,
        100_000,
    );
    rules.within(
        "limits.requests_at_once_max",
        limits.requests_at_once_max,
        1,
        100_000,
    );
}

fn timing(config: &Config, rules: &mut Rules<'_, '_>) {
    let (raft, feed) = (&config.raft, &config.feed);
    rules.within(
        "raft.heartbeat",
        raft.heartbeat,
        Lasting::milliseconds(20),
        Lasting::seconds(5),
    );
    if rules.is_sound("raft.heartbeat") {
        let twice = Lasting(raft.heartbeat.0 * 2);
        rules.within("raft.election_min", raft.election_min, twice, ELECTION_MAX);
    }
    if rules.is_sound("raft.election_min") {
        let above_min = Lasting(raft.election_min.0 + Duration::from_millis(1));
        rules.within(
            "raft.election_max",
            raft.election_max,
            above_min,
            ELECTION_MAX,
        );
    }
    rules.within(
        "raft.snapshot_entries",
        raft.snapshot_entries,
        100,
        10_000_000,
    );
    rules.within("raft.log_keep", raft.log_keep, 0, 10_000_000);
    rules.within(
        "feed.heartbeat",
        feed.heartbeat,
        Lasting::milliseconds(250),
        Lasting::seconds(10),
    );
    rules.within(
        "feed.fresh_for",
        feed.fresh_for,
        Lasting::seconds(2),
        Lasting::seconds(300),
    );
    // Three heartbeats may be lost before a verifier fails closed for no reason but the network.
    if rules.is_sound("feed.heartbeat") && feed.fresh_for.0 < feed.heartbeat.0 * 2 {
        let sentence = format!(
            "is {}: at least twice `feed.heartbeat` ({})",
            feed.fresh_for, feed.heartbeat
        );
        rules.refuse("feed.fresh_for", sentence);
    }
    if let Some(every) = config.keys.rotate_every.0 {
        let (shortest, longest) = (Lasting::seconds(60), Lasting::seconds(3650 * 86_400));
        rules.within("keys.rotate_every", Lasting(every), shortest, longest);
    }
    rules.within("feed.subscribers_max", feed.subscribers_max, 1, 1_000_000);
    rules.within(
        "feed.forget_after",
        feed.forget_after,
        Lasting::seconds(10),
        Lasting::seconds(86_400),
    );
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
