//! Context of a command: the cluster, the client certificate, the folders. From options, environment, context,
//! defaults.
//!
//! ```text
//! $HESSRA_HOME, else ~/.hessra
//! ├── config.toml                  contexts, and the defaults of version 0.3
//! ├── tokens/                      identity tokens, see `store`
//! ├── contexts/NAME/               tokens and knowledge of one context
//! ├── feed/                        what the feed said last, see `knowledge`
//! └── servers/HOST[_PORT]/         server.toml, ca.crt, public_key.pem: written by `identity authenticate`
//! ```
//!
//! Each value comes from the first that has it: option, environment, context, the server's own `server.toml`,
//! default. Options and environment arrive here already merged.

mod settings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hessra_sdk_rust::config::PORT_DEFAULT;
use hessra_sdk_rust::revocation::FeedId;
use hessra_sdk_rust::{AsOf, Connection, Credentials, Endpoint, Readings, Servers, Trust};

use crate::args::ConnectionArguments;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::files;
use crate::store::TokenStore;

pub(crate) use settings::{ServerSettings, Settings};

/// Time for one answer when `--timeout` does not say: an election (about 1 s) and a retry fit in well.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Context of a command: everything that it needs to know about its surroundings.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    home: PathBuf,
    name: Option<String>,
    servers: Vec<Endpoint>,
    /// Client certificate, its key, the servers' authority.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    /// Id of the cluster that changes are signed for.
    pub cluster: Option<FeedId>,
    pub timeout: Duration,
    /// Ages of the answers that this command got.
    readings: Readings,
    token_folder: PathBuf,
}

impl Context {
    /// Reads the configuration and merges.
    ///
    /// # Errors
    /// Usage: an unknown context, a configuration that cannot be read, a server that is no server.
    pub(crate) fn resolve(arguments: &ConnectionArguments) -> Outcome<Self> {
        let home = home()?;
        let settings = Settings::read(&home)?;
        let name = arguments
            .context
            .clone()
            .or_else(|| settings.current_context.clone());
        let chosen = settings.context(name.as_deref())?;
        let port = arguments.port.or(chosen.port);
        let named = if arguments.server.is_empty() {
            &chosen.servers
        } else {
            &arguments.server
        };
        let servers = if named.is_empty() {
            only_known_server(&home)?
        } else {
            named.clone()
        };
        let known = known_settings(&home, &servers, port)?;
        let (cert, key) = pair([
            (arguments.cert.clone(), arguments.key.clone()),
            (chosen.cert, chosen.key),
            (known.cert_path, known.key_path),
        ]);
        // One seed is enough, also when it is the one that is down: the others were remembered.
        let servers: Vec<String> = servers.into_iter().chain(known.seeds).collect();
        Ok(Self {
            servers: parse_all(&servers, port.or(known.port))?,
            cert,
            key,
            ca: arguments.ca.clone().or(chosen.ca).or(known.ca),
            cluster: arguments.cluster.or(chosen.cluster),
            timeout: arguments.timeout.unwrap_or(TIMEOUT),
            readings: Readings::default(),
            token_folder: token_folder(&home, name.as_deref()),
            home,
            name,
        })
    }

    /// Context without a server, in a home of its own: for tests.
    #[cfg(test)]
    pub(crate) fn bare(home: &Path) -> Self {
        Self {
            readings: Readings::default(),
            home: home.to_owned(),
            name: None,
            servers: Vec::new(),
            cert: None,
            key: None,
            ca: None,
            cluster: None,
            timeout: TIMEOUT,
            token_folder: home.join("tokens"),
        }
    }

    /// Folder in which everything is kept.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Path of the configuration.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.home.join("config.toml")
    }

    /// The servers to ask; perhaps none.
    pub(crate) fn servers(&self) -> &[Endpoint] {
        &self.servers
    }

    /// The servers to ask.
    ///
    /// # Errors
    /// Usage, when no server is known.
    pub(crate) fn require_servers(&self) -> Outcome<&[Endpoint]> {
        if self.servers.is_empty() {
            Err(no_server())
        } else {
            Ok(&self.servers)
        }
    }

    /// Connection to the servers, with the client certificate when there is one.
    ///
    /// # Errors
    /// Usage, when no server or no authority is named or a file is not what it should be.
    pub(crate) fn connection(&self) -> Outcome<Connection> {
        let servers = Servers::new(self.require_servers()?.iter().cloned())?;
        let ca = self.ca.as_ref().ok_or_else(no_authority)?;
        let mut connection = Connection::new(servers, Trust::file(ca)?).timeout(self.timeout);
        connection.cluster = self.cluster;
        connection.readings = self.readings.clone();
        Ok(match self.credentials()? {
            Some(credentials) => connection.credentials(credentials),
            None => connection,
        })
    }

    /// Checks that a quorum confirmed everything that this command has read: what is older is shown, and is no success.
    ///
    /// # Errors
    /// Stale, with the node that answered and how old its knowledge is.
    pub(crate) fn confirmed(&self) -> Outcome {
        let Some(as_of) = self.readings.unconfirmed() else {
            return Ok(());
        };
        let AsOf { node, revision, .. } = as_of;
        let age = match as_of.age {
            Some(age) => format!("its last confirmation is {:.1} s old", age.as_secs_f64()),
            None => "it has had no confirmation since it was started".to_owned(),
        };
        let message = format!(
            "node {node} could not confirm this with a quorum: it knows everything up to revision {revision}, and {age}"
        );
        let error = CommandError::new(Exit::CannotTell, "stale", message);
        Err(error
            .hint("Ask another node with --server, or wait until `hessra status` shows a leader."))
    }

    /// The client certificate and its key.
    ///
    /// # Errors
    /// Usage, when only one of the two is named; or what is wrong with the files.
    pub(crate) fn credentials(&self) -> Outcome<Option<Credentials>> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Ok(Some(Credentials::files(cert, key)?)),
            (None, None) => Ok(None),
            (Some(_), None) => Err(half("--cert", "--key", "HESSRA_KEY")),
            (None, Some(_)) => Err(half("--key", "--cert", "HESSRA_CERT")),
        }
    }

    /// Connection as of [`Self::connection`], for requests that need a client certificate.
    pub(crate) fn authenticated_connection(&self) -> Outcome<Connection> {
        let connection = self.connection()?;
        if connection.credentials.is_none() {
            Err(no_certificate())
        } else {
            Ok(connection)
        }
    }

    /// The stored tokens.
    pub(crate) fn tokens(&self) -> TokenStore {
        let older = self
            .servers
            .first()
            .map(|server| self.home.join("servers").join(server.host()).join("tokens"));
        TokenStore::new(self.token_folder.clone(), older.into_iter().collect())
    }

    /// Folder in which a verifier of this cluster keeps what the feed said.
    pub(crate) fn feed_folder(&self) -> PathBuf {
        let cluster = self
            .servers
            .first()
            .map_or_else(|| "none".to_owned(), folder_name);
        self.feeds_folder().join(cluster)
    }

    /// Folder of what the feeds of all clusters said.
    pub(crate) fn feeds_folder(&self) -> PathBuf {
        self.base().join("feed")
    }

    /// Folder in which what is known about a server is kept.
    pub(crate) fn server_folder(&self, server: &Endpoint) -> PathBuf {
        self.home.join("servers").join(folder_name(server))
    }

    /// Folders of all servers that this home has authenticated to.
    pub(crate) fn known_server_folders(&self) -> Vec<PathBuf> {
        known_server_folders(&self.home)
    }

    fn base(&self) -> PathBuf {
        base(&self.home, self.name.as_deref())
    }
}

/// Pair of certificate and key, which belong together: both come from the first place that has either.
fn pair(places: [(Option<PathBuf>, Option<PathBuf>); 3]) -> (Option<PathBuf>, Option<PathBuf>) {
    places
        .into_iter()
        .find(|(cert, key)| cert.is_some() || key.is_some())
        .unwrap_or_default()
}

/// Folder in which everything is kept: HESSRA_HOME, else `~/.hessra`.
///
/// # Errors
/// Usage: there is no home directory.
pub(crate) fn home() -> Outcome<PathBuf> {
    let chosen = std::env::var_os("HESSRA_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let personal = || std::env::home_dir().map(|home| home.join(".hessra"));
    chosen.or_else(personal).ok_or_else(|| {
        CommandError::usage("there is no home directory to keep tokens in")
            .hint("Set HESSRA_HOME to a folder of yours.")
    })
}

fn base(home: &Path, context: Option<&str>) -> PathBuf {
    context.map_or_else(
        || home.to_path_buf(),
        |name| home.join("contexts").join(name),
    )
}

fn token_folder(home: &Path, context: Option<&str>) -> PathBuf {
    let chosen = std::env::var_os("HESSRA_TOKEN_DIR")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    chosen.unwrap_or_else(|| base(home, context).join("tokens"))
}

/// Addresses of the only server that this home knows, for when none is named anywhere; with several, none.
fn only_known_server(home: &Path) -> Outcome<Vec<String>> {
    let folders = known_server_folders(home);
    let [folder] = folders.as_slice() else {
        return Ok(Vec::new());
    };
    let settings = ServerSettings::read(folder)?;
    let seeds = if settings.seeds.is_empty() {
        settings.hostname.clone().into_iter().collect()
    } else {
        settings.seeds
    };
    Ok(seeds)
}

fn known_server_folders(home: &Path) -> Vec<PathBuf> {
    files::folders_in(&home.join("servers"))
}

/// Servers that this home knows, by `HOST[:PORT]`.
///
/// # Errors
/// A file that cannot be read or understood.
pub(crate) fn known_servers(home: &Path) -> Outcome<Vec<(String, ServerSettings)>> {
    let folders = known_server_folders(home);
    let known = folders
        .iter()
        .filter(|folder| folder.join("server.toml").exists());
    known
        .map(|folder| {
            let settings = ServerSettings::read(folder)?;
            let name = match (&settings.hostname, settings.port) {
                (Some(host), Some(port)) if port != PORT_DEFAULT => format!("{host}:{port}"),
                (Some(host), _) => host.clone(),
                (None, _) => folder
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into(),
            };
            Ok((name, settings))
        })
        .collect()
}

/// Settings that were remembered of the first server: under its name with the port, or under the host as version 0.3
/// did.
fn known_settings(home: &Path, servers: &[String], port: Option<u16>) -> Outcome<ServerSettings> {
    let Some(first) = servers.first() else {
        return Ok(ServerSettings::default());
    };
    let first = Endpoint::parse(first, port.unwrap_or(PORT_DEFAULT))?;
    let folders =
        [folder_name(&first), first.host().to_owned()].map(|name| home.join("servers").join(name));
    let known = folders
        .iter()
        .find(|folder| folder.join("server.toml").exists());
    known.map_or_else(
        || Ok(ServerSettings::default()),
        |folder| ServerSettings::read(folder),
    )
}

fn parse_all(texts: &[String], port: Option<u16>) -> Outcome<Vec<Endpoint>> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    Ok(Servers::parse(texts, port.unwrap_or(PORT_DEFAULT))?
        .as_slice()
        .to_vec())
}

/// Name of a server's folder: the host alone at the published port, else with the port.
fn folder_name(server: &Endpoint) -> String {
    let host = server.host().replace(':', "_");
    if server.port() == PORT_DEFAULT {
        host
    } else {
        format!("{host}_{}", server.port())
    }
}

fn no_authority() -> CommandError {
    CommandError::usage("no certificate authority is named to believe the servers by")
        .hint("Give --ca FILE, set HESSRA_CA, or set `ca` in the context.")
}

fn no_certificate() -> CommandError {
    let message = "this needs a client certificate, and none is named";
    CommandError::new(Exit::NotAuthenticated, "unauthenticated", message)
        .hint("Give --cert FILE and --key FILE, set HESSRA_CERT and HESSRA_KEY, or set them in the context.")
}

fn half(given: &str, missing: &str, variable: &str) -> CommandError {
    CommandError::usage(format!("{given} is named without {missing}"))
        .hint(format!("Give {missing} FILE or set {variable}."))
}

fn no_server() -> CommandError {
    CommandError::usage("no server is named")
        .hint("Give --server HOST:PORT, set HESSRA_SERVER, or set `default_server` in config.toml.")
}

/// Remembers a server after it has been reached with these files, so that later commands need not name them.
pub(crate) fn remember(context: &Context) -> Outcome {
    let Some(first) = context.servers.first() else {
        return Ok(());
    };
    let folder = context.server_folder(first);
    let settings = ServerSettings {
        hostname: Some(first.host().to_owned()),
        port: Some(first.port()),
        cert_path: context.cert.as_deref().and_then(absolute),
        key_path: context.key.as_deref().and_then(absolute),
        seeds: context.servers.iter().map(ToString::to_string).collect(),
        ..ServerSettings::default()
    };
    if let Some(ca) = &context.ca {
        files::write_private(&folder.join("ca.crt"), &files::read(ca)?)?;
    }
    files::write_private(&folder.join("server.toml"), settings.to_toml()?.as_bytes())
}

/// Remembers the members that the cluster named. A convenience: an error is not worth failing a command.
pub(crate) fn remember_members(context: &Context, members: &[Endpoint]) {
    let Some(first) = context.servers.first() else {
        return;
    };
    let folder = context.server_folder(first);
    let Ok(known) = ServerSettings::read(&folder) else {
        return;
    };
    let seeds: Vec<String> = members.iter().map(ToString::to_string).collect();
    if known.seeds == seeds {
        return;
    }
    let (hostname, port) = (Some(first.host().to_owned()), Some(first.port()));
    let settings = ServerSettings {
        hostname,
        port,
        seeds,
        ..known
    };
    if let Ok(text) = settings.to_toml() {
        let _ = files::write_private(&folder.join("server.toml"), text.as_bytes());
    }
}

/// Absolute form of a path: a relative one would break after `cd`.
fn absolute(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_name_tells_two_ports_apart() {
        let folder = |text: &str| folder_name(&text.parse().expect("an address"));
        assert_eq!(folder("localhost"), "localhost");
        assert_eq!(folder("localhost:7401"), "localhost_7401");
        assert_eq!(folder("[::1]:7401"), "__1_7401");
    }

    #[test]
    fn a_certificate_never_gets_the_key_of_another_place() {
        let path = |name: &str| Some(PathBuf::from(name));
        let chosen = pair([
            (None, None),
            (path("a.crt"), None),
            (path("b.crt"), path("b.key")),
        ]);
        assert_eq!(chosen, (path("a.crt"), None));
    }
}
