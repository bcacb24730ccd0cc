//! Contexts: the exposures of a session. They only grow.
//!
//! A context names its session and its version. A keeper of the latest version of every session can refuse an older
//! one: a holder cannot go back to what it was before it saw something. The published shape comes with guards, because
//! every other published verifier would take it for anything.

use std::collections::BTreeMap;

use biscuit_auth::builder::BlockBuilder;
use biscuit_auth::macros::{block, block_merge};
use rand::{CryptoRng, RngCore};

use hessra_revocation::{Identity, Revision, TokenId, UnixSeconds};

use super::issue::{Issue, Minted, check_name, number};
use crate::signer::Signer;
use crate::token::Session;
use crate::{MintError, TokenClass, Verified};

/// Most exposures of a session. Origin: three facts and a check each, in half of a token's bytes.
pub const EXPOSURES_MAX: usize = 64;

/// Parameters of a context token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextParameters {
    /// Subject of the session.
    pub subject: Identity,
    /// Session and version.
    pub session: Session,
    /// Exposures: label to source.
    pub exposures: BTreeMap<String, String>,
    /// Instant from which on it is refused.
    pub expires_at: UnixSeconds,
    /// Instant of its issue.
    pub issued_at: UnixSeconds,
    /// Revision that the minting node has applied.
    pub rev: Revision,
    /// Ids of every block of the tokens that it is made from: an identity, or the context before it.
    pub parents: Vec<TokenId>,
}

impl ContextParameters {
    /// Next version of a session: all its exposures, and `labels` from `source`.
    ///
    /// `None` when `before` is not a context with a session of ours.
    #[must_use]
    pub fn grown(
        before: &Verified,
        labels: &[String],
        source: &str,
        issued_at: UnixSeconds,
        expires_at: UnixSeconds,
        rev: Revision,
    ) -> Option<Self> {
        let session = before.session()?;
        let kept = before.exposures().iter();
        let mut exposures: BTreeMap<_, _> = kept
            .map(|label| (label.clone(), INHERITED.to_owned()))
            .collect();
        exposures.extend(
            labels
                .iter()
                .map(|label| (label.clone(), source.to_owned())),
        );
        Some(Self {
            subject: before.subject().clone(),
            session: Session {
                version: session.version.checked_add(1)?,
                ..session
            },
            exposures,
            expires_at,
            issued_at,
            rev,
            parents: before.token_ids().to_vec(),
        })
    }
}

/// Source of exposures that came with an earlier context, as the published crates name it.
const INHERITED: &str = "inherited";

/// Mints a context.
///
/// # Errors
/// As [`mint_identity`](super::mint_identity), and [`MintError::Name`], [`MintError::TooMany`] about exposures.
pub fn mint_context(
    signer: &impl Signer,
    parameters: &ContextParameters,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Minted, MintError> {
    let common = Issue {
        class: TokenClass::Context,
        issued_at: parameters.issued_at,
        expires_at: parameters.expires_at,
        rev: parameters.rev,
        parents: &parameters.parents,
        cert: None,
    };
    common.check()?;
    if parameters.exposures.len() > EXPOSURES_MAX {
        return Err(MintError::TooMany {
            what: "exposures",
            count: parameters.exposures.len(),
            limit: EXPOSURES_MAX,
        });
    }
    let published = context_block(parameters)?;
    common.sign(signer, add_exposures(published, parameters)?, rng)
}

fn context_block(parameters: &ContextParameters) -> Result<BlockBuilder, MintError> {
    let subject = parameters.subject.as_str();
    let expires_at = number(parameters.expires_at.0)?;
    let session = parameters.session.id.to_vec();
    let version = number(parameters.session.version)?;
    Ok(block!(
        r#"context({subject});
           check if time($time), $time < {expires_at};
           reject if actor($a);
           reject if resource($r);
           reject if operation($o);
           reject if subject($s);
           hessra_session({session}, {version});"#
    ))
}

fn add_exposures(
    mut block: BlockBuilder,
    parameters: &ContextParameters,
) -> Result<BlockBuilder, MintError> {
    let at = number(parameters.issued_at.0)?;
    for (label, source) in &parameters.exposures {
        check_name(label)?;
        check_name(source)?;
        let (label, source) = (label.as_str(), source.as_str());
        block = block_merge!(
            block,
            r#"reject if exposure({label});
               exposed_label({label});
               exposure_source({source});
               exposure_time({at});"#
        );
    }
    Ok(block)
}
