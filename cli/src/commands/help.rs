//! `hessra help [COMMAND…|exit-codes]`

use clap::CommandFactory;

use crate::args::Arguments;
use crate::exit;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;

/// Prints the help of a command, or the exit codes.
pub(super) fn run(console: Console, topic: &[String]) -> Outcome {
    if topic.len() == 1 && topic[0] == "exit-codes" {
        return console.data(&exit::table());
    }
    let mut root = Arguments::command();
    root.build();
    let mut command = &mut root;
    for word in topic {
        command = command
            .find_subcommand_mut(word)
            .ok_or_else(|| unknown(word))?;
    }
    console.data(&command.render_long_help().ansi().to_string())
}

fn unknown(word: &str) -> CommandError {
    CommandError::usage(format!("there is no command `{word}`"))
        .hint("See `hessra --help` and `hessra help exit-codes`.")
}
