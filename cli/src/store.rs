//! Store of tokens between commands: one private file per name.
//!
//! ```text
//! $HESSRA_TOKEN_DIR, else HOME/tokens (HOME/contexts/NAME/tokens in a context)
//! └── NAME.token          mode 0600, no trailing newline
//! ```
//!
//! Tokens that version 0.3 of this command stored are found too (`HOME/servers/SERVER/tokens`), and never changed.
//! The names `-` and `@…` cannot be stored: on the command line they mean stdin and a file.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::failure::{CommandError, Outcome};
use crate::files;

/// Ending of a token's file.
const ENDING: &str = ".token";
/// Longest name.
const NAME_MAX: usize = 64;

/// Name of a stored token: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenName(String);

impl TokenName {
    /// The name that is used when none is given.
    pub(crate) fn default_name() -> Self {
        Self("default".to_owned())
    }

    /// Name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = CommandError;

    fn from_str(text: &str) -> Outcome<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let good = (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(allowed) && text != "-";
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(bad_name(text))
        }
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn bad_name(text: &str) -> CommandError {
    let shown: String = text.chars().take(NAME_MAX).collect();
    CommandError::usage(format!("`{shown}` is not a name for a token")).hint(
        "Names have 1 to 64 letters, digits, dots, underscores or hyphens, and `-` alone is stdin.",
    )
}

/// Store of tokens.
#[derive(Clone, Debug)]
pub(crate) struct TokenStore {
    folder: PathBuf,
    older: Vec<PathBuf>,
}

impl TokenStore {
    /// Store of the tokens in `folder`; those in the `older` folders are only read.
    pub(crate) fn new(folder: PathBuf, older: Vec<PathBuf>) -> Self {
        Self { folder, older }
    }

    /// The folder that is written to.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Saves a token under a name, in place of an earlier one. Returns its path.
    pub(crate) fn save(&self, name: &TokenName, token: &str) -> Outcome<PathBuf> {
        let path = self.path(&self.folder, name);
        files::write_private(&path, token.as_bytes())?;
        Ok(path)
    }

    /// The token of a name; `None` when there is none.
    pub(crate) fn find(&self, name: &TokenName) -> Outcome<Option<String>> {
        let found = self
            .folders()
            .map(|folder| self.path(folder, name))
            .find(|path| path.exists());
        found
            .map(|path| files::read_text(&path).map(|text| text.trim().to_owned()))
            .transpose()
    }

    /// The token of a name.
    ///
    /// # Errors
    /// Not found, with where it was looked for.
    pub(crate) fn load(&self, name: &TokenName) -> Outcome<String> {
        self.find(name)?.ok_or_else(|| {
            CommandError::not_found(format!("no token `{name}` is stored in {}", self.folder.display()))
                .hint("See `hessra identity list`, or get one with `hessra identity authenticate --save-as NAME`.")
        })
    }

    /// Deletes a token. True when there was one.
    pub(crate) fn delete(&self, name: &TokenName) -> Outcome<bool> {
        let path = self.path(&self.folder, name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(CommandError::file("delete", &path, &error)),
        }
    }

    /// Names of all tokens, sorted.
    pub(crate) fn names(&self) -> Outcome<Vec<TokenName>> {
        let mut names = BTreeSet::new();
        for folder in self.folders().filter(|folder| folder.exists()) {
            let entries =
                fs::read_dir(folder).map_err(|error| CommandError::file("read", folder, &error))?;
            names.extend(
                entries
                    .flatten()
                    .filter_map(|entry| stored_name(&entry.file_name().to_string_lossy())),
            );
        }
        Ok(names.into_iter().collect())
    }

    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.folder).chain(&self.older)
    }

    fn path(&self, folder: &Path, name: &TokenName) -> PathBuf {
        folder.join(format!("{name}{ENDING}"))
    }
}

fn stored_name(file_name: &str) -> Option<TokenName> {
    file_name.strip_suffix(ENDING)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn name(text: &str) -> TokenName {
        text.parse().expect("a good name")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        for text in ["", "-", "../x", "a/b", "a b", "é", "@file", &"x".repeat(65)] {
            assert!(text.parse::<TokenName>().is_err(), "{text}");
        }
        for text in ["default", "a.b_c-D9", "..", &"x".repeat(64)] {
            assert!(text.parse::<TokenName>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_stored_token_is_private_and_comes_back() {
        let home = tempfile::tempdir().expect("a folder");
        let store = TokenStore::new(home.path().join("a/tokens"), Vec::new());
        let path = store.save(&name("agent"), "first").expect("saved");
        store.save(&name("agent"), "second").expect("saved again");
        assert_eq!(store.load(&name("agent")).expect("loaded"), "second");
        assert_eq!((mode(&path), mode(store.folder())), (0o600, 0o700));
        assert_eq!(
            fs::read_dir(store.folder()).expect("a folder").count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn an_older_folder_is_read_but_never_written() {
        let home = tempfile::tempdir().expect("a folder");
        let older = home.path().join("older");
        fs::create_dir(&older).expect("made");
        fs::write(older.join("main.token"), "old\n").expect("written");
        let store = TokenStore::new(home.path().join("new"), vec![older.clone()]);
        assert_eq!(store.load(&name("main")).expect("loaded"), "old");
        store.save(&name("main"), "new").expect("saved");
        assert_eq!(store.load(&name("main")).expect("loaded"), "new");
        assert_eq!(
            fs::read_to_string(older.join("main.token")).expect("still there"),
            "old\n"
        );
    }

    #[test]
    fn names_are_listed_once_and_sorted() {
        let home = tempfile::tempdir().expect("a folder");
        let store = TokenStore::new(home.path().join("t"), vec![home.path().join("none")]);
        assert!(store.names().expect("empty").is_empty());
        for token in ["b", "a"] {
            store.save(&name(token), "x").expect("saved");
        }
        fs::write(store.folder().join("not-a-token.txt"), "x").expect("written");
        assert_eq!(store.names().expect("listed"), [name("a"), name("b")]);
        assert!(store.delete(&name("a")).expect("deleted"));
        assert!(!store.delete(&name("a")).expect("deleted before"));
    }
}
