//! Names as people write them: the optional `uri:`, wildcards of DNS names, globs.

use hessra_revocation::Identity;

/// `uri:` in front of an identity, in any case, is a spelling of the same.
#[must_use]
pub fn without_scheme(identity: &str) -> &str {
    match identity.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("uri:") => &identity[4..],
        _ => identity,
    }
}

/// True when a text names this identity, in whichever spelling.
#[must_use]
pub fn is_named(text: &str, identity: &Identity) -> bool {
    Identity::parse_spelled(text).is_ok_and(|named| named.path() == identity.path())
}

/// `*` stands for one or more characters of one label. Both in canonical spelling: the policy takes no two names for one.
pub(crate) fn dns_matches(pattern: &str, name: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('.'), name.split('.'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if label_matches(pattern, name) => {}
            _ => return false,
        }
    }
}

fn label_matches(pattern: &str, label: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == label;
    };
    // What an identity may have beside, `:` first of all, would let a name of several segments pass for a host.
    let is_of_a_label =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    label.len() > before.len() + after.len()
        && label.bytes().all(is_of_a_label)
        && label.starts_with(before)
        && label.ends_with(after)
}

/// `*` stands for any characters, none among them. Labels and resources of exposure rules.
pub(crate) fn glob_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
