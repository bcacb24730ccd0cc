//! Revocations that deny a token, as the cluster remembers them: a verifier holds digests, and can name none.

use hessra_sdk_rust::revocation::{Identity, SignerKey, Target};
use hessra_sdk_rust::token::Description;
use hessra_sdk_rust::v1::{CheckRequest, ListRevocationsRequest, RevocationInfo};
use hessra_sdk_rust::{Authority, ClientError};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{CommandError, Outcome};
use crate::output::timestamp;

/// Revocations that deny a token, as far as somebody was asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Denial {
    /// Not asked: the token is not denied by a revocation.
    NotRevoked,
    /// Not asked, for a reason. The hint says how to ask.
    NotAsked { why: String, hint: String },
    /// Asked: these, oldest first.
    By(Vec<RevocationInfo>),
}

impl Denial {
    /// Asks the cluster what denies a token, when it is a revocation that does.
    pub(super) async fn of(
        context: &Context,
        said: Option<&Description>,
        failure: Option<&CommandError>,
        offline: bool,
    ) -> Self {
        let is_revoked =
            failure.is_some_and(|failure| matches!(&*failure.reason, "revoked" | "key_revoked"));
        let Some(said) = said.filter(|_| is_revoked) else {
            return Self::NotRevoked;
        };
        if offline {
            return Self::NotAsked {
                why: "the cluster was not asked which revocation it is (--offline)".to_owned(),
                hint: "Leave out --offline.".to_owned(),
            };
        }
        match asked(context, said).await {
            Ok(found) => Self::By(found),
            Err(failure) => Self::NotAsked {
                why: format!("the cluster could not be asked which revocation it is: {failure}"),
                hint: failure.hint.unwrap_or_else(|| {
                    "Ask as an operator with the right `read`: --cert FILE --key FILE.".to_owned()
                }),
            },
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::NotRevoked => json!(null),
            Self::NotAsked { why, hint } => json!({"asked": false, "why": why, "hint": hint}),
            Self::By(found) => {
                let found: Vec<Value> = found.iter().map(one_to_json).collect();
                json!({"asked": true, "by": found})
            }
        }
    }

    pub(super) fn to_lines(&self) -> Vec<String> {
        match self {
            Self::NotRevoked => Vec::new(),
            Self::NotAsked { why, hint } => vec![format!("revoked  {why}. {hint}")],
            Self::By(found) if found.is_empty() => vec![
                "revoked  the cluster remembers no revocation that covers it: `hessra keys list` shows revoked keys, and \
                 `hessra audit search` what was lifted or forgotten"
                    .to_owned(),
            ],
            Self::By(found) => found.iter().map(|one| format!("revoked  {}", sentence(one))).collect(),
        }
    }
}

async fn asked(context: &Context, said: &Description) -> Outcome<Vec<RevocationInfo>> {
    let authority = Authority::new(context.authenticated_connection()?);
    let rev = said.facts.as_ref().and_then(|facts| facts.rev);
    let mut found: Vec<RevocationInfo> = Vec::new();
    for target in targets(said) {
        let Some(one) = newest(&authority, &target).await? else {
            continue;
        };
        let is_known = found.iter().any(|known| known.id == one.id);
        if !is_known && denies(&one, rev.map(|rev| rev.0)) {
            found.push(one);
        }
    }
    found.sort_by_key(|one| one.revision);
    Ok(found)
}

/// Everything about a token that a revocation can be of.
fn targets(said: &Description) -> Vec<Target> {
    let facts = said.facts.as_ref();
    let identity = |text: &String| Identity::parse(text).ok();
    let subjects = facts.into_iter().flat_map(|facts| {
        let rights = facts.rights.iter().map(|right| &right.subject);
        facts.subjects.iter().chain(&facts.contexts).chain(rights)
    });
    let actor = said.chain.last().and_then(identity).map(Target::Exact);
    let named = said.chain.iter().chain(subjects).filter_map(identity);
    let blocks = said.blocks.iter().map(|block| &block.revocation_id);
    let parents = facts.into_iter().flat_map(|facts| &facts.parents);
    let signers = said.blocks.iter().filter_map(|block| {
        let key = block.external_key.as_deref()?;
        SignerKey::new(key).ok().map(Target::Signer)
    });
    let mut targets: Vec<Target> = actor
        .into_iter()
        .chain(named.map(Target::Subtree))
        .chain(blocks.chain(parents).cloned().map(Target::Token))
        .chain(signers)
        .chain(said.root_key_id.map(Target::Key))
        .chain(
            facts
                .and_then(|facts| facts.certificate)
                .map(Target::Certificate),
        )
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

/// The newest revocation that covers a target.
async fn newest(
    authority: &Authority,
    target: &Target,
) -> Result<Option<RevocationInfo>, ClientError> {
    let request = CheckRequest {
        target: Some(target.into()),
        stale_ok: true,
    };
    let answer = authority.check(request).await?;
    let Some(before) = answer.revision.checked_sub(1).filter(|_| answer.revoked) else {
        return Ok(None);
    };
    let request = ListRevocationsRequest {
        after_revision: before,
        limit: 1,
        include_lifted: true,
        ..ListRevocationsRequest::default()
    };
    let page = authority.list_revocations(request).await?.revocations;
    Ok(page.into_iter().find(|one| one.revision == answer.revision))
}

/// True when a revocation denies a token of that revision. One that only denies what was issued before it does not deny
/// what was issued after.
fn denies(one: &RevocationInfo, rev: Option<u64>) -> bool {
    let names_it = matches!(one.scope.as_str(), "token" | "certificate" | "key");
    let stands = one.lifted_revision == 0 && (one.permanent || one.until > 0 || names_it);
    stands || (!one.restored && rev.is_none_or(|rev| rev < one.cutoff))
}

fn sentence(one: &RevocationInfo) -> String {
    let mut sentence = format!(
        "by {} at revision {}: {} {}, by {} at {} ({})",
        one.id,
        one.revision,
        one.scope,
        one.target,
        one.by,
        timestamp(one.at_ms),
        one.reason
    );
    for more in [&one.ticket, &one.message] {
        if !more.is_empty() {
            sentence += &format!(", {more}");
        }
    }
    sentence + &format!(". See `hessra revocations show {}`", one.id)
}

fn one_to_json(one: &RevocationInfo) -> Value {
    json!({
        "id": one.id,
        "revision": one.revision,
        "scope": one.scope,
        "target": one.target,
        "by": one.by,
        "at": timestamp(one.at_ms),
        "reason": one.reason,
        "ticket": one.ticket,
        "message": one.message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation() -> RevocationInfo {
        RevocationInfo {
            id: "rv_7".into(),
            revision: 7,
            scope: "subtree".into(),
            target: "urn:h:alice".into(),
            cutoff: 7,
            at_ms: 1_000_000_000_000,
            by: "urn:h:ops".into(),
            reason: "compromised".into(),
            ticket: "T-1".into(),
            ..RevocationInfo::default()
        }
    }

    #[test]
    fn a_revocation_is_named_with_revision_author_time_and_reason() {
        let lines = Denial::By(vec![revocation()]).to_lines();
        assert_eq!(
            lines,
            [
                "revoked  by rv_7 at revision 7: subtree urn:h:alice, by urn:h:ops at 2001-09-09T01:46:40.000Z (compromised), \
              T-1. See `hessra revocations show rv_7`"
            ]
        );
        let value = Denial::By(vec![revocation()]).to_json();
        assert_eq!(value["by"][0]["revision"], 7);
        assert_eq!(value["by"][0]["by"], "urn:h:ops");
    }

    #[test]
    fn what_was_issued_after_a_revocation_is_not_denied_by_it() {
        let passing = revocation();
        assert!(denies(&passing, Some(6)) && denies(&passing, None) && !denies(&passing, Some(7)));
        let permanent = RevocationInfo {
            permanent: true,
            ..revocation()
        };
        assert!(denies(&permanent, Some(9)));
        let lifted = RevocationInfo {
            lifted_revision: 8,
            ..permanent
        };
        assert!(denies(&lifted, Some(6)) && !denies(&lifted, Some(9)));
        let restored = RevocationInfo {
            restored: true,
            ..lifted
        };
        assert!(!denies(&restored, Some(6)));
    }

    #[tokio::test]
    async fn offline_it_is_said_that_nobody_was_asked() {
        let home = tempfile::tempdir().expect("a folder");
        let context = Context::bare(home.path());
        let revoked = CommandError::no("revoked", "the token is revoked");
        let said = Description {
            class: None,
            chain: Vec::new(),
            delegable: false,
            problem: None,
            rights: Vec::new(),
            expires_at: None,
            root_key_id: None,
            facts: None,
            blocks: Vec::new(),
        };
        let offline = Denial::of(&context, Some(&said), Some(&revoked), true).await;
        assert!(
            offline.to_lines()[0].contains("was not asked"),
            "{offline:?}"
        );
        assert_eq!(offline.to_json()["asked"], false);
        let alone = Denial::of(&context, Some(&said), Some(&revoked), false).await;
        assert!(
            alone.to_lines()[0].contains("could not be asked"),
            "{alone:?}"
        );
        let other = CommandError::no("expired", "the token ended");
        let other = Denial::of(&context, Some(&said), Some(&other), false).await;
        assert_eq!(other, Denial::NotRevoked);
    }
}
