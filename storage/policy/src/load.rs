//! Loading: from two texts to a checked policy, or to everything that is wrong with them.

mod clients;
mod names;
mod operators;
mod realms;
mod resources;
mod verifiers;

use hessra_settings::{Document, Faults};

use crate::view::PolicyView;
use crate::{CLIENTS_FILE, PolicyError, RESOURCES_FILE};

impl PolicyView {
    /// Reads and checks the two texts. The default view, of no texts, permits nothing.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line and column; at most [`crate::PROBLEMS_MAX`].
    pub fn parse(clients_toml: &str, resources_toml: &str) -> Result<Self, PolicyError> {
        let mut of_clients = Faults::new(CLIENTS_FILE, clients_toml);
        let mut of_resources = Faults::new(RESOURCES_FILE, resources_toml);
        let mut view = Self::default();
        let document = Document::parse(resources_toml, &mut of_resources);
        resources::load(document.section(), &mut view, &mut of_resources);
        let document = Document::parse(clients_toml, &mut of_clients);
        clients::load(document.section(), &mut view, &mut of_clients);
        let mut problems = of_clients.into_found();
        problems.extend(of_resources.into_found());
        if problems.is_empty() {
            Ok(view)
        } else {
            let texts = [
                (CLIENTS_FILE, clients_toml),
                (RESOURCES_FILE, resources_toml),
            ];
            Err(PolicyError::new(problems, &texts))
        }
    }
}
