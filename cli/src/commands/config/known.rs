//! Servers that are known here.

use std::path::Path;

use crate::context;
use crate::failure::{CommandError, Outcome};

/// The known server of a name: with its port, or by host alone when only one has it.
pub(super) fn find(home: &Path, name: &str) -> Outcome<(String, context::ServerSettings)> {
    let known = context::known_servers(home)?;
    let names: Vec<String> = known.iter().map(|(name, _)| name.clone()).collect();
    let of_host = |(_, settings): &(String, context::ServerSettings)| {
        settings.hostname.as_deref() == Some(name)
    };
    let exact = known.iter().find(|(known, _)| known == name).cloned();
    let mut hosts = known.into_iter().filter(of_host);
    exact
        .or_else(|| hosts.next().filter(|_| hosts.next().is_none()))
        .ok_or_else(|| {
            let list = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            CommandError::not_found(format!("no server or context `{name}` is known here")).hint(
                format!("Known servers: {list}. `hessra init SERVER` adds one."),
            )
        })
}
