//! Files of a real cluster: CAs, certificates, secrets, settings of each machine, the first policy, operators.
//!
//! ```text
//! prod/
//! ├── cluster.json            every id that was given
//! ├── ca/                     cluster.pem client.pem, and their keys: keep those offline
//! ├── secrets/                kek join-secret: the same on every member, for the next one
//! ├── node-1/                 /etc/hessra of the first machine
//! │   ├── node.toml clients.toml resources.toml
//! │   ├── peer.pem peer.key cluster-ca.pem
//! │   ├── public.pem public.key client-ca.pem
//! │   └── kek join-secret
//! └── operators/ann/          env operator.pem operator.key client-ca.pem home/
//! ```
//! Everything is written into a directory beside, which takes its name at the end: a refusal leaves nothing behind. It
//! lives here because it makes certificates, which a node for production does not link; it runs where the CAs are kept.

mod authorities;
mod error;
mod plan;
mod record;
mod staging;

use std::path::{Path, PathBuf};

use hessra_policy::PolicyView;
use miette::Diagnostic;

use authorities::{Authorities, CLIENT_CA, CLUSTER_CA};
use record::Record;
use staging::{Staging, copy, make_directory, write, write_pair};

pub use error::InitError;
pub use plan::{Host, Machine, OperatorName, Plan};

/// Files that only a node can write.
pub trait MachineFiles {
    /// Error of a file that was not written.
    type Error: Diagnostic + Send + Sync + 'static;

    /// Makes 32 random bytes in a new private file: a key-encryption key, a join secret.
    ///
    /// # Errors
    /// The file cannot be made.
    fn make_secret(&self, path: &Path) -> Result<(), Self::Error>;

    /// Settings of a node, whose files lie beside them. `founders` is empty for one that is added later.
    fn settings(&self, cluster: &str, node: &Machine, founders: &[Machine]) -> String;

    /// Name by which the certificate of a member is known.
    fn member_urn(&self, cluster: &str, id: u64) -> String;
}

/// What is added to a cluster that has its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Additions {
    pub machines: Vec<Machine>,
    pub operators: Vec<OperatorName>,
}

/// Makes the files of a new cluster. `now` is in Unix seconds.
///
/// # Errors
/// The directory is not empty, or a file cannot be made: nothing is there then that was not there before.
pub fn new_cluster(
    plan: &Plan,
    directory: &Path,
    node: &impl MachineFiles,
    now: u64,
) -> Result<(), InitError> {
    let directory = absolute(directory)?;
    if std::fs::read_dir(&directory).is_ok_and(|mut files| files.next().is_some()) {
        return Err(InitError::NotEmpty { directory });
    }
    let staging = Staging::beside(&directory)?;
    let authorities = Authorities::make(staging.path(), &plan.cluster, now)?;
    let secrets = staging.folder("secrets")?;
    for name in SECRETS {
        let made = node.make_secret(&secrets.join(name));
        made.map_err(|error| InitError::Node(Box::new(error)))?;
    }
    let policy = clients_toml(plan);
    PolicyView::parse(&policy, RESOURCES_TOML)?;
    for machine in &plan.machines {
        let folder = staging.folder(&machine.folder())?;
        let urn = node.member_urn(&plan.cluster, machine.id);
        node_files(&authorities, machine, &urn, staging.path(), &folder, now)?;
        let settings = node.settings(&plan.cluster, machine, &plan.machines);
        write(&folder.join("node.toml"), &settings)?;
        write(&folder.join("clients.toml"), &policy)?;
        write(&folder.join("resources.toml"), RESOURCES_TOML)?;
    }
    let operators = staging.folder(OPERATORS)?;
    for operator in &plan.operators {
        let folder = operators.join(operator.folder());
        operator_files(
            &authorities,
            operator,
            &plan.machines,
            staging.path(),
            &folder,
            now,
        )?;
    }
    let record = Record {
        cluster: plan.cluster.clone(),
        nodes: plan.machines.clone(),
        operators: plan.operators.clone(),
    };
    record.save(staging.path())?;
    staging.finish()
}

/// Makes the files of nodes and operators that a cluster gets later.
///
/// # Errors
/// An id was given before, names overlap, a CA cannot sign, or a file cannot be made: no part of a node or an operator is
/// there then.
pub fn add(
    additions: &Additions,
    directory: &Path,
    node: &impl MachineFiles,
    now: u64,
) -> Result<(), InitError> {
    let directory = absolute(directory)?;
    let _held = record::hold(&directory)?;
    let before = Record::read(&directory)?;
    let record = with(&before, additions, &directory)?;
    let authorities = Authorities::read(&directory, &record.cluster)?;
    let mut made = Vec::new();
    for machine in &additions.machines {
        let staging = Staging::beside(&directory.join(machine.folder()))?;
        let urn = node.member_urn(&record.cluster, machine.id);
        node_files(&authorities, machine, &urn, &directory, staging.path(), now)?;
        let settings = node.settings(&record.cluster, machine, &[]);
        write(&staging.path().join("node.toml"), &settings)?;
        made.push(staging);
    }
    for operator in &additions.operators {
        let staging = Staging::beside(&directory.join(OPERATORS).join(operator.folder()))?;
        let seeds = standing(&record.nodes, &directory, &additions.machines);
        operator_files(
            &authorities,
            operator,
            &seeds,
            &directory,
            staging.path(),
            now,
        )?;
        made.push(staging);
    }
    // First the record: a crash between the two uses an id up, and never gives one twice.
    record.save(&directory)?;
    made.into_iter().try_for_each(Staging::finish)
}

/// Makes new certificates, with new keys, for a folder that was made here. The old ones are there until all new ones are.
///
/// # Errors
/// The folder is none of a node or an operator, its cluster has no CA that can sign, or a file cannot be made: the old
/// certificates stand.
pub fn renew(folder: &Path, node: &impl MachineFiles, now: u64) -> Result<(), InitError> {
    let folder = absolute(folder)?;
    let nothing = || InitError::NothingToRenew {
        path: folder.clone(),
    };
    let name = folder.file_name().and_then(|name| name.to_str());
    let (name, above) = name.zip(folder.parent()).ok_or_else(nothing)?;
    let is_operator = above.file_name().is_some_and(|name| name == OPERATORS);
    let directory = if is_operator {
        above.parent()
    } else {
        Some(above)
    };
    let directory = directory.ok_or_else(nothing)?;
    let _held = record::hold(directory)?;
    let record = Record::read(directory)?;
    let authorities = Authorities::read(directory, &record.cluster)?;
    if !folder.is_dir() {
        return Err(nothing());
    }
    let renewed: Vec<(&str, _)> = if is_operator {
        let mut operators = record.operators.iter();
        let operator = operators.find(|operator| operator.folder() == name);
        let operator = operator.ok_or_else(nothing)?;
        vec![(OPERATOR, authorities.operator(operator, now)?)]
    } else {
        let mut machines = record.nodes.iter();
        let machine = machines.find(|machine| machine.folder() == name);
        let machine = machine.ok_or_else(nothing)?;
        let urn = node.member_urn(&record.cluster, machine.id);
        vec![
            (PEER, authorities.member(machine, &urn, now)?),
            (PUBLIC, authorities.server(machine, now)?),
        ]
    };
    let staging = Staging::beside(&folder)?;
    let replaced = |file: &str| {
        let mut names = renewed.iter().map(|(name, _)| *name);
        names.any(|name| {
            file.strip_prefix(name)
                .is_some_and(|end| end == ".pem" || end == ".key")
        })
    };
    copy_all(&folder, staging.path(), &replaced)?;
    for (name, pair) in &renewed {
        write_pair(staging.path(), name, pair)?;
    }
    staging.exchange()
}

const SECRETS: [&str; 2] = ["kek", "join-secret"];
const OPERATORS: &str = "operators";
const OPERATOR: &str = "operator";
const PEER: &str = "peer";
const PUBLIC: &str = "public";

fn absolute(path: &Path) -> Result<PathBuf, InitError> {
    let absolute = std::path::absolute(path).map_err(|error| InitError::file(path, &error))?;
    // Without a `/` at the end, which would hide the name.
    Ok(absolute.components().collect())
}

/// The record with the additions.
fn with(before: &Record, additions: &Additions, directory: &Path) -> Result<Record, InitError> {
    let mut record = before.clone();
    for machine in &additions.machines {
        record.is_new(machine)?;
        record.nodes.push(machine.clone());
    }
    let standing = standing(&before.nodes, directory, &additions.machines);
    plan::distinct_hosts(&standing, |before| {
        format!(
            "When node {id} was removed (`hessra cluster remove {id}`), delete `{folder}`",
            id = before.id,
            folder = directory.join(before.folder()).display()
        )
    })?;
    record.operators.extend(additions.operators.iter().cloned());
    plan::distinct_operators(&record.operators)?;
    Ok(record)
}

/// Nodes whose folder was not deleted, and those that come.
fn standing(nodes: &[Machine], directory: &Path, new: &[Machine]) -> Vec<Machine> {
    let nodes = nodes.iter().filter(|node| !new.contains(node));
    let there = nodes.filter(|node| directory.join(node.folder()).exists());
    there.chain(new).cloned().collect()
}

fn node_files(
    authorities: &Authorities,
    machine: &Machine,
    urn: &str,
    cluster: &Path,
    folder: &Path,
    now: u64,
) -> Result<(), InitError> {
    write_pair(folder, PEER, &authorities.member(machine, urn, now)?)?;
    write_pair(folder, PUBLIC, &authorities.server(machine, now)?)?;
    copy(&cluster.join(CLUSTER_CA), &folder.join("cluster-ca.pem"))?;
    copy(&cluster.join(CLIENT_CA), &folder.join("client-ca.pem"))?;
    for name in SECRETS {
        copy(&cluster.join("secrets").join(name), &folder.join(name))?;
    }
    Ok(())
}

fn operator_files(
    authorities: &Authorities,
    operator: &OperatorName,
    seeds: &[Machine],
    cluster: &Path,
    folder: &Path,
    now: u64,
) -> Result<(), InitError> {
    make_directory(&folder.join("home"))?;
    write_pair(folder, OPERATOR, &authorities.operator(operator, now)?)?;
    copy(&cluster.join(CLIENT_CA), &folder.join("client-ca.pem"))?;
    write(&folder.join("env"), &environment(seeds))
}

/// Environment of an operator: works wherever the folder is moved to.
fn environment(seeds: &[Machine]) -> String {
    let servers: Vec<String> = seeds.iter().map(Machine::public).collect();
    format!(
        "# Source it in bash or zsh: the hessra command then speaks to this cluster as this operator.\n\
         here=\"$(cd \"$(dirname \"${{BASH_SOURCE[0]:-$0}}\")\" && pwd)\"\n\
         export HESSRA_SERVER='{}'\n\
         export HESSRA_CA=\"$here/client-ca.pem\"\n\
         export HESSRA_CERT=\"$here/operator.pem\"\n\
         export HESSRA_KEY=\"$here/operator.key\"\n\
         export HESSRA_HOME=\"$here/home\"\n\
         unset here\n",
        servers.join(",")
    )
}

/// Copies a folder without the files that are made anew.
fn copy_all(from: &Path, to: &Path, is_left_out: &dyn Fn(&str) -> bool) -> Result<(), InitError> {
    let files = std::fs::read_dir(from).map_err(|error| InitError::file(from, &error))?;
    for file in files {
        let file = file.map_err(|error| InitError::file(from, &error))?;
        let (path, name) = (file.path(), file.file_name());
        if path.is_dir() {
            make_directory(&to.join(&name))?;
            copy_all(&path, &to.join(&name), &|_| false)?;
        } else if !name.to_str().is_some_and(is_left_out) {
            copy(&path, &to.join(&name))?;
        }
    }
    Ok(())
}

fn clients_toml(plan: &Plan) -> String {
    let mut text = "# Who may have which token, and which operator may do what: docs/policy.md. Read once, by a new cluster; afterwards\n\
                    # `hessra policy apply` changes it.\n\
                    version = \"0.2.0\"\n"
        .to_owned();
    for operator in plan.operators() {
        text += &format!(
            "\n[[operators]]\nidentity = \"{}\"\nroles = [\"administrator\"]\n",
            operator.urn()
        );
    }
    let two_person = plan.two_person();
    text += &format!(
        "\n[limits]\n\
         # What can undo safety or hurt everyone waits for a second operator. Have three before you switch it on.\n\
         two_person = {two_person}\n"
    );
    text
}

const RESOURCES_TOML: &str = "# What needs more than one token. A resource that is not listed is a singleton.\n\
                              version = \"0.1.0\"\n";

#[cfg(test)]
mod tests;
