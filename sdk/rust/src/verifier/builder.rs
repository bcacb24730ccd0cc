//! Builder of a verifier, and the start of its background work.

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hessra_proto::VerifierId;
use hessra_proto::convert::{OBSERVER, process_capability};
use hessra_revocation::Follower;
use hessra_sdk_core as core;
use rand::RngCore;
use tokio::sync::watch;
use tracing::warn;

use super::Verifier;
use super::background::Background;
use crate::cache::{Found, Snapshot, StateDirectory};
use crate::follow::{Driver, Plan, TokenSource};
use crate::knowledge::Knowledge;
use crate::{
    ClientError, Connection, Credentials, Ed25519, Servers, StalenessPolicy, Trust, config, keeper,
};

impl Verifier {
    /// Builder of a verifier: its servers, its identity, its strictness.
    #[must_use]
    pub fn builder() -> VerifierBuilder {
        VerifierBuilder::default()
    }
}

/// Builder of a verifier. Servers and a CA are needed; all else has a default.
#[derive(Debug)]
pub struct VerifierBuilder {
    servers: Option<Servers>,
    trust: Option<Trust>,
    credentials: Option<Credentials>,
    identity_token: Option<TokenSource>,
    id: Option<VerifierId>,
    state_dir: Option<PathBuf>,
    config: core::VerifierConfig,
    memory: core::MemorySize,
    feed_keys: BTreeMap<u32, [u8; 32]>,
    connect_timeout: Option<Duration>,
    port_default: u16,
    observer: bool,
}

impl Default for VerifierBuilder {
    fn default() -> Self {
        Self {
            servers: None,
            trust: None,
            credentials: None,
            identity_token: None,
            id: None,
            state_dir: None,
            config: core::VerifierConfig::default(),
            memory: core::MemorySize::default(),
            feed_keys: BTreeMap::new(),
            connect_timeout: None,
            port_default: config::PORT_DEFAULT,
            observer: false,
        }
    }
}

impl VerifierBuilder {
    /// Port of servers that are named without one, from here on. Default 443.
    #[must_use]
    pub fn default_port(mut self, port: u16) -> Self {
        self.port_default = port;
        self
    }

    /// Nodes to follow, as `HOST:PORT`: the verifier starts at one chosen by its name, and goes on to the others.
    ///
    /// # Errors
    /// `invalid_argument` for a text that is no address.
    pub fn servers<T: AsRef<str>>(
        mut self,
        servers: impl IntoIterator<Item = T>,
    ) -> Result<Self, ClientError> {
        self.servers = Some(Servers::parse(servers, self.port_default)?);
        Ok(self)
    }

    /// Takes servers, trust and credentials from a connection.
    #[must_use]
    pub fn connection(mut self, connection: Connection) -> Self {
        self.servers = Some(connection.servers);
        self.trust = Some(connection.trust);
        self.credentials = connection.credentials;
        self.connect_timeout = Some(connection.connect_timeout);
        self
    }

    /// The authorities that nodes are believed by, as a PEM file.
    ///
    /// # Errors
    /// When it cannot be read or holds no certificate.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Result<Self, ClientError> {
        self.trust = Some(Trust::file(path)?);
        Ok(self)
    }

    /// The authorities that nodes are believed by.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The verifier's own certificate, by which the cluster knows it.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Identity token by which the cluster knows the verifier, where it has no certificate. `source` is asked whenever a stream
    /// is opened: a stream lasts as long as the token that it was opened with, so hand out one that is renewed.
    #[must_use]
    pub fn identity_token(
        mut self,
        source: impl Fn() -> Result<String, ClientError> + Send + Sync + 'static,
    ) -> Self {
        self.identity_token = Some(TokenSource(Arc::new(source)));
        self
    }

    /// Id of the verifier in `hessra feed verifiers`: 1 to 64 of `[A-Za-z0-9._-]`, unique; one that the policy's
    /// `[[verifiers]]` tie to its identity, or revocations do not wait for it. Random when not given.
    ///
    /// # Errors
    /// `invalid_argument` with the grammar.
    pub fn id(mut self, id: &str) -> Result<Self, ClientError> {
        self.id =
            Some(VerifierId::parse(id).map_err(|error| ClientError::invalid(error.to_string()))?);
        Ok(self)
    }

    /// Directory to keep what is known, so that a restart forgets no denial. Nothing is kept when not given.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(path.into());
        self
    }

    /// Policy for knowledge that is old. Default: strict, 5 s.
    #[must_use]
    pub fn staleness(mut self, policy: StalenessPolicy) -> Self {
        self.config.staleness = policy;
        self
    }

    /// Accepts delegations with checks of their holder's own making, and evaluates them. Default: refuses them.
    #[must_use]
    pub fn policy_checks(mut self, checks: core::PolicyChecks) -> Self {
        self.config.policy_checks = checks;
        self
    }

    /// Difference that the clocks of issuer and verifier may have.
    #[must_use]
    pub fn skew(mut self, skew: Duration) -> Self {
        self.config.skew_seconds = skew.as_secs();
        self
    }

    /// Size of the memory of tokens and signatures that were verified before. Default: about 8 MiB, and 64 at most. It holds tokens
    /// that were used here; a size of zero keeps none:
    ///
    /// ```
    /// use hessra_sdk_rust::{MemorySize, Verifier};
    /// let builder = Verifier::builder().memory(MemorySize {
    ///     tokens: 0,
    ///     signatures: 0,
    /// });
    /// ```
    #[must_use]
    pub fn memory(mut self, size: core::MemorySize) -> Self {
        self.memory = size;
        self
    }

    /// Believes checkpoints by this feed key (SPKI PEM) from the start. Without any, those that the first node names
    /// over TLS are believed.
    ///
    /// # Errors
    /// `invalid_argument` when it is not an Ed25519 key in PEM.
    pub fn feed_key(mut self, id: u32, pem: &str) -> Result<Self, ClientError> {
        use ed25519_dalek::VerifyingKey;
        use ed25519_dalek::pkcs8::DecodePublicKey;
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| {
            ClientError::invalid(format!("feed key {id} is not an Ed25519 key in PEM"))
        })?;
        self.feed_keys.insert(id, key.to_bytes());
        Ok(self)
    }

    /// Observes only, for tools: a wait for a revocation to be enforced does not include this verifier.
    #[must_use]
    pub fn observer(mut self) -> Self {
        self.observer = true;
        self
    }

    /// Begins to follow in the background, and returns at once: see [`Verifier::ready`].
    ///
    /// # Errors
    /// `invalid_argument` without servers or CA, `conflict` when the state directory is in use or its mark is damaged.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(self) -> Result<Verifier, ClientError> {
        let connection = self.take_connection()?;
        let directory = self
            .state_dir
            .as_ref()
            .map(StateDirectory::open)
            .transpose()?
            .map(Arc::new);
        let found = directory
            .as_ref()
            .map(|directory| directory.load(&self.feed_keys))
            .transpose()?;
        let found = found.unwrap_or_default();
        if let Some(ignored) = &found.ignored {
            warn!("{ignored}; it is fetched again");
        }
        let published = Arc::new(Knowledge::new(staleness_max(&self.config.staleness)));
        let (plan, snapshots) = self.plan(connection, found, &published);
        let background = start(plan, directory, snapshots, Arc::clone(&published));
        Ok(Verifier {
            core: Arc::new(core::RememberingVerifier::new(
                core::TokenVerifier::new(self.config),
                self.memory,
                RandomState::new(),
            )),
            published,
            background: Arc::new(background),
        })
    }

    fn take_connection(&self) -> Result<Connection, ClientError> {
        let missing = |what: &str| ClientError::invalid(format!("a verifier needs {what}"));
        let servers = self
            .servers
            .clone()
            .ok_or_else(|| missing("at least one server"))?;
        let trust = self
            .trust
            .clone()
            .ok_or_else(|| missing("the authority's certificate"))?;
        let mut connection = Connection::new(servers, trust);
        connection.credentials = self.credentials.clone();
        connection.connect_timeout = self.connect_timeout.unwrap_or(connection.connect_timeout);
        Ok(connection)
    }

    fn plan(
        &self,
        connection: Connection,
        found: Found,
        published: &Arc<Knowledge>,
    ) -> (Plan, watch::Receiver<Option<Snapshot>>) {
        let pinned = self.feed_keys.clone();
        let follower = match found.view {
            Some(view) => Follower::resume(Ed25519::default(), pinned, view),
            None => Follower::new(Ed25519::default(), pinned),
        };
        let (snapshots, receiver) = watch::channel(None);
        let verifier_id = self.id.clone().unwrap_or_else(random_id);
        let capabilities = self
            .observer
            .then(|| OBSERVER.to_owned())
            .into_iter()
            .chain([process_capability(rand::random())])
            .collect();
        let published = Arc::clone(published);
        (
            Plan {
                connection,
                identity_token: self.identity_token.clone(),
                verifier_id,
                capabilities,
                follower,
                mark: found.mark,
                published,
                snapshots,
            },
            receiver,
        )
    }
}

fn start(
    plan: Plan,
    directory: Option<Arc<StateDirectory>>,
    snapshots: watch::Receiver<Option<Snapshot>>,
    published: Arc<Knowledge>,
) -> Background {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = vec![tokio::spawn(Driver::new(plan).run(stopped))];
    // The driver holds the sender: when it ends, the last state is written and this task ends too.
    tasks.extend(
        directory.map(|directory| tokio::spawn(keeper::keep_on_disk(directory, snapshots))),
    );
    let timer = tokio::spawn(keeper::watch_the_time(published));
    Background {
        stop,
        tasks: Mutex::new(tasks),
        timer,
    }
}

/// Age beyond which a verifier no longer counts as fresh.
fn staleness_max(policy: &StalenessPolicy) -> Duration {
    match policy {
        StalenessPolicy::Strict { max } | StalenessPolicy::Bounded { max, .. } => *max,
        // The cluster's own bound remains.
        StalenessPolicy::BestEffort => Duration::MAX,
    }
}

fn random_id() -> VerifierId {
    let mut bytes = [0; 8];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    let name = format!("anonymous-{}", data_encoding::HEXLOWER.encode(&bytes));
    VerifierId::parse(&name).expect("letters, digits and a hyphen")
}
