//! `hessra keys export`: public keys as files that other programs read.

use data_encoding::BASE64URL_NOPAD;
use hessra_sdk_rust::Authority;
use hessra_sdk_rust::v1::KeyInfo;
use serde_json::{Value, json};

use super::answer::to_json;
use crate::args::{ExportKeys, KeyFormat, Purpose};
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Prints keys in the form that was asked for, also when `--output` names another: the form is the point.
pub(super) async fn run(
    authority: &Authority,
    console: Console,
    arguments: &ExportKeys,
) -> Outcome {
    let keys = authority.list_keys().await?.keys;
    let chosen = |key: &&KeyInfo| arguments.id.is_none_or(|id| key.id == id);
    let keys: Vec<&KeyInfo> = keys.iter().filter(chosen).collect();
    if let (Some(id), []) = (arguments.id, keys.as_slice()) {
        return Err(
            CommandError::not_found(format!("no key has the number {id}"))
                .hint("See `hessra keys list`."),
        );
    }
    match arguments.format {
        KeyFormat::Pem => console.data(&pem(&keys, arguments.purpose, arguments.id)?),
        KeyFormat::Jwks => console.data(&format!("{:#}\n", jwks(&keys, arguments.purpose))),
        KeyFormat::Json => {
            let items: Vec<Value> = keys.iter().map(|key| to_json(key)).collect();
            console.data(&format!("{:#}\n", json!({"keys": items})))
        }
    }
}

/// PEM block of one key: programs that take a key refuse a file with two.
fn pem(keys: &[&KeyInfo], purpose: Purpose, id: Option<u32>) -> Outcome<String> {
    let signs = |key: &&&KeyInfo| key.purpose == purpose.word() && key.state == "active";
    let key = match id {
        Some(_) => keys.first(),
        None => keys.iter().find(signs),
    };
    let key = key.ok_or_else(|| {
        CommandError::not_found(format!("no {} key signs", purpose.word()))
            .hint("Prepare and activate one: hessra keys rotate")
    })?;
    let broken = |_| {
        CommandError::unavailable(format!(
            "the node sent key {} with other bytes than a key has",
            key.id
        ))
    };
    let public: [u8; 32] = key.public_key.as_slice().try_into().map_err(broken)?;
    hessra_sdk_rust::token::keyring::public_key_to_pem(&public).map_err(|error| {
        CommandError::unavailable(format!(
            "the node sent key {}, which is no key: {error}",
            key.id
        ))
        .hint("Ask another node with --server.")
    })
}

/// Key set as the nodes publish it, without revoked keys: a reader of a set believes every key in it.
fn jwks(keys: &[&KeyInfo], purpose: Purpose) -> Value {
    let believed = |key: &&&KeyInfo| key.purpose == purpose.word() && key.state != "revoked";
    let jwk = |key: &&KeyInfo| {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": key.id.to_string(),
            "x": BASE64URL_NOPAD.encode(&key.public_key),
            "state": key.state,
        })
    };
    let keys: Vec<Value> = keys.iter().filter(believed).map(jwk).collect();
    json!({"keys": keys})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32, purpose: &str, state: &str) -> KeyInfo {
        KeyInfo {
            id,
            purpose: purpose.into(),
            state: state.into(),
            public_key: ed25519_dalek::SigningKey::from_bytes(&[7; 32])
                .verifying_key()
                .to_bytes()
                .to_vec(),
            ..KeyInfo::default()
        }
    }

    #[test]
    fn a_key_set_holds_what_is_believed_and_nothing_else() {
        let keys = [
            key(1, "token", "revoked"),
            key(2, "feed", "active"),
            key(4, "token", "retired"),
            key(5, "token", "prepared"),
        ];
        let set = jwks(&keys.iter().collect::<Vec<_>>(), Purpose::Token);
        let kids: Vec<&Value> = set["keys"]
            .as_array()
            .expect("a list of keys")
            .iter()
            .map(|key| &key["kid"])
            .collect();
        assert_eq!(kids, ["4", "5"]);
        assert_eq!(set["keys"][0]["x"].as_str().expect("a text").len(), 43);
    }

    #[test]
    fn a_pem_file_holds_one_key_the_one_that_signs_tokens() {
        let keys = [key(1, "token", "retired"), key(5, "token", "active")];
        let keys: Vec<&KeyInfo> = keys.iter().collect();
        let text = pem(&keys, Purpose::Token, None).expect("an active key");
        assert_eq!(text.matches("-----BEGIN PUBLIC KEY-----").count(), 1);
        assert!(pem(&keys[..1], Purpose::Token, None).is_err());
        assert!(pem(&keys[..1], Purpose::Token, Some(1)).is_ok());
    }
}
