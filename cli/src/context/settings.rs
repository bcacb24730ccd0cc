//! `config.toml` and `server.toml`: the keys of version 0.3, and contexts.
//!
//! ```toml
//! current_context = "production"
//!
//! [contexts.production]
//! servers = ["node1.example:7443", "node2.example:7443"]
//! ca = "/etc/hessra/ca.crt"
//! cert = "/etc/hessra/me.crt"
//! key = "/etc/hessra/me.key"
//! ```
//!
//! Secrets are paths, never values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};
use crate::files;

/// `config.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub current_context: Option<String>,
    contexts: BTreeMap<String, ContextSettings>,
    default_server: Option<String>,
    default_port: Option<u16>,
    default_cert_path: Option<PathBuf>,
    default_key_path: Option<PathBuf>,
    default_ca_path: Option<PathBuf>,
    /// Accepted because version 0.3 writes it, which does not use it either: HESSRA_TOKEN_DIR does what it says.
    #[serde(rename = "token_storage_dir")]
    _token_storage_dir: Option<PathBuf>,
}

/// One context.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextSettings {
    pub servers: Vec<String>,
    pub port: Option<u16>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ca: Option<PathBuf>,
}

impl Settings {
    /// The settings of a home; defaults when there is no file.
    ///
    /// # Errors
    /// Usage, with line and column, for a key that does not exist or a value of another type.
    pub fn read(home: &Path) -> Outcome<Self> {
        read_toml(&home.join("config.toml")).map(Option::unwrap_or_default)
    }

    /// The settings in a text; `path` is where it is or will be.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str, path: &Path) -> Outcome<Self> {
        parse(text, path)
    }

    /// The server that is asked when none is named.
    pub fn default_server(&self) -> Option<&str> {
        self.default_server.as_deref()
    }

    /// Names of the contexts, sorted.
    pub fn context_names(&self) -> impl Iterator<Item = &str> {
        self.contexts.keys().map(String::as_str)
    }

    /// The settings of a context; without a name, the defaults of version 0.3.
    pub fn context(&self, name: Option<&str>) -> Outcome<ContextSettings> {
        match name {
            None => Ok(self.defaults()),
            Some(name) => self
                .contexts
                .get(name)
                .cloned()
                .ok_or_else(|| self.unknown(name)),
        }
    }

    fn defaults(&self) -> ContextSettings {
        ContextSettings {
            servers: self.default_server.clone().into_iter().collect(),
            port: self.default_port,
            cert: self.default_cert_path.clone(),
            key: self.default_key_path.clone(),
            ca: self.default_ca_path.clone(),
        }
    }

    fn unknown(&self, name: &str) -> Failure {
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let known = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        Failure::usage(format!("there is no context `{name}` in config.toml"))
            .hint(format!("Contexts: {known}."))
    }
}

/// `servers/SERVER/server.toml`, written by version 0.3 and by us.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ServerSettings {
    pub hostname: Option<String>,
    pub port: Option<u16>,
    pub cert_path: Option<PathBuf>,
    pub key_path: Option<PathBuf>,
    /// All servers that were named together; version 0.3 knows one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<String>,
    /// `ca.crt` beside it.
    #[serde(skip)]
    pub ca: Option<PathBuf>,
    /// Where it is.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl ServerSettings {
    /// What is known about the server of a folder.
    pub fn read(folder: &Path) -> Outcome<Self> {
        let settings: Self = read_toml(&folder.join("server.toml"))?.unwrap_or_default();
        let ca = Some(folder.join("ca.crt")).filter(|path| path.exists());
        let folder = folder.to_owned();
        Ok(Self {
            ca,
            folder,
            ..settings
        })
    }

    /// As the file has it.
    pub fn to_toml(&self) -> Outcome<String> {
        toml::to_string(self)
            .map_err(|error| Failure::usage(format!("cannot write server.toml: {error}")))
    }
}

fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Outcome<Option<T>> {
    let Some(text) = files::read_text_if_there(path)? else {
        return Ok(None);
    };
    parse(&text, path).map(Some)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Outcome<T> {
    toml::from_str(text).map_err(|error| {
        let problem = error.to_string();
        Failure::usage(format!(
            "{} cannot be understood: {}",
            path.display(),
            problem.trim_end()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_keys_make_the_context_without_a_name() {
        let text = "default_server = 'h'\ndefault_port = 7\ndefault_ca_path = '/ca'\ntoken_storage_dir = '/t'\n";
        let settings: Settings = toml::from_str(text).expect("understood");
        let context = settings.context(None).expect("the defaults");
        assert_eq!(
            (context.servers, context.port),
            (vec!["h".to_owned()], Some(7))
        );
        assert_eq!(context.ca, Some(PathBuf::from("/ca")));
    }

    #[test]
    fn an_unknown_context_is_refused_with_those_that_exist() {
        let settings: Settings =
            toml::from_str("[contexts.a]\n[contexts.b]\nport = 1\n").expect("understood");
        let failure = settings.context(Some("c")).expect_err("unknown");
        assert_eq!(failure.hint.as_deref(), Some("Contexts: a, b."));
    }

    #[test]
    fn a_typo_is_refused_by_name_and_place() {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("config.toml"), "defualt_server = 'x'\n").expect("written");
        let failure = Settings::read(home.path()).expect_err("refused");
        assert!(
            failure.message.contains("defualt_server") && failure.message.contains("line 1"),
            "{failure}"
        );
    }
}
