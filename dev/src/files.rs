//! The files of a dev directory: policy, settings of each node, environment, keys of service nodes.

use std::path::Path;

use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use hessra_policy::PolicyView;
use miette::Diagnostic;
use rand::RngCore as _;
use rand::rngs::OsRng;

use crate::certificates::{CertificateAuthority, Purpose};
use crate::error::DevError;
use crate::layout::{Layout, NodeEntry};
use crate::write::{make_directory, replace, write_new, write_secret};

/// The files of a node that only a node can write.
pub trait NodeFiles {
    /// Error of a file that was not written.
    type Error: Diagnostic + Send + Sync + 'static;

    /// Makes 32 random bytes in a new private file: a key-encryption key, a join secret.
    ///
    /// # Errors
    /// The file cannot be made.
    fn make_secret(&self, path: &Path) -> Result<(), Self::Error>;

    /// The settings file of one node of a layout.
    ///
    /// # Errors
    /// The layout has an address that is none.
    fn settings(&self, layout: &Layout, node: &NodeEntry) -> Result<String, Self::Error>;

    /// The name by which the certificate of a member is known.
    fn member_urn(&self, id: u64) -> String;
}

fn of_node(error: impl Diagnostic + Send + Sync + 'static) -> DevError {
    DevError::Node(Box::new(error))
}

/// Names of the client certificates; their identities are `urn:hessra:NAME`.
const CLIENTS: [&str; 6] = [
    "operator",
    "responder",
    "alice",
    "gateway",
    "mycompany",
    "verifier",
];
/// Clients that are operators in the sample policy.
const OPERATORS: [&str; 2] = ["operator", "responder"];
/// Components of the sample service chain.
const CHAIN: [&str; 2] = ["edge", "middleware"];

/// Makes the files that are missing; those that are there stay as they are.
pub(crate) fn make(layout: &Layout, recipe: &impl NodeFiles) -> Result<(), DevError> {
    let directory = &layout.directory;
    for folder in ["", "clients", "chain", "home"] {
        make_directory(&directory.join(folder))?;
    }
    let public = CertificateAuthority::open(directory, "ca", "hessra dev CA")?;
    let cluster = CertificateAuthority::open(directory, "cluster-ca", "hessra dev cluster CA")?;
    for name in CLIENTS {
        let urn = format!("urn:hessra:{name}");
        let purpose = match OPERATORS.contains(&name) {
            true => Purpose::Operator(&urn),
            false => Purpose::Client(&urn),
        };
        public.issue(&directory.join("clients"), name, name, purpose)?;
    }
    for name in ["kek", "join-secret"] {
        let secret = directory.join(name);
        if !secret.exists() {
            recipe.make_secret(&secret).map_err(of_node)?;
        }
    }
    policy(directory)?;
    for node in &layout.nodes {
        node_files(layout, node, &public, &cluster, recipe)?;
    }
    environment(layout)
}

fn node_files(
    layout: &Layout,
    node: &NodeEntry,
    public: &CertificateAuthority,
    cluster: &CertificateAuthority,
    recipe: &impl NodeFiles,
) -> Result<(), DevError> {
    let directory = layout.node_directory(node.id);
    make_directory(&directory)?;
    public.issue(
        &directory,
        "server",
        &format!("node {} public", node.id),
        Purpose::Server,
    )?;
    let urn = recipe.member_urn(node.id);
    cluster.issue(
        &directory,
        "peer",
        &format!("node {} peer", node.id),
        Purpose::Member(&urn),
    )?;
    let file = directory.join("node.toml");
    if file.exists() {
        Ok(())
    } else {
        let settings = recipe.settings(layout, node).map_err(of_node)?;
        write_new(&file, &settings)
    }
}

fn policy(directory: &Path) -> Result<(), DevError> {
    let keys = CHAIN.map(|component| {
        service_node_key(&directory.join("chain").join(format!("{component}.pem")))
    });
    let [edge, middleware] = keys;
    let (clients, resources) = (
        directory.join("clients.toml"),
        directory.join("resources.toml"),
    );
    if !clients.exists() {
        write_new(&clients, CLIENTS_TOML)?;
    }
    if !resources.exists() {
        write_new(&resources, &resources_toml(&edge?, &middleware?))?;
    }
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|error| DevError::file(path, &error));
    PolicyView::parse(&read(&clients)?, &read(&resources)?)?;
    Ok(())
}

/// Public half of a service node's key, `ed25519/<hex>`; the private half is in the PEM file.
fn service_node_key(path: &Path) -> Result<String, DevError> {
    use ed25519_dalek::pkcs8::DecodePrivateKey as _;
    let refused = |reason: String| DevError::File {
        path: path.into(),
        reason,
    };
    let key = if path.exists() {
        let pem = std::fs::read_to_string(path).map_err(|error| DevError::file(path, &error))?;
        SigningKey::from_pkcs8_pem(&pem).map_err(|error| refused(error.to_string()))?
    } else {
        let mut random = [0; 32];
        OsRng.fill_bytes(&mut random);
        let key = SigningKey::from_bytes(&random);
        write_secret(
            path,
            &key.to_pkcs8_pem(LineEnding::LF)
                .map_err(|error| refused(error.to_string()))?,
        )?;
        key
    };
    Ok(format!(
        "ed25519/{}",
        HEXLOWER.encode(key.verifying_key().as_bytes())
    ))
}

fn environment(layout: &Layout) -> Result<(), DevError> {
    let directory = layout.directory.display();
    let port = layout
        .nodes
        .first()
        .and_then(|node| node.public.rsplit_once(':'))
        .map_or("", |(_, port)| port);
    let servers = layout.servers();
    let text = format!(
        "# Source it: the hessra command then speaks to this cluster as its operator.\n\
         export HESSRA_SERVER='{servers}'\n\
         export HESSRA_PORT='{port}'\n\
         export HESSRA_CA='{directory}/ca.crt'\n\
         export HESSRA_CERT='{directory}/clients/operator.crt'\n\
         export HESSRA_KEY='{directory}/clients/operator.key'\n\
         export HESSRA_HOME='{directory}/home'\n"
    );
    replace(&layout.directory.join("env"), &text)?;
    let list = layout
        .nodes
        .iter()
        .map(|node| format!("\"{}\"", node.public))
        .collect::<Vec<_>>()
        .join(", ");
    let context = format!(
        "current_context = \"dev\"\n\n[contexts.dev]\nservers = [{list}]\nca = \"{directory}/ca.crt\"\n\
         cert = \"{directory}/clients/operator.crt\"\nkey = \"{directory}/clients/operator.key\"\n"
    );
    let file = layout.directory.join("home/config.toml");
    if file.exists() {
        Ok(())
    } else {
        write_new(&file, &context)
    }
}

fn resources_toml(edge: &str, middleware: &str) -> String {
    format!(
        "# What needs more than one token. A resource that is not listed is a singleton.\n\
         version = \"0.1.0\"\n\n\
         [resources.order_service]\n\
         type = \"service_chain\"\n\
         nodes = [\n    {{ component = \"edge\", public_key = \"{edge}\" }},\n    \
         {{ component = \"middleware\", public_key = \"{middleware}\" }},\n]\n\n\
         # A capability to pay is good once, wherever it is shown.\n\
         [resources.payments.operations.pay]\n\
         single_use = true\n\n\
         # Whoever has read the files may not send mail in the same session.\n\
         [resources.files]\n\
         context_required = true\n\
         classifications = [\"PII:files\"]\n\n\
         [[exposure_rules]]\n\
         labels = [\"PII:*\"]\n\
         blocks = [\"mail\"]\n"
    )
}

const CLIENTS_TOML: &str = r#"# Who may have which token, and which operator may do what.
version = "0.2.0"

# alice may hand her identity down: urn:hessra:alice:NAME.
[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:alice" }
identity_token_enabled = true
identity_token_duration = 28800
delegable = true
resources = [
    { name = "api", operations = ["read", "write"] },
    { name = "database", operations = ["read", "write"] },
    { name = "files", operations = ["read"] },
    { name = "mail", operations = ["send"] },
]

# A delegate has an entry of its own, within what its parent may do.
[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:alice:agent" }
identity_token_enabled = true
identity_token_duration = 3600
resources = [{ name = "api", operations = ["read"] }]

[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:gateway" }
identity_token_enabled = true
identity_token_duration = 3600
stub_targets = ["urn:hessra:alice"]
resources = [
    { name = "api", operations = ["read"] },
    { name = "order_service", operations = ["create"] },
    { name = "payments", operations = ["pay"] },
]

# A realm: its members have what their role gives.
[[clients]]
identifier = { type = "san_uri", value = "urn:hessra:mycompany" }
identity_token_enabled = true
identity_token_duration = 28800
resources = [{ name = "api", operations = ["read"] }]

[clients.domain.default_role]
name = "member"
resources = [{ name = "api", operations = ["read"] }]

[[clients.domain.roles]]
name = "admin"
resources = [{ name = "api", operations = ["read", "write"] }]

[[clients.domain.role_assignments]]
subject = "urn:hessra:mycompany:admin-user"
role = "admin"

[[operators]]
identity = "urn:hessra:operator"
rights = ["revoke", "lift", "keys", "policy", "cluster", "read", "audit:read"]

# Revokes at night, and cannot undo anything.
[[operators]]
identity = "urn:hessra:responder"
rights = ["revoke", "read"]

# Verifiers that `hessra revoke --wait` waits for: an id belongs to one identity.
[[verifiers]]
identity = "urn:hessra:verifier"
ids = ["orders-*", "edge-*", "bench-*"]

[limits]
min_revocation_depth = 3
# One person alone may do what can hurt everyone: this is for trying things out.
two_person = false
"#;
