//! `hessra identity …`: getting, passing on, checking and keeping identity tokens.

mod authenticate;
mod delegate;
mod inspect;
mod stored;
mod verify;

pub use verify::revocation_json;

use crate::args::IdentityCommand;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Console;

/// Runs one of the commands.
pub async fn run(context: &Context, console: Console, command: IdentityCommand) -> Outcome {
    match command {
        IdentityCommand::Authenticate(arguments) => {
            authenticate::run(context, console, &arguments).await
        }
        IdentityCommand::Delegate(arguments) => delegate::run(context, console, &arguments).await,
        IdentityCommand::Verify(arguments) => verify::run(context, console, &arguments).await,
        IdentityCommand::List(arguments) => stored::list(context, console, &arguments),
        IdentityCommand::Inspect(arguments) => inspect::run(context, console, &arguments),
        IdentityCommand::Delete(arguments) => stored::delete(context, console, &arguments),
    }
}
