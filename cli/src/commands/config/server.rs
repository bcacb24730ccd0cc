//! Servers that are remembered, with what they say of themselves.

use std::path::Path;

use hessra_sdk_rust::IdentityClient;
use serde_json::{Value, json};

use super::edit::Editor;
use super::known;
use crate::args::{ConnectionArguments, InitArguments, ServerName};
use crate::context::{self, Context, ServerSettings};
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::files;
use crate::output::Console;
use crate::signing_key;

/// Files in a server's folder that this command writes.
const OURS: [&str; 4] = [
    "server.toml",
    "ca.crt",
    "public_key.pem",
    "public_keys.json",
];

/// Remembers a server with the files that were named, and fetches its keys.
pub(crate) async fn init(
    connection: &ConnectionArguments,
    console: Console,
    arguments: &InitArguments,
) -> Outcome {
    let mut connection = connection.clone();
    if let Some(server) = &arguments.named {
        connection.server = vec![server.clone()];
    }
    let context = Context::resolve(&connection)?;
    let server = context.require_servers()?[0].clone();
    let folder = context.server_folder(&server);
    if folder.join("server.toml").exists() && !arguments.force {
        return Err(CommandError::new(
            Exit::Conflict,
            "conflict",
            format!("server {server} is known already"),
        )
        .hint("Add --force to replace what is known, or use `hessra config refresh`."));
    }
    context.credentials()?;
    context::remember(&context)?;
    if arguments.set_default {
        let mut editor = Editor::open(&context.config_file())?;
        editor.set("default_server", server.host())?;
        editor.set("default_port", &server.port().to_string())?;
        editor.save()?;
    }
    let fetched = match arguments.skip_fetch {
        true => Fetched::default(),
        false => fetch(&context, console).await,
    };
    let value = json!({
        "success": true,
        "server": server.host(),
        "port": server.port(),
        "ca_fetched": fetched.ca,
        "public_key_fetched": fetched.keys,
        "set_as_default": arguments.set_default,
    });
    if !console.for_machines() {
        console.success(&format!("Server {server} is known now"));
        console.detail(&format!("  Files:  {}", folder.display()));
    }
    console.answer(&value, String::new)
}

/// Fetches keys and CA of a known server again.
pub(super) async fn refresh(
    connection: &ConnectionArguments,
    console: Console,
    arguments: &ServerName,
) -> Outcome {
    let home = context::home()?;
    let (name, known) = known::find(&home, &arguments.name)?;
    let mut connection = connection.clone();
    connection.server = vec![known.hostname.clone().unwrap_or_else(|| name.clone())];
    connection.port = connection.port.or(known.port);
    let context = Context::resolve(&connection)?;
    let fetched = fetch(&context, console).await;
    let value = json!({
        "success": fetched.keys,
        "server": name,
        "ca_fetched": fetched.ca,
        "public_key_fetched": fetched.keys,
    });
    console.answer(&value, String::new)?;
    if !fetched.keys {
        let message = format!("the keys of {name} could not be fetched");
        return Err(CommandError::unavailable(message)
            .hint("See `hessra doctor`, and check --ca and --port."));
    }
    if !console.for_machines() {
        console.success(&format!("The keys of {name} are those it has now"));
    }
    Ok(())
}

#[derive(Default)]
struct Fetched {
    ca: bool,
    keys: bool,
}

/// Fetches keys and CA over a connection that the CA known here vouches for: a CA that anybody on the way may exchange
/// is none.
async fn fetch(context: &Context, console: Console) -> Fetched {
    let client = context
        .connection()
        .and_then(|connection| Ok(IdentityClient::new(connection)?));
    let client = match client {
        Ok(client) => client,
        Err(failure) => {
            console.warn(&format!("nothing was fetched: {failure}"));
            return Fetched::default();
        }
    };
    let keys = match client.public_keys().await {
        Ok(keys) => signing_key::remember(context, &keys),
        Err(error) => Err(error.into()),
    };
    if let Err(failure) = &keys {
        console.warn(&format!("the public keys were not fetched: {failure}"));
        return Fetched::default();
    }
    let ca = match client.ca_certificate().await {
        Ok(pem) => keep_ca(context, &pem),
        Err(error) => Err(error.into()),
    };
    if let Err(failure) = &ca {
        console.detail(&format!("  the CA was not fetched: {failure}"));
    }
    Fetched {
        ca: ca.is_ok(),
        keys: true,
    }
}

fn keep_ca(context: &Context, pem: &str) -> Outcome {
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(
            CommandError::unavailable("the server's CA is no certificate").hint(
                "Get the CA's certificate from who runs the cluster, and give it with --ca FILE.",
            ),
        );
    }
    let server = &context.require_servers()?[0];
    files::write_private(
        &context.server_folder(server).join("ca.crt"),
        pem.as_bytes(),
    )
}

/// Deletes what this command wrote about a server. True when something of version 0.3 stays.
pub(super) fn forget(folder: &Path) -> Outcome<bool> {
    for name in OURS {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(CommandError::file("delete", &path, &error)),
        }
    }
    // Tokens that version 0.3 keeps in it are somebody's: a folder that is not empty stays.
    Ok(std::fs::remove_dir(folder).is_err())
}

pub(super) fn to_json(name: &str, known: &ServerSettings) -> Value {
    json!({
        "server": name,
        "hostname": known.hostname,
        "port": known.port,
        "cert_path": known.cert_path,
        "key_path": known.key_path,
        "ca": known.ca,
        "seeds": known.seeds,
        "public_key": known.folder.join("public_key.pem").exists(),
    })
}

pub(super) fn to_text(known: &ServerSettings) -> String {
    let path = |name: &str, path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .map(|path| format!("    {name:<5} {}\n", path.display()))
            .unwrap_or_default()
    };
    path("cert", &known.cert_path) + &path("key", &known.key_path) + &path("ca", &known.ca)
}
