//! What is to be revoked: from an option to what goes over the wire, with what people must know about it.

use data_encoding::HEXLOWER;
use data_encoding::HEXLOWER_PERMISSIVE;
use hessra_sdk_rust::v1::{Target, target::Kind};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::super::confirm;
use crate::args::{StoredTokenArguments, TargetArguments};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::{files, sdk, tokens};

/// A leaf can be made anew by whoever holds its parent.
const LEAF: &str = "Whoever holds the token it was made from can make another one";

/// What is to be revoked.
#[derive(Clone, Debug, PartialEq)]
pub struct RevocationTarget {
    pub wire: Target,
    /// `subtree`, `exact`, `token` or `certificate`.
    pub scope: &'static str,
    /// An identity, or hex.
    pub text: String,
    /// What has to be typed to confirm.
    pub word: String,
    /// What a person must know before.
    pub warnings: Vec<String>,
}

/// The one target that the options name.
///
/// # Errors
/// Usage, for an identity that is not canonical, an id that is not hex, a file that is no certificate or token.
pub fn read(context: &Context, arguments: &TargetArguments) -> Outcome<RevocationTarget> {
    let TargetArguments {
        positional,
        subtree,
        identity,
        token_id,
        token_name,
        token_file,
        certificate,
    } = arguments;
    if let Some(text) = subtree.as_ref().or(positional.as_ref()) {
        let identity = sdk::identity(text)?;
        return Ok(RevocationTarget::new(
            "subtree",
            text,
            Kind::Subtree(identity.as_str().to_owned()),
        ));
    }
    if let Some(text) = identity {
        let identity = sdk::identity(text)?;
        return Ok(RevocationTarget::new(
            "exact",
            text,
            Kind::Exact(identity.as_str().to_owned()),
        ));
    }
    if let Some(hex) = token_id {
        return of_token_id(hex);
    }
    if let Some(file) = certificate {
        return of_certificate(&files::read(file)?);
    }
    let stored = StoredTokenArguments {
        token_name: token_name.clone(),
        token_file: token_file.clone(),
    };
    of_token(&tokens::read_stored(context, &stored)?.text)
}

impl RevocationTarget {
    fn new(scope: &'static str, text: &str, kind: Kind) -> Self {
        let wire = Target { kind: Some(kind) };
        Self {
            wire,
            scope,
            text: text.to_owned(),
            word: confirm::word_of(text),
            warnings: Vec::new(),
        }
    }

    fn token(id: Vec<u8>) -> Self {
        Self::new("token", &HEXLOWER.encode(&id), Kind::TokenId(id))
    }
}

fn of_token_id(hex: &str) -> Outcome<RevocationTarget> {
    let id = HEXLOWER_PERMISSIVE
        .decode(hex.as_bytes())
        .ok()
        .filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| {
        Failure::usage("the token id is not hex")
            .hint("`hessra identity inspect` shows the ids of a token.")
    })?;
    let warning = format!(
        "If this is the last block of a delegated token: {LEAF}. Revoke the parent id or the subtree."
    );
    Ok(RevocationTarget {
        warnings: vec![warning],
        ..RevocationTarget::token(id)
    })
}

fn of_token(text: &str) -> Outcome<RevocationTarget> {
    let token = sdk::parse(text)?;
    let (last, before) = token
        .revocation_ids()
        .split_last()
        .ok_or_else(|| Failure::usage("this token has no block"))?;
    let warning = before.last().map(|parent| {
        format!(
            "{LEAF}. To end that too: --token-id {} or --subtree ID.",
            HEXLOWER.encode(parent.as_bytes())
        )
    });
    Ok(RevocationTarget {
        warnings: warning.into_iter().collect(),
        ..RevocationTarget::token(last.as_bytes().to_vec())
    })
}

/// Tokens name the certificate they were issued over by the SHA-256 of its DER form.
fn of_certificate(bytes: &[u8]) -> Outcome<RevocationTarget> {
    let der = CertificateDer::from_pem_slice(bytes)
        .map(|der| der.to_vec())
        .unwrap_or_else(|_| bytes.to_vec());
    // A DER certificate is a SEQUENCE (0x30) with a two-byte length (0x82): X.690 §8.1.3.
    if !der.starts_with(&[0x30, 0x82]) {
        return Err(Failure::usage("the file holds no certificate").hint("Give a PEM or DER file."));
    }
    let fingerprint = Sha256::digest(&der).to_vec();
    Ok(RevocationTarget::new(
        "certificate",
        &HEXLOWER.encode(&fingerprint),
        Kind::Certificate(fingerprint),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_id_is_hex_of_either_case() {
        let target = of_token_id("00FFaa").expect("hex");
        assert_eq!((target.scope, target.text.as_str()), ("token", "00ffaa"));
        assert_eq!(target.wire.kind, Some(Kind::TokenId(vec![0, 255, 170])));
        assert!(of_token_id("xyz").is_err() && of_token_id("").is_err());
    }

    #[test]
    fn an_identity_that_is_not_canonical_is_refused() {
        for text in ["", "a::b", ":a", "a:", "a b", "a%3Ab"] {
            assert!(sdk::identity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        assert!(of_certificate(b"hello").is_err());
    }
}
