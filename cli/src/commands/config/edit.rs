//! Changes config.toml in place: comments and order stay as people wrote them.
//!
//! A change is checked by reading the result as every other command will: a key that does not exist or a value of
//! another type is refused, and the file stays as it was.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::context::Settings;
use crate::failure::{CommandError, Outcome, in_words};
use crate::files;

pub(super) struct Editor {
    path: PathBuf,
    document: DocumentMut,
}

impl Editor {
    /// Opens a file.
    ///
    /// # Errors
    /// Usage: the file is no TOML.
    pub(super) fn open(path: &Path) -> Outcome<Self> {
        let text = files::read_text_if_there(path)?.unwrap_or_default();
        let document = text.parse().map_err(|error: toml_edit::TomlError| {
            CommandError::usage(format!(
                "{} cannot be understood: {}",
                path.display(),
                error.to_string().trim_end()
            ))
            .hint("Correct it there, or move it away to begin with a new one.")
        })?;
        Ok(Self {
            path: path.to_owned(),
            document,
        })
    }

    /// Sets a value: a number where one is expected, a list for `servers`, else text.
    ///
    /// # Errors
    /// Usage: no such key, or a value that does not fit.
    pub(super) fn set(&mut self, key: &str, text: &str) -> Outcome {
        let parts = parts(key)?;
        let (last, tables) = parts.split_last().expect("a key has at least one part");
        let mut table: &mut Table = self.document.as_table_mut();
        for part in tables {
            let made = || {
                let mut made = Table::new();
                made.set_implicit(true);
                Item::Table(made)
            };
            let entry = table.entry(part).or_insert_with(made);
            table = entry.as_table_mut().ok_or_else(|| {
                CommandError::usage(format!("`{part}` in `{key}` is a value, not a table"))
                    .hint("`hessra config list` shows the keys that are set.")
            })?;
        }
        table[*last] = typed(last, text)?;
        Settings::parse(&self.document.to_string(), &self.path).map(|_| ())
    }

    /// Removes a value of the top level.
    pub(super) fn unset(&mut self, key: &str) {
        self.document.remove(key);
    }

    /// Value of a key.
    ///
    /// # Errors
    /// Not found.
    pub(super) fn get(&self, key: &str) -> Outcome<Value> {
        let found = parts(key)?
            .iter()
            .try_fold(self.to_json(), |value, part| value.get(part).cloned());
        found.ok_or_else(|| {
            CommandError::not_found(format!("`{key}` is not set in {}", self.path.display()))
                .hint("See `hessra config get` for all that is.")
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let table: toml::Table = self.document.to_string().parse().unwrap_or_default();
        serde_json::to_value(table).unwrap_or_default()
    }

    pub(super) fn save(&self) -> Outcome {
        files::write_private(&self.path, self.document.to_string().as_bytes())
    }
}

impl fmt::Display for Editor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

fn parts(key: &str) -> Outcome<Vec<&str>> {
    let parts: Vec<&str> = key.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(CommandError::usage(format!("`{key}` is not a key")).hint(
            "Keys are words with dots between them: default_server, contexts.production.ca.",
        ));
    }
    Ok(parts)
}

fn typed(name: &str, text: &str) -> Outcome<Item> {
    match name {
        "port" | "default_port" => {
            let port: u16 = text.parse().map_err(|_| {
                CommandError::usage(format!("`{text}` is not a port")).hint("Ports are 1 to 65535.")
            })?;
            Ok(value(i64::from(port)))
        }
        "servers" => Ok(value(text.split(',').map(str::trim).collect::<Array>())),
        // Relative paths would break after `cd`.
        "cert" | "key" | "ca" | "default_cert_path" | "default_key_path" | "default_ca_path" => {
            let path = std::path::absolute(text).map_err(|error| {
                CommandError::usage(format!("`{text}` is not a path: {}", in_words(&error)))
            })?;
            Ok(value(path.display().to_string()))
        }
        _ => Ok(value(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn editor(folder: &tempfile::TempDir, text: &str) -> Editor {
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).expect("written");
        Editor::open(&path).expect("opened")
    }

    #[test]
    fn comments_and_order_survive_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut editor = editor(
            &folder,
            "# mine\ndefault_server = 'a' # why\ndefault_port = 1\n",
        );
        editor.set("default_port", "7401").expect("set");
        editor.save().expect("saved");
        let text = std::fs::read_to_string(folder.path().join("config.toml")).expect("read");
        assert_eq!(
            text,
            "# mine\ndefault_server = 'a' # why\ndefault_port = 7401\n"
        );
    }

    #[test]
    fn a_context_is_made_by_setting_its_values() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut editor = editor(&folder, "");
        editor
            .set("contexts.production.servers", "a:1, b:2")
            .expect("set");
        editor.set("contexts.production.ca", "/ca").expect("set");
        assert_eq!(
            editor.get("contexts.production").expect("there"),
            serde_json::json!({"servers": ["a:1", "b:2"], "ca": "/ca"})
        );
    }

    #[test]
    fn what_other_commands_would_not_understand_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for (key, text) in [
            ("defualt_server", "x"),
            ("default_port", "many"),
            ("a..b", "x"),
            ("contexts.p.color", "x"),
        ] {
            assert!(editor(&folder, "").set(key, text).is_err(), "{key}");
        }
        assert!(editor(&folder, "").get("default_server").is_err());
    }
}
