//! `hessra init` and `hessra config …`: the servers and contexts that this command knows.
//!
//! Nothing here needs a cluster. `init` and `refresh` ask one for its keys when they can; when they cannot, they say so
//! and do not fail, because everything else has been done.

mod edit;
mod known;
mod server;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::args::{
    ConfigCommand, Confirmation, ConnectionArguments, GetValue, ListServers, RemoveServer,
    ServerName, SetValue,
};
use crate::commands::confirm::{self, Decided};
use crate::context::{self, Settings};
use crate::failure::Outcome;
use crate::output::Console;

use edit::Editor;
pub(super) use server::init;

/// Runs one of the commands.
pub(super) async fn run(
    connection: &ConnectionArguments,
    console: Console,
    command: ConfigCommand,
) -> Outcome {
    let home = context::home()?;
    match command {
        ConfigCommand::Init(arguments) => init(connection, console, &arguments).await,
        ConfigCommand::Refresh(arguments) => server::refresh(connection, console, &arguments).await,
        ConfigCommand::List(arguments) => list(&home, console, &arguments),
        ConfigCommand::Show(arguments) => show(&home, console, &arguments),
        ConfigCommand::Switch(arguments) => switch(&home, console, &arguments),
        ConfigCommand::Remove(arguments) => remove(&home, console, &arguments),
        ConfigCommand::Set(arguments) => set(&home, console, &arguments),
        ConfigCommand::Get(arguments) => get(&home, console, &arguments),
        ConfigCommand::Path => path(&home, console),
    }
}

fn list(home: &Path, console: Console, arguments: &ListServers) -> Outcome {
    let settings = Settings::read(home)?;
    let folders = context::known_servers(home)?;
    let servers: Vec<Value> = folders
        .iter()
        .map(|(name, known)| match arguments.details {
            false => json!(name),
            true => server::to_json(name, known),
        })
        .collect();
    let default = settings.default_server();
    let contexts: Vec<&str> = settings.context_names().collect();
    let value = json!({
        "servers": servers,
        "count": servers.len(),
        "default_server": default,
        "contexts": contexts,
        "current_context": settings.current_context,
    });
    console.answer(&value, || {
        let mark = |chosen: bool| if chosen { "* " } else { "  " };
        let mut text = String::new();
        for (name, known) in &folders {
            text += &format!("{}{name}\n", mark(default == Some(name.as_str())));
            if arguments.details {
                text += &server::to_text(known);
            }
        }
        for name in contexts {
            let chosen = settings.current_context.as_deref() == Some(name);
            text += &format!("{}context {name}\n", mark(chosen));
        }
        text
    })
}

fn show(home: &Path, console: Console, arguments: &ServerName) -> Outcome {
    let settings = Settings::read(home)?;
    if let Ok(chosen) = settings.context(Some(&arguments.name)) {
        let value = json!({
            "context": arguments.name, "servers": chosen.servers, "port": chosen.port,
            "cert": chosen.cert, "key": chosen.key, "ca": chosen.ca,
        });
        return console.answer(&value, || lines(&value));
    }
    let (name, known) = known::find(home, &arguments.name)?;
    let value = server::to_json(&name, &known);
    console.answer(&value, || lines(&value))
}

/// Lines `name value`, without settings that are not set.
fn lines(value: &Value) -> String {
    let fields = value.as_object().into_iter().flatten();
    fields
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name:<12} {text}\n"),
            other => format!("{name:<12} {other}\n"),
        })
        .collect()
}

fn switch(home: &Path, console: Console, arguments: &ServerName) -> Outcome {
    let settings = Settings::read(home)?;
    let mut editor = Editor::open(&home.join("config.toml"))?;
    if settings.context(Some(&arguments.name)).is_ok() {
        editor.set("current_context", &arguments.name)?;
    } else {
        let (name, known) = known::find(home, &arguments.name)?;
        editor.set("default_server", known.hostname.as_deref().unwrap_or(&name))?;
        if let Some(port) = known.port {
            editor.set("default_port", &port.to_string())?;
        }
        // A context would win over the server that was just chosen.
        editor.unset("current_context");
    }
    editor.save()?;
    say(console, &format!("Using {}", arguments.name));
    console.answer(
        &json!({"success": true, "current": arguments.name}),
        String::new,
    )
}

fn remove(home: &Path, console: Console, arguments: &RemoveServer) -> Outcome {
    let (name, known) = known::find(home, &arguments.name)?;
    let given = Confirmation {
        yes: arguments.force,
        ..Confirmation::default()
    };
    if confirm::decided(console, &given, &name)? == Decided::Ask {
        confirm::ask(&name, "forget this server")?;
    }
    let folder = known.folder.clone();
    let kept = server::forget(&folder)?;
    let settings = Settings::read(home)?;
    if settings.default_server() == known.hostname.as_deref() && known.hostname.is_some() {
        let mut editor = Editor::open(&home.join("config.toml"))?;
        editor.unset("default_server");
        editor.unset("default_port");
        editor.save()?;
    }
    say(console, &format!("Server {name} is forgotten"));
    if kept {
        say(console, "  Its tokens of version 0.3 stay where they are");
    }
    console.answer(&json!({"success": true, "removed": name}), String::new)
}

fn set(home: &Path, console: Console, arguments: &SetValue) -> Outcome {
    let mut editor = Editor::open(&home.join("config.toml"))?;
    editor.set(&arguments.key, &arguments.value)?;
    editor.save()?;
    say(console, &format!("{} = {}", arguments.key, arguments.value));
    let value = json!({"success": true, "key": arguments.key, "value": arguments.value});
    console.answer(&value, String::new)
}

fn get(home: &Path, console: Console, arguments: &GetValue) -> Outcome {
    let editor = Editor::open(&home.join("config.toml"))?;
    match &arguments.key {
        None => console.answer(&editor.to_json(), || editor.to_string()),
        Some(key) => {
            let value = editor.get(key)?;
            console.answer(&json!({"key": key, "value": value}), || match &value {
                Value::String(text) => format!("{text}\n"),
                other => format!("{other}\n"),
            })
        }
    }
}

fn path(home: &Path, console: Console) -> Outcome {
    let path: PathBuf = home.join("config.toml");
    let value = json!({"path": path.display().to_string(), "exists": path.exists()});
    console.answer(&value, || format!("{}\n", path.display()))
}

fn say(console: Console, text: &str) {
    if !console.for_machines() {
        console.note(text);
    }
}
