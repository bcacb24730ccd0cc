//! Spelling of targets, rules and bytes in scripts and vectors.

use std::error::Error;

use hessra_revocation::{Cutoff, Identity, Revision, Rule, RuleKind, Target, TokenId, UnixSeconds};
use sha2::{Digest as _, Sha256};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Outcome<Vec<u8>> {
    let digits = text
        .as_bytes()
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    digits.collect()
}

/// 64 bytes in place of a signature, by name.
pub(crate) fn token_id(name: &str) -> TokenId {
    let half = Sha256::digest(name);
    TokenId::new(&[half, half].concat()).unwrap()
}

pub(crate) fn fingerprint(name: &str) -> [u8; 32] {
    Sha256::digest(name).into()
}

pub(crate) fn target(kind: &str, name: &str) -> Outcome<Target> {
    Ok(match kind {
        "token" => Target::Token(token_id(name)),
        "subtree" => Target::Subtree(Identity::parse(name)?),
        "exact" => Target::Exact(Identity::parse(name)?),
        "key" => Target::Key(name.parse()?),
        "certificate" => Target::Certificate(fingerprint(name)),
        "lock" => Target::Lock(Identity::parse(name)?),
        other => return Err(format!("no kind `{other}`").into()),
    })
}

pub(crate) fn kind(kind: RuleKind) -> String {
    match kind {
        RuleKind::Unknown(number) => format!("{} {number}", kind.as_str()),
        known => known.as_str().to_owned(),
    }
}

pub(crate) fn cutoff(before: Option<u64>) -> Cutoff {
    before.map_or(Cutoff::Permanent, |revision| {
        Cutoff::Before(Revision(revision))
    })
}

pub(crate) fn rule(rule: &Rule) -> String {
    let cutoff = match rule.cutoff {
        Cutoff::Permanent => "permanent".to_owned(),
        Cutoff::Before(revision) => format!("before revision {revision}"),
    };
    let until = rule.until.map_or(String::new(), |UnixSeconds(until)| {
        format!(", until {until}")
    });
    format!("{}, {cutoff}{until}", kind(rule.kind))
}
