//! `hessra-node init`: the files of a real cluster. Only a node for development has it, because it makes certificates; it runs
//! where the CAs are kept, and never on a node.

use std::path::{Path, PathBuf};

use clap::Args;
use hessra_dev::init::{Additions, Machine, MachineFiles, OperatorName, Plan, add, new_cluster};
use hessra_node::config::{Config, InitialMember};
use hessra_node::edge::{Clock, random_bytes};
use hessra_node::seal::{KekSource, SealError, create_file};
use hessra_node::tls::node_urn;

/// The operator of a cluster for which none is named.
const OPERATOR: &str = "urn:hessra:operator";
/// Data directory of a node: the `StateDirectory` of the shipped unit.
const DATA: &str = "/var/lib/hessra";

/// Options of `init`.
#[derive(Args)]
pub(crate) struct InitArguments {
    /// The new directory. It must not be there, or be empty.
    #[arg(
        value_name = "DIR",
        required_unless_present = "into",
        conflicts_with = "into"
    )]
    directory: Option<PathBuf>,
    /// Name of the new cluster.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "into",
        conflicts_with = "into"
    )]
    cluster: Option<String>,
    /// A node: its number, and the name or address of its machine. `1=node1.example`, `1=10.0.0.1:PEER-PORT:PUBLIC-PORT`.
    #[arg(
        long = "node",
        value_name = "ID=HOST",
        required_unless_present = "into",
        conflicts_with = "into"
    )]
    nodes: Vec<Machine>,
    /// An operator: a name for its certificate, with all rights in the policy of a new cluster [default: urn:hessra:operator].
    #[arg(long = "operator", value_name = "URN")]
    operators: Vec<OperatorName>,
    /// Add to the cluster that is in this directory.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// A node to add, as `--node` names it. An id that was given before is refused.
    #[arg(long = "add", value_name = "ID=HOST", requires = "into")]
    added: Vec<Machine>,
}

/// Error of a secret that was not written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error(transparent)]
struct NotWritten(#[from] SealError);

/// The writer of a machine's files.
struct OfMachine;

pub(crate) fn execute(arguments: InitArguments) -> miette::Result<()> {
    let now = now();
    if let Some(directory) = arguments.into {
        let additions = Additions {
            machines: arguments.added,
            operators: arguments.operators,
        };
        if additions == Additions::default() {
            miette::bail!(
                "nothing is to be added: name a node with `--add ID=HOST`, or an operator with `--operator URN`"
            );
        }
        add(&additions, &directory, &OfMachine, now)?;
        eprint!("{}", added(&additions, &directory));
        return Ok(());
    }
    let (directory, cluster) = arguments
        .directory
        .zip(arguments.cluster)
        .expect("clap demands both");
    let operators = match arguments.operators.is_empty() {
        true => vec![OPERATOR.parse()?],
        false => arguments.operators,
    };
    let plan = Plan::new(&cluster, arguments.nodes, operators)?;
    new_cluster(&plan, &directory, &OfMachine, now)?;
    eprint!("{}", made(&plan, &directory));
    Ok(())
}

pub(crate) fn renew(folder: &Path) -> miette::Result<()> {
    hessra_dev::init::renew(folder, &OfMachine, now())?;
    eprintln!(
        "{}: new keys and certificates. Copy them to where the old ones are: they are read without a restart.",
        folder.display()
    );
    Ok(())
}

fn now() -> u64 {
    Clock::start().wall().seconds().0
}

fn made(plan: &Plan, directory: &Path) -> String {
    let directory = directory.display();
    let mut text = String::new();
    for machine in plan.machines() {
        text += &format!(
            "{directory}/{}: /etc/hessra of {}\n",
            machine.folder(),
            machine.host
        );
    }
    for operator in plan.operators() {
        text += &format!(
            "{directory}/operators/{}: for {}\n",
            operator.folder(),
            operator.urn()
        );
    }
    if !plan.two_person() {
        text += "One person alone may do what can hurt everyone: name three operators, and the policy demands two of them.\n";
    }
    text + &format!(
        "Take {directory}/ca/*.key offline when this is done: whoever has them can be any node and any operator.\n\
         What comes next: docs/operations.md.\n"
    )
}

fn added(additions: &Additions, directory: &Path) -> String {
    let directory = directory.display();
    let mut text = String::new();
    for machine in &additions.machines {
        text += &format!(
            "{directory}/{}: /etc/hessra of {}. When it runs: hessra cluster add {} --peer {} --public {}\n",
            machine.folder(),
            machine.host,
            machine.id,
            machine.peer(),
            machine.public()
        );
    }
    for operator in &additions.operators {
        text += &format!(
            "{directory}/operators/{}: for {}. It may do what the policy says, and nothing before: hessra policy apply\n",
            operator.folder(),
            operator.urn()
        );
    }
    text
}

impl MachineFiles for OfMachine {
    type Error = NotWritten;

    fn make_secret(&self, path: &Path) -> Result<(), NotWritten> {
        Ok(create_file(path, random_bytes())?)
    }

    fn settings(&self, cluster: &str, node: &Machine, founders: &[Machine]) -> String {
        let mut config = Config::default();
        config.cluster.name = cluster.to_owned();
        config.cluster.node_id = node.id;
        let member = |machine: &Machine| InitialMember {
            id: machine.id,
            peer: machine.peer(),
            public: machine.public(),
        };
        config.cluster.initial_members = founders.iter().map(member).collect();
        config.cluster.join_secret = "join-secret".into();
        (config.listen.peer, config.listen.public) = node.listening();
        config.storage.path = DATA.into();
        config.public_tls.certificate = "public.pem".into();
        config.public_tls.key = "public.key".into();
        config.public_tls.client_ca = "client-ca.pem".into();
        config.public_tls.server_ca = "client-ca.pem".into();
        config.peer_tls.certificate = "peer.pem".into();
        config.peer_tls.key = "peer.key".into();
        config.peer_tls.ca = "cluster-ca.pem".into();
        config.keys.kek = KekSource::File("kek".into());
        if !founders.is_empty() {
            config.policy.clients = "clients.toml".into();
            config.policy.resources = "resources.toml".into();
        }
        config.show()
    }

    fn member_urn(&self, cluster: &str, id: u64) -> String {
        node_urn(cluster, id)
    }
}
