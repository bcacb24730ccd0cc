//! Names as people write them: the optional `uri:`, wildcards of DNS names, globs.

/// `uri:` in front of an identity, in any case, is a spelling of the same.
#[must_use]
pub fn without_scheme(identity: &str) -> &str {
    match identity.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("uri:") => &identity[4..],
        _ => identity,
    }
}

/// `*` stands for one or more characters of one label.
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
        return pattern.eq_ignore_ascii_case(label);
    };
    let (before, after, label) = (
        before.to_lowercase(),
        after.to_lowercase(),
        label.to_lowercase(),
    );
    label.len() > before.len() + after.len()
        && label.starts_with(&before)
        && label.ends_with(&after)
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
