//! Tokens as people hand them over: a stored name, `@FILE`, `-` for stdin, or the token itself.
//!
//! An argument with the grammar of a stored name (at most 64 plain characters) is a name; no token is that short.

use std::io::Read;
use std::path::Path;

use crate::args::StoredTokenArguments;
use crate::context::Context;
use crate::failure::{CommandError, Outcome, in_words};
use crate::files;
use crate::store::TokenName;

/// Most that is read from stdin; a token has at most 16 KiB.
const STDIN_MAX: u64 = 64 * 1024;

/// A token and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GivenToken {
    /// The token's text.
    pub text: String,
    /// Source, for people: `default`, `@file`, `stdin`, `HESSRA_IDENTITY`, `argument`.
    pub source: String,
}

impl GivenToken {
    fn new(text: impl AsRef<str>, source: impl Into<String>) -> Outcome<Self> {
        let (text, source) = (text.as_ref().trim(), source.into());
        if text.is_empty() {
            return Err(
                CommandError::usage(format!("there is no token in {source}")).hint(
                    "Get one with `hessra identity authenticate`; `hessra identity list` shows those that are stored.",
                ),
            );
        }
        Ok(Self {
            text: text.to_owned(),
            source,
        })
    }
}

/// The token that an argument stands for.
///
/// # Errors
/// Not found, or a file that cannot be read.
pub(crate) fn read(context: &Context, argument: &str) -> Outcome<GivenToken> {
    if argument == "-" {
        return from_stdin();
    }
    if let Some(file) = argument.strip_prefix('@') {
        return from_file(Path::new(file));
    }
    match argument.parse::<TokenName>() {
        Ok(name) => GivenToken::new(context.tokens().load(&name)?, name.as_str()),
        Err(_) => GivenToken::new(argument, "argument"),
    }
}

/// The token of `--token-name` or `--token-file`, else the default one.
pub(crate) fn read_stored(
    context: &Context,
    arguments: &StoredTokenArguments,
) -> Outcome<GivenToken> {
    match (&arguments.token_name, &arguments.token_file) {
        (Some(name), _) => {
            let name: TokenName = name.parse()?;
            GivenToken::new(context.tokens().load(&name)?, name.as_str())
        }
        (None, Some(file)) if file == Path::new("-") => from_stdin(),
        (None, Some(file)) => from_file(file),
        (None, None) => read_default(context),
    }
}

/// The default identity: HESSRA_IDENTITY, then the stored `default`.
pub(crate) fn read_default(context: &Context) -> Outcome<GivenToken> {
    find_default(context)?.map_or_else(|| read(context, TokenName::default_name().as_str()), Ok)
}

/// The default identity, if there is one.
pub(crate) fn find_default(context: &Context) -> Outcome<Option<GivenToken>> {
    if let Some(text) = std::env::var("HESSRA_IDENTITY")
        .ok()
        .filter(|text| !text.trim().is_empty())
    {
        return GivenToken::new(text, "HESSRA_IDENTITY").map(Some);
    }
    let name = TokenName::default_name();
    context
        .tokens()
        .find(&name)?
        .map(|text| GivenToken::new(text, name.as_str()))
        .transpose()
}

/// The token in a file.
pub(crate) fn from_file(path: &Path) -> Outcome<GivenToken> {
    GivenToken::new(files::read_text(path)?, format!("@{}", path.display()))
}

/// The token on stdin.
pub(crate) fn from_stdin() -> Outcome<GivenToken> {
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(STDIN_MAX)
        .read_to_string(&mut text);
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => {
            CommandError::usage("stdin is not text, and so no token")
        }
        _ => CommandError::usage(format!(
            "cannot read a token from stdin: {}",
            in_words(&error)
        )),
    })?;
    GivenToken::new(text, "stdin")
}
