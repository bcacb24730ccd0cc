//! The two files of a policy on this computer.

use std::path::{Path, PathBuf};

use hessra_policy::{CLIENTS_FILE, PolicyError, PolicyView, RESOURCES_FILE};
use hessra_sdk_rust::v1::{PolicyTexts, ProposedPolicy};

use crate::args::PolicyFiles;
use crate::failure::Outcome;
use crate::files;

/// Texts of a policy, and the name that they were given.
pub(super) struct Texts {
    name: PathBuf,
    pub clients: String,
    pub resources: String,
}

impl Texts {
    /// Reads a folder, or one or two files. A missing resources file is an empty one: every resource a singleton.
    ///
    /// # Errors
    /// Not found, or a file that is not a text of at most 1 MiB.
    pub(super) fn read(named: &PolicyFiles) -> Outcome<Self> {
        let is_folder = named.clients.is_dir();
        let clients = if is_folder {
            named.clients.join(CLIENTS_FILE)
        } else {
            named.clients.clone()
        };
        let resources = match &named.resources {
            Some(path) => files::read_text(path)?,
            None => beside(&clients)?,
        };
        Ok(Self {
            clients: files::read_text(&clients)?,
            resources,
            name: named.clients.clone(),
        })
    }

    /// Texts of an earlier revision.
    pub(super) fn of_revision(revision: u64, wire: PolicyTexts) -> Self {
        Self {
            name: PathBuf::from(format!("revision {revision}")),
            clients: wire.clients_toml,
            resources: wire.resources_toml,
        }
    }

    /// Texts of a policy that waits for approval.
    pub(super) fn proposed(wire: &ProposedPolicy) -> Self {
        Self {
            name: PathBuf::from("the proposed policy"),
            clients: wire.clients_toml.clone(),
            resources: wire.resources_toml.clone(),
        }
    }

    /// Name that a person gave.
    pub(super) fn name(&self) -> String {
        self.name.display().to_string()
    }

    /// View of the texts, parsed and checked.
    pub(super) fn view(&self) -> Result<PolicyView, PolicyError> {
        PolicyView::parse(&self.clients, &self.resources)
    }

    /// Message for a server.
    pub(super) fn to_wire(&self) -> PolicyTexts {
        PolicyTexts {
            clients_toml: self.clients.clone(),
            resources_toml: self.resources.clone(),
        }
    }
}

fn beside(clients: &Path) -> Outcome<String> {
    let folder = clients.parent().unwrap_or(Path::new("."));
    let text = files::read_text_if_there(&folder.join(RESOURCES_FILE))?;
    Ok(text.unwrap_or_default())
}
