//! Confirmation of a change: a word to type, or given beforehand in a script.

use dialoguer::Input;
use dialoguer::theme::SimpleTheme;

use crate::args::Confirmation;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Decision before a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    /// Confirmed on the command line.
    Yes,
    /// Not confirmed yet, and a person can be asked.
    Ask,
}

/// Word to type for a target: the last segment of an identity, the last characters of an id.
pub(super) fn word_of(target: &str) -> String {
    let last = target.rsplit(':').next().unwrap_or(target);
    let is_id = !target.contains(':') && target.len() > 16;
    if is_id {
        last[last.floor_char_boundary(last.len() - 8)..].to_owned()
    } else {
        last.to_owned()
    }
}

/// Decides whether the command line confirms, or a person is to be asked.
///
/// # Errors
/// Usage: the given word is another one, or there is no person to ask.
pub(super) fn decided(console: Console, given: &Confirmation, word: &str) -> Outcome<Decided> {
    match &given.confirm {
        _ if given.yes => Ok(Decided::Yes),
        Some(typed) if typed == word => Ok(Decided::Yes),
        Some(typed) => Err(differs(typed, word)),
        None if console.may_ask() => Ok(Decided::Ask),
        None => Err(
            CommandError::usage("this needs a confirmation, and nobody can be asked").hint(
                format!("Add --yes, or --confirm {word}; --dry-run shows what would happen."),
            ),
        ),
    }
}

/// Asks for the word.
///
/// # Errors
/// Interrupted, when another word or nothing is typed.
pub(super) fn ask(word: &str, to_do: &str) -> Outcome {
    let prompt = format!("Type `{word}` to {to_do}");
    let typed: Result<String, _> = Input::with_theme(&SimpleTheme)
        .with_prompt(prompt)
        .allow_empty(true)
        .interact_text();
    match typed {
        Ok(typed) if typed.trim() == word => Ok(()),
        Ok(_) | Err(_) => Err(CommandError::interrupted(
            "not confirmed; nothing was changed",
        )),
    }
}

fn differs(typed: &str, word: &str) -> CommandError {
    CommandError::usage(format!(
        "--confirm `{typed}` is not the word to confirm with"
    ))
    .hint(format!(
        "The word is `{word}`. Check that this is what you want to change."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_to_confirm_is_the_end_of_the_target() {
        assert_eq!(word_of("urn:hessra:alice:agent"), "agent");
        assert_eq!(word_of("00112233445566778899aabbccddeeff"), "ccddeeff");
    }
}
