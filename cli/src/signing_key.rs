//! Key that signed a token: the one named, one learnt before over authenticated TLS, or one asked for now.
//!
//! A cluster rotates its keys, so all that it published are kept (`public_keys.json` beside the published
//! `public_key.pem`), and a token's own key id chooses. A key that is not known yet is asked for once.

use std::path::Path;

use hessra_sdk_rust::IdentityClient;
use hessra_sdk_rust::identity::PublicKeys;
use serde::{Deserialize, Serialize};

use crate::args::PublicKeyArguments;
use crate::context::Context;
use crate::failure::{CommandError, Outcome};
use crate::files;

/// File of all published keys, beside `public_key.pem`.
const KEYS_FILE: &str = "public_keys.json";
/// File of the active key, as version 0.3 keeps it.
const KEY_FILE: &str = "public_key.pem";

/// Key that a cluster published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownKey {
    id: u32,
    public_key: String,
    #[serde(default)]
    revoked: bool,
}

/// The key that a token with this root key id was signed by, as PEM, without asking anybody.
///
/// # Errors
/// A named file that cannot be read.
pub(crate) fn known(
    context: &Context,
    arguments: &PublicKeyArguments,
    key_id: Option<u32>,
) -> Outcome<Option<String>> {
    if let Some(file) = &arguments.public_key_file {
        return files::read_text(file).map(Some);
    }
    if let Some(pem) = &arguments.public_key {
        return Ok(Some(pem.clone()));
    }
    let folders = match context.servers().first() {
        Some(server) => vec![
            context.server_folder(server),
            context.home().join("servers").join(server.host()),
        ],
        None => context.known_server_folders(),
    };
    let mut found = folders.iter().map(|folder| cached(folder, key_id));
    found.find_map(Outcome::transpose).transpose()
}

/// Key as of [`known`], asking the cluster when need be.
///
/// # Errors
/// No, for a key that is known to be revoked; not found, with how to name a key; or no server answered.
pub(crate) async fn find(
    context: &Context,
    arguments: &PublicKeyArguments,
    key_id: Option<u32>,
) -> Outcome<String> {
    let pem = find_any(context, arguments, key_id).await?;
    match is_known_as_revoked(context, &pem)? {
        false => Ok(pem),
        true => Err(CommandError::no(
            "key_revoked",
            "the key that signed this token is revoked: authenticate again",
        )),
    }
}

async fn find_any(
    context: &Context,
    arguments: &PublicKeyArguments,
    key_id: Option<u32>,
) -> Outcome<String> {
    if let Some(pem) = known(context, arguments, key_id)? {
        return Ok(pem);
    }
    if context.servers().is_empty() {
        return Err(no_key());
    }
    let keys = IdentityClient::new(context.connection()?)?
        .public_keys()
        .await?;
    remember(context, &keys)?;
    Ok(choose(&known_keys(&keys), key_id).unwrap_or(keys.public_key))
}

/// True when a cluster has told this computer that the key is revoked.
fn is_known_as_revoked(context: &Context, pem: &str) -> Outcome<bool> {
    for folder in context.known_server_folders() {
        let set = known_set(&folder)?;
        if set
            .iter()
            .any(|key| key.revoked && key.public_key.trim() == pem.trim())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Keeps what a cluster published about its keys. A revoked one is kept as such: no earlier copy of it is believed.
pub(crate) fn remember(context: &Context, keys: &PublicKeys) -> Outcome {
    let Some(server) = context.servers().first() else {
        return Ok(());
    };
    let folder = context.server_folder(server);
    let all = serde_json::to_vec_pretty(&known_keys(keys))
        .map_err(|error| CommandError::usage(error.to_string()))?;
    files::write_private(&folder.join(KEYS_FILE), &all)?;
    files::write_private(&folder.join(KEY_FILE), keys.public_key.as_bytes())
}

fn known_keys(keys: &PublicKeys) -> Vec<KnownKey> {
    let keys = keys.keys.iter();
    keys.map(|key| KnownKey {
        id: key.id,
        public_key: key.public_key.clone(),
        revoked: key.state == "revoked",
    })
    .collect()
}

/// Key in a folder. With a key id and a set, exactly that key; else the one key there is.
fn cached(folder: &Path, key_id: Option<u32>) -> Outcome<Option<String>> {
    let set = known_set(folder)?;
    if key_id.is_some() && !set.is_empty() {
        return Ok(choose(&set, key_id));
    }
    files::read_text_if_there(&folder.join(KEY_FILE))
}

fn known_set(folder: &Path) -> Outcome<Vec<KnownKey>> {
    let set = files::read_text_if_there(&folder.join(KEYS_FILE))?;
    let set = set.and_then(|text| serde_json::from_str(&text).ok());
    Ok(set.unwrap_or_default())
}

fn choose(set: &[KnownKey], key_id: Option<u32>) -> Option<String> {
    set.iter()
        .find(|key| Some(key.id) == key_id)
        .map(|key| key.public_key.clone())
}

fn no_key() -> CommandError {
    CommandError::not_found("the key that signed this token is not known here")
        .hint("Give --server and --ca to ask for it, or --public-key-file FILE.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let set = [
            KnownKey {
                id: 1,
                public_key: "one".into(),
                revoked: false,
            },
            KnownKey {
                id: 2,
                public_key: "two".into(),
                revoked: false,
            },
        ];
        std::fs::write(
            folder.path().join(KEYS_FILE),
            serde_json::to_vec(&set).expect("json"),
        )
        .expect("written");
        std::fs::write(folder.path().join(KEY_FILE), "active").expect("written");
        folder
    }

    #[test]
    fn the_key_id_of_the_token_chooses() {
        let folder = folder();
        assert_eq!(
            cached(folder.path(), Some(2)).expect("read").as_deref(),
            Some("two")
        );
        assert_eq!(
            cached(folder.path(), None).expect("read").as_deref(),
            Some("active")
        );
    }

    #[test]
    fn a_key_that_is_not_in_the_set_has_to_be_asked_for() {
        assert_eq!(cached(folder().path(), Some(3)).expect("read"), None);
    }

    #[test]
    fn what_version_0_3_cached_is_used() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(KEY_FILE), "active").expect("written");
        assert_eq!(
            cached(folder.path(), Some(9)).expect("read").as_deref(),
            Some("active")
        );
        assert_eq!(cached(Path::new("/nonexistent"), None).expect("read"), None);
    }
}
