//! Output of commands: data on stdout, everything for a person on stderr.
//!
//! A command makes one answer and hands it over in the forms it has; [`Console`] prints the one that was asked for.
//! No colour, prompt or animation when the stream is not a terminal, and none with `NO_COLOR`.

mod table;
mod when;

use std::io::{self, IsTerminal, Write};

use anstream::ColorChoice;
use serde_json::{Value, json};

use crate::args::{ColorWhen, Format, OutputArguments};
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome, in_words};

pub(crate) use table::Table;
pub(crate) use when::{clock_second, clock_time, timestamp};

/// Green, for marks of success.
const GREEN: &str = "\x1b[32m";
/// Yellow, for what needs a look.
const YELLOW: &str = "\x1b[33m";
/// Red, for what failed.
const RED: &str = "\x1b[31m";
/// Plain text again.
const PLAIN: &str = "\x1b[0m";

/// The two streams of this process and how to use them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    pub format: Format,
    pub verbose: bool,
    quiet: bool,
    no_input: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    stdin_is_terminal: bool,
}

impl Console {
    /// The console that the options ask for. Sets the colour choice of the process.
    pub(crate) fn new(arguments: &OutputArguments) -> Self {
        match arguments.color.unwrap_or_default() {
            ColorWhen::Auto => ColorChoice::Auto.write_global(),
            ColorWhen::Always => ColorChoice::Always.write_global(),
            ColorWhen::Never => ColorChoice::Never.write_global(),
        }
        Self {
            format: arguments.format(),
            verbose: arguments.verbose,
            quiet: arguments.quiet,
            no_input: arguments.no_input,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            stdin_is_terminal: io::stdin().is_terminal(),
        }
    }

    /// True when stdout is read by a person.
    pub(crate) fn stdout_is_terminal(&self) -> bool {
        self.stdout_is_terminal
    }

    /// True when a question may be asked.
    pub(crate) fn may_ask(&self) -> bool {
        self.stdin_is_terminal && self.stderr_is_terminal && !self.no_input
    }

    /// True when progress may be drawn over itself.
    pub(crate) fn may_animate(&self) -> bool {
        self.stderr_is_terminal && !self.quiet
    }

    /// True when the answer is for a program.
    pub(crate) fn for_machines(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Token as it is printed: alone. Only people get the newline; published readers refuse a file that has one.
    pub(crate) fn token_text(&self, token: &str) -> String {
        if self.stdout_is_terminal {
            format!("{token}\n")
        } else {
            token.to_owned()
        }
    }

    /// Prints an answer: `value` for programs, else what `text` makes, which ends its own lines.
    pub(crate) fn answer(&self, value: &Value, text: impl FnOnce() -> String) -> Outcome {
        match self.format {
            Format::Json => self.data(&format!("{value:#}\n")),
            Format::Jsonl => self.data(&format!("{value}\n")),
            Format::Text | Format::Token => self.data(&text()),
        }
    }

    /// Prints a list: one value with all of them, one line each, or text.
    pub(crate) fn answer_list(
        &self,
        whole: &Value,
        items: &[Value],
        text: impl FnOnce() -> String,
    ) -> Outcome {
        match self.format {
            Format::Jsonl => items
                .iter()
                .try_for_each(|item| self.data(&format!("{item}\n"))),
            _ => self.answer(whole, text),
        }
    }

    /// Prints one event of a stream: programs get one line of JSON in either JSON form.
    pub(crate) fn event(&self, value: &Value, text: impl FnOnce() -> String) -> Outcome {
        if self.for_machines() {
            self.data(&format!("{value}\n"))
        } else {
            self.data(&format!("{}\n", text()))
        }
    }

    /// Prints the answer to a change that is made. `done`: a sentence that says which, also when nothing can be printed.
    pub(crate) fn committed(
        &self,
        done: &str,
        value: &Value,
        text: impl FnOnce() -> String,
    ) -> Outcome {
        let printed = match self.format {
            Format::Json => print(&format!("{value:#}\n")),
            Format::Jsonl => print(&format!("{value}\n")),
            Format::Text | Format::Token => print(&text()),
        };
        printed.map_err(|error| not_printed(done, &error))
    }

    /// Writes to stdout as it is. A reader that went away ends the command quietly: for answers that change nothing.
    pub(crate) fn data(&self, text: &str) -> Outcome {
        match print(text) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                std::process::exit(i32::from(Exit::Done.code()))
            }
            Err(error) => Err(CommandError::new(
                Exit::Failed,
                "output",
                format!("cannot print to stdout: {}", in_words(&error)),
            )
            .hint("Look at where stdout goes, and run the command again: it changes nothing.")),
        }
    }

    /// Reports a success.
    pub(crate) fn success(&self, text: &str) {
        self.note(&format!("{GREEN}✓{PLAIN} {text}"));
    }

    /// Warns of something that needs a look. Programs get an object, so that each line of stderr is JSON.
    pub(crate) fn warn(&self, text: &str) {
        if self.for_machines() {
            say(&json!({"warning": {"message": text}}).to_string());
        } else {
            say(&format!("{YELLOW}!{PLAIN} {text}"));
        }
    }

    /// Notes something in passing, to people.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.for_machines() {
            say(text);
        }
    }

    /// Reports what is wrong with a file, drawn for people; also when only failures are asked for.
    pub(crate) fn report(&self, text: &str) {
        if !self.for_machines() {
            say(text);
        }
    }

    /// Adds a detail, with `--verbose` only.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// Reports the failure of the command, in the form that was asked for.
    pub(crate) fn failure(&self, failure: &CommandError) {
        if self.for_machines() {
            return say(&failure.to_json().to_string());
        }
        match failure.exit {
            Exit::No => say(&format!("{RED}✗{PLAIN} {failure}")),
            Exit::Unconfirmed | Exit::CannotTell => self.warn(&failure.message),
            _ => say(&format!("{RED}error:{PLAIN} {failure}")),
        }
        failure
            .hint
            .iter()
            .for_each(|hint| say(&format!("  hint: {hint}")));
        let known = failure.request_id.as_ref().filter(|_| self.verbose);
        known.iter().for_each(|id| say(&format!("  request: {id}")));
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
}

/// Failure to print the answer to a change that is made: whoever reads the exit code must not take it for one that is not.
pub(crate) fn not_printed(done: &str, error: &io::Error) -> CommandError {
    CommandError::new(
        Exit::Unconfirmed,
        "not_printed",
        format!(
            "{done}; only printing the answer to stdout failed: {}",
            in_words(error)
        ),
    )
    .hint("It is done: do not run the command again. Look at where stdout goes.")
}

/// Mark for a line of a report: good, to look at, or bad.
pub(crate) fn mark(exit: Exit) -> String {
    match exit {
        Exit::Done => format!("{GREEN}✓{PLAIN}"),
        Exit::Unconfirmed | Exit::CannotTell => format!("{YELLOW}!{PLAIN}"),
        _ => format!("{RED}✗{PLAIN}"),
    }
}

/// Writes a line to stderr. An error is ignored: there is no other place to report it.
fn say(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_whose_answer_could_not_be_printed_is_said_to_be_made() {
        let done = "revocation rv_7 is committed at revision 7";
        for (kind, expected) in [
            (io::ErrorKind::BrokenPipe, "who reads it has closed it"),
            (io::ErrorKind::StorageFull, "no room is left on its disk"),
        ] {
            let failure = not_printed(done, &kind.into());
            assert_eq!(
                failure.message,
                format!("{done}; only printing the answer to stdout failed: {expected}")
            );
            assert_eq!(
                (failure.exit, failure.retryable),
                (Exit::Unconfirmed, false)
            );
        }
    }
}
