//! Rules that the tables of the settings cannot state: settings that are required, and settings that must fit together.
//!
//! Every rule is looked at, so that all mistakes are said at once; a rule between two settings is left out while one of
//! them is wrong by itself.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use hessra_settings::{ByteSize, Document, Faults, Lasting};

use super::sections::{AuditFiles, Config, ELECTION_MAX, FeedTiming, PolicyGit, RaftTiming};
use super::setting::{InitialMember, Ranged};

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

    /// Refuses a value outside of a range that depends on another setting.
    fn within<T: Ranged>(&mut self, path: &str, value: T, range: RangeInclusive<T>) {
        if let Some(sentence) = value.outside(&range) {
            self.refuse(path, sentence);
        }
    }

    /// True when nothing is wrong with this value so far. An absent one is its default.
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
    audit(&config.audit, rules);
    elections(&config.raft, rules);
    freshness(&config.feed, rules);
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
            member_addresses(&path, member, &mut addresses, rules);
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

fn member_addresses<'m>(
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
    policy_git_signers(git, rules);
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
}

fn policy_git_signers(git: &PolicyGit, rules: &mut Rules<'_, '_>) {
    match (
        git.allowed_signers.as_os_str().is_empty(),
        git.accept_unsigned,
    ) {
        (true, false) => rules.refuse(
            "policy.git.allowed_signers",
            "is missing: name the file of those who may sign, or set policy.git.accept_unsigned",
        ),
        (false, true) => rules.refuse(
            "policy.git.accept_unsigned",
            "contradicts policy.git.allowed_signers: leave one of them out",
        ),
        _ => {}
    }
}

/// Reason for which an address is not followed. Names are of letters, digits and `. _ -` and begin with none of the last:
/// ssh and git would take a name that begins with `-` for an option, also one that is written with `%2D`.
fn bad_address(url: &str) -> Option<&'static str> {
    let printable = url.len() <= 1_000 && url.bytes().all(|byte| byte.is_ascii_graphic());
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    // `user@` names the account for ssh; anything with a password, or any user for https, is a secret in a setting.
    let secret = match scheme {
        "ssh" => user.is_some_and(|user| user.contains(':')),
        _ => user.is_some(),
    };
    match scheme {
        _ if secret => {
            Some("has credentials in it: name a file with policy.git.https_credentials or ssh_key")
        }
        _ if !printable => Some("is not an address: write printable characters without spaces"),
        "https" | "ssh" if place.is_empty() => Some("names no host"),
        "https" | "ssh" if !is_place(place) => Some(
            "names no host: write letters, digits and `. _ -`, not a `-` first, and perhaps `:PORT`",
        ),
        "ssh" if user.is_some_and(|user| !is_word(user)) => {
            Some("names no account: write letters, digits and `. _ -`, not a `-` first")
        }
        "https" | "ssh" => None,
        "" if url.starts_with('/') => None,
        _ => Some("is not followed: write `https://…`, `ssh://…` or an absolute path"),
    }
}

/// True for `HOST`, `HOST:PORT`, `[IPV6]` and `[IPV6]:PORT`.
fn is_place(place: &str) -> bool {
    let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((six, port))) if six.parse::<std::net::Ipv6Addr>().is_ok() => ("six", port),
        Some(_) => return false,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let is_port = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => port.is_empty(),
    };
    is_word(host) && is_port
}

/// True for a name of a host or an account.
fn is_word(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && !name.starts_with(['-', '.', '_']) && name.bytes().all(plain)
}

/// Checks the ranges of the tables.
fn ranges(config: &Config, rules: &mut Rules<'_, '_>) {
    config.each_outside(&mut |path, sentence| {
        // Settings of a repository that is not followed do not matter.
        if !path.starts_with("policy.git.") || !config.policy.git.url.is_empty() {
            rules.refuse(path, sentence);
        }
    });
}

fn audit(audit: &AuditFiles, rules: &mut Rules<'_, '_>) {
    if rules.is_sound("audit.segment_size") {
        let four_segments = ByteSize(audit.segment_size.0.saturating_mul(4));
        for (setting, size) in [
            ("audit.keep_size", audit.keep_size),
            ("audit.refusals_keep_size", audit.refusals_keep_size),
        ] {
            rules.within(setting, size, four_segments..=ByteSize::MAX);
        }
    }
}

fn elections(raft: &RaftTiming, rules: &mut Rules<'_, '_>) {
    if rules.is_sound("raft.heartbeat") {
        let twice = Lasting(raft.heartbeat.0.saturating_mul(2));
        rules.within("raft.election_min", raft.election_min, twice..=ELECTION_MAX);
    }
    if rules.is_sound("raft.election_min") {
        let above_min = Lasting(raft.election_min.0.saturating_add(Duration::from_millis(1)));
        rules.within(
            "raft.election_max",
            raft.election_max,
            above_min..=ELECTION_MAX,
        );
    }
}

/// Checks that a heartbeat may be lost before a verifier fails closed for no reason but the network.
fn freshness(feed: &FeedTiming, rules: &mut Rules<'_, '_>) {
    if rules.is_sound("feed.heartbeat") && feed.fresh_for.0 < feed.heartbeat.0.saturating_mul(2) {
        let sentence = format!(
            "is {}: at least twice `feed.heartbeat` ({})",
            feed.fresh_for, feed.heartbeat
        );
        rules.refuse("feed.fresh_for", sentence);
    }
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
