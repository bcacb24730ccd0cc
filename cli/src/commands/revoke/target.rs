//! Target of a revocation, read from the options, with the warnings that belong to it.

use data_encoding::HEXLOWER_PERMISSIVE;
use hessra_sdk_rust::revocation::{SignerKey, Target, TokenId};
use hessra_sdk_rust::token::ThirdPartyKey;
use hessra_sdk_rust::{Reason, v1};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::super::confirm;
use crate::args::{StoredTokenArguments, TargetArguments};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::{files, sdk, tokens};

/// Bytes of most token ids; those of P-256 keys have a few more.
const TOKEN_ID_BYTES: usize = 64;

/// Warning about a leaf: the holder of its parent can make it anew.
const LEAF: &str = "Whoever holds the token it was made from can make another one";

/// Target of a revocation, as this command confirms and sends it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RevocationTarget {
    pub target: Target,
    /// Word that has to be typed to confirm.
    pub word: String,
    /// Warnings that a person must know before.
    pub warnings: Vec<String>,
}

/// The one target that the options name.
///
/// # Errors
/// Usage, for an identity that is not canonical, an id that is not hex, a file that is no certificate or token.
pub(super) fn read(context: &Context, arguments: &TargetArguments) -> Outcome<RevocationTarget> {
    let TargetArguments {
        positional,
        subtree,
        identity,
        token_id,
        token_name,
        token_file,
        signer,
        certificate,
    } = arguments;
    if let Some(text) = subtree.as_ref().or(positional.as_ref()) {
        let target = Target::Subtree(sdk::identity(text)?);
        return Ok(RevocationTarget::new(target));
    }
    if let Some(text) = identity {
        let target = Target::Exact(sdk::identity(text)?);
        return Ok(RevocationTarget::new(target));
    }
    if let Some(hex) = token_id {
        return of_token_id(hex);
    }
    if let Some(text) = signer {
        return of_signer(text);
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

/// The beginning of a token id that is not a whole one, when the options name such.
pub(super) fn shortened_id(arguments: &TargetArguments) -> Option<&str> {
    let hex = arguments.token_id.as_deref()?;
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
    let is_whole = |bytes: Vec<u8>| TokenId::new(&bytes).is_ok_and(|id| id.is_whole());
    // The last digit of a beginning may be the first of its byte.
    let is_hex = !hex.is_empty() && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_hex && hex.len() < 2 * TOKEN_ID_BYTES && !bytes.is_some_and(is_whole)).then_some(hex)
}

impl RevocationTarget {
    fn new(target: Target) -> Self {
        Self {
            word: confirm::word_of(&target.to_string()),
            target,
            warnings: Vec::new(),
        }
    }

    /// Target as requests name it.
    pub(super) fn wire(&self) -> v1::Target {
        (&self.target).into()
    }
}

fn of_token_id(hex: &str) -> Outcome<RevocationTarget> {
    let id = HEXLOWER_PERMISSIVE
        .decode(hex.as_bytes())
        .ok()
        .filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| {
        CommandError::usage("the token id is not hex")
            .hint("`hessra identity inspect` shows the ids of a token.")
    })?;
    let warning = format!(
        "If this is the last block of a delegated token: {LEAF}. Revoke the parent id or the subtree."
    );
    // The reason that the cluster gives for it.
    let refused = |message: String| {
        let reason = Reason::InvalidArgument.as_str();
        CommandError::new(Exit::Usage, reason, message)
    };
    let id = TokenId::new(&id).map_err(|error| refused(error.to_string()))?;
    if !id.is_whole() {
        return Err(
            refused("this is no whole token id, and no token would match it".to_owned())
                .hint("`hessra identity inspect` shows the ids of a token."),
        );
    }
    Ok(RevocationTarget {
        warnings: vec![warning],
        ..RevocationTarget::new(Target::Token(id))
    })
}

fn of_token(text: &str) -> Outcome<RevocationTarget> {
    let token = sdk::parse(text)?;
    let (last, before) = token
        .revocation_ids()
        .split_last()
        .ok_or_else(|| CommandError::usage("this token has no block"))?;
    let warning = before
        .last()
        .map(|parent| format!("{LEAF}. To end that too: --token-id {parent} or --subtree ID."));
    Ok(RevocationTarget {
        warnings: warning.into_iter().collect(),
        ..RevocationTarget::new(Target::Token(last.clone()))
    })
}

/// Target of a signer's key. Read as a key first: bytes that are no point of the curve would cover nothing.
fn of_signer(text: &str) -> Outcome<RevocationTarget> {
    let key = text.parse::<ThirdPartyKey>().ok();
    let key = key.and_then(|key| SignerKey::new(&key.to_bytes()).ok());
    let key = key.ok_or_else(|| {
        CommandError::usage(format!("`{text}` is not the key of a signer")).hint(
            "Write it as the policy does, ed25519/HEX or secp256r1/HEX. Keys of the cluster have numbers: `hessra keys revoke`.",
        )
    })?;
    Ok(RevocationTarget::new(Target::Signer(key)))
}

/// Target of a certificate: tokens name the one that they were issued over by the SHA-256 of its DER form.
fn of_certificate(bytes: &[u8]) -> Outcome<RevocationTarget> {
    let der = CertificateDer::from_pem_slice(bytes)
        .map(|der| der.to_vec())
        .unwrap_or_else(|_| bytes.to_vec());
    // A DER certificate is a SEQUENCE (0x30) with a two-byte length (0x82): X.690 §8.1.3.
    if !der.starts_with(&[0x30, 0x82]) {
        return Err(
            CommandError::usage("the file holds no certificate").hint("Give a PEM or DER file.")
        );
    }
    let fingerprint = Sha256::digest(&der).into();
    Ok(RevocationTarget::new(Target::Certificate(fingerprint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_id_is_hex_of_either_case() {
        let target = of_token_id(&"Fa".repeat(64)).expect("hex");
        assert_eq!(target.target.kind().as_str(), "token");
        assert_eq!(target.target.to_string(), "fa".repeat(64));
        let kind = v1::target::Kind::TokenId(vec![0xfa; 64]);
        assert_eq!(target.wire().kind, Some(kind));
        assert!(of_token_id("xyz").is_err() && of_token_id("").is_err());
    }

    #[test]
    fn a_token_id_that_is_not_whole_is_no_target() {
        for length in [1, 8, 63, 65, 72] {
            assert!(of_token_id(&"ab".repeat(length)).is_err(), "{length}");
        }
        let options = |hex: &str| TargetArguments {
            positional: None,
            subtree: None,
            identity: None,
            token_id: Some(hex.to_owned()),
            token_name: None,
            token_file: None,
            signer: None,
            certificate: None,
        };
        for (hex, is_shortened) in [
            ("a", true),
            ("abc", true),
            (&*"ab".repeat(63), true),
            (&*"ab".repeat(64), false),
            ("xyz", false),
            ("", false),
        ] {
            assert_eq!(shortened_id(&options(hex)).is_some(), is_shortened, "{hex}");
        }
    }

    #[test]
    fn a_token_id_that_is_too_long_gets_the_reason_of_the_cluster() {
        let failure = of_token_id(&"ab".repeat(257)).expect_err("too long");
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.reason, "invalid_argument");
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
