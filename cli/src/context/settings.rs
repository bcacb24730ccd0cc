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

use hessra_sdk_rust::revocation::FeedId;
use hessra_settings::{Document, Faults, Problem, Section};
use serde::Serialize;

use crate::failure::{CommandError, Outcome};
use crate::files;

/// Settings of `config.toml`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub current_context: Option<String>,
    contexts: BTreeMap<String, ContextSettings>,
    default_server: Option<String>,
    default_port: Option<u16>,
    default_cert_path: Option<PathBuf>,
    default_key_path: Option<PathBuf>,
    default_ca_path: Option<PathBuf>,
}

/// Settings of one context.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContextSettings {
    pub servers: Vec<String>,
    pub port: Option<u16>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    /// Id of the cluster that changes are signed for.
    pub cluster: Option<FeedId>,
}

impl Settings {
    /// The settings of a home; defaults when there is no file.
    ///
    /// # Errors
    /// Usage, with lines and columns, for keys that do not exist and values of another type.
    pub(crate) fn read(home: &Path) -> Outcome<Self> {
        read_toml(&home.join("config.toml"), Self::from_section)
    }

    /// The settings in a text; `path` is where it is or will be.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn parse(text: &str, path: &Path) -> Outcome<Self> {
        parse(text, path, Self::from_section)
    }

    fn from_section(mut file: Section<'_, '_>, faults: &mut Faults<'_>) -> Self {
        let contexts = file.named("contexts", faults).into_iter();
        let contexts = contexts
            .map(|(name, context)| (name.value, ContextSettings::from_section(context, faults)))
            .collect();
        let settings = Self {
            current_context: text(&mut file, "current_context", faults),
            contexts,
            default_server: text(&mut file, "default_server", faults),
            default_port: port(&mut file, "default_port", faults),
            default_cert_path: path(&mut file, "default_cert_path", faults),
            default_key_path: path(&mut file, "default_key_path", faults),
            default_ca_path: path(&mut file, "default_ca_path", faults),
        };
        // Accepted because version 0.3 writes it, which does not use it either: HESSRA_TOKEN_DIR does what it says.
        file.text("token_storage_dir", faults);
        file.close(faults);
        settings
    }

    /// The server that is asked when none is named.
    pub(crate) fn default_server(&self) -> Option<&str> {
        self.default_server.as_deref()
    }

    /// Names of the contexts, sorted.
    pub(crate) fn context_names(&self) -> impl Iterator<Item = &str> {
        self.contexts.keys().map(String::as_str)
    }

    /// The settings of a context; without a name, the defaults of version 0.3.
    pub(crate) fn context(&self, name: Option<&str>) -> Outcome<ContextSettings> {
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
            cluster: None,
        }
    }

    fn unknown(&self, name: &str) -> CommandError {
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let known = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        CommandError::usage(format!("there is no context `{name}` in config.toml"))
            .hint(format!("Contexts: {known}."))
    }
}

impl ContextSettings {
    fn from_section(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Self {
        let settings = Self {
            servers: texts(&mut section, "servers", faults),
            port: port(&mut section, "port", faults),
            cert: path(&mut section, "cert", faults),
            key: path(&mut section, "key", faults),
            ca: path(&mut section, "ca", faults),
            cluster: section.parsed("cluster", faults),
        };
        section.close(faults);
        settings
    }
}

/// Settings of a server, `servers/SERVER/server.toml`, written by version 0.3 and by us.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ServerSettings {
    pub hostname: Option<String>,
    pub port: Option<u16>,
    pub cert_path: Option<PathBuf>,
    pub key_path: Option<PathBuf>,
    /// Servers that were named together; version 0.3 knows one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<String>,
    /// Path of `ca.crt` beside it.
    #[serde(skip)]
    pub ca: Option<PathBuf>,
    /// Folder of the file.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl ServerSettings {
    /// Reads what is known about the server of a folder.
    pub(crate) fn read(folder: &Path) -> Outcome<Self> {
        let settings = read_toml(&folder.join("server.toml"), Self::from_section)?;
        let ca = Some(folder.join("ca.crt")).filter(|path| path.exists());
        let folder = folder.to_owned();
        Ok(Self {
            ca,
            folder,
            ..settings
        })
    }

    /// Settings of a section. Keys that it does not know may be of a newer version.
    fn from_section(mut file: Section<'_, '_>, faults: &mut Faults<'_>) -> Self {
        Self {
            hostname: text(&mut file, "hostname", faults),
            port: port(&mut file, "port", faults),
            cert_path: path(&mut file, "cert_path", faults),
            key_path: path(&mut file, "key_path", faults),
            seeds: texts(&mut file, "seeds", faults),
            ..Self::default()
        }
    }

    /// TOML as the file has it.
    pub(crate) fn to_toml(&self) -> Outcome<String> {
        toml::to_string(self)
            .map_err(|error| CommandError::usage(format!("cannot write server.toml: {error}")))
    }
}

/// Reads a file; defaults when there is none.
fn read_toml<T: Default>(
    path: &Path,
    read: impl FnOnce(Section<'_, '_>, &mut Faults<'_>) -> T,
) -> Outcome<T> {
    match files::read_text_if_there(path)? {
        Some(text) => parse(&text, path, read),
        None => Ok(T::default()),
    }
}

fn parse<T>(
    text: &str,
    path: &Path,
    read: impl FnOnce(Section<'_, '_>, &mut Faults<'_>) -> T,
) -> Outcome<T> {
    let file = path.display().to_string();
    let mut faults = Faults::new(&file, text);
    let document = Document::parse(text, &mut faults);
    // What could be read of a broken text does not say what was meant.
    if faults.is_empty() {
        let value = read(document.section(), &mut faults);
        if faults.is_empty() {
            return Ok(value);
        }
    }
    let problems: Vec<String> = faults.into_found().iter().map(sentence).collect();
    let problems = problems.join("\n");
    Err(CommandError::usage(format!(
        "{file} cannot be understood: {problems}"
    )))
}

fn sentence(problem: &Problem) -> String {
    let Problem {
        line,
        column,
        message,
        hint,
        ..
    } = problem;
    let stop = if hint.is_empty() { "" } else { ". " };
    format!("line {line}, column {column}: {message}{stop}{hint}")
}

fn text(
    section: &mut Section<'_, '_>,
    key: &'static str,
    faults: &mut Faults<'_>,
) -> Option<String> {
    section.text(key, faults).map(|text| text.value)
}

fn texts(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Vec<String> {
    let texts = section.texts(key, faults).into_iter();
    texts.map(|text| text.value).collect()
}

fn path(
    section: &mut Section<'_, '_>,
    key: &'static str,
    faults: &mut Faults<'_>,
) -> Option<PathBuf> {
    text(section, key, faults).map(PathBuf::from)
}

fn port(section: &mut Section<'_, '_>, key: &'static str, faults: &mut Faults<'_>) -> Option<u16> {
    let port = section.number(key, 0..=u16::MAX.into(), "a port is", faults)?;
    u16::try_from(port).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_keys_make_the_context_without_a_name() {
        let text = "default_server = 'h'\ndefault_port = 7\ndefault_ca_path = '/ca'\ntoken_storage_dir = '/t'\n";
        let settings = Settings::parse(text, Path::new("config.toml")).expect("understood");
        let context = settings.context(None).expect("the defaults");
        assert_eq!(
            (context.servers, context.port),
            (vec!["h".to_owned()], Some(7))
        );
        assert_eq!(context.ca, Some(PathBuf::from("/ca")));
    }

    #[test]
    fn an_unknown_context_is_refused_with_those_that_exist() {
        let text = "[contexts.a]\n[contexts.b]\nport = 1\n";
        let settings = Settings::parse(text, Path::new("config.toml")).expect("understood");
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
    #[test]
    fn every_mistake_is_said_at_once() {
        let text =
            "defualt_server = 'x'\ndefault_port = 70000\n[contexts.a]\nservers = 'h'\nkye = 'k'\n";
        let failure = Settings::parse(text, Path::new("config.toml")).expect_err("refused");
        assert_eq!(
            failure.message,
            "config.toml cannot be understood: \
             line 1, column 1: unknown key `defualt_server`. Did you mean `default_server`?\n\
             line 2, column 16: a port is 0 to 65535\n\
             line 4, column 11: expected a list, found string\n\
             line 5, column 1: unknown key `kye`. Did you mean `key`?"
        );
        let failure = Settings::parse("current_context = \n", Path::new("c")).expect_err("refused");
        assert!(
            failure
                .message
                .starts_with("c cannot be understood: line 1, column "),
            "{failure}"
        );
    }

    #[test]
    fn a_server_file_of_a_newer_version_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "hostname = 'h'\nport = 7\nseeds = ['a:1']\nnewer = true\n";
        std::fs::write(folder.path().join("server.toml"), text).expect("written");
        let settings = ServerSettings::read(folder.path()).expect("understood");
        assert_eq!(
            (
                settings.hostname.as_deref(),
                settings.port,
                settings.seeds.as_slice()
            ),
            (Some("h"), Some(7), &["a:1".to_owned()][..])
        );
        assert!(!settings.to_toml().expect("written").contains("newer"));
    }
}
