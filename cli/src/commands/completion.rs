//! `hessra completion SHELL`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::failure::Outcome;
use crate::output::Console;

/// Prints the script that teaches a shell our grammar.
pub(super) fn run(console: Console, shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "hessra", &mut script);
    console.data(&String::from_utf8_lossy(&script))
}
