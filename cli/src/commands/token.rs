//! `hessra token …`: any token, looked at and explained.

mod denied;
mod explain;
mod given;

use super::identity;
use crate::args::TokenCommand;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Console;

use given::given;

/// Runs one of the commands.
pub(super) async fn run(context: &Context, console: Console, command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Inspect(arguments) => {
            identity::inspect(console, &given(context, arguments.token.as_deref())?)
        }
        TokenCommand::Explain(arguments) => explain::run(context, console, &arguments).await,
    }
}
