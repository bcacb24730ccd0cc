//! `hessra identity …`: getting, passing on, checking and keeping identity tokens.

mod authenticate;
mod delegate;
mod inspect;
mod mint;
mod prune;
mod refresh;
mod stored;
mod verify;

pub(super) use inspect::{Inspected, print as inspect};

use crate::args::{Identity, IdentityCommand};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Console;

/// Runs one of the commands.
pub(super) async fn run(
    context: &Context,
    console: Console,
    identity: Identity,
    command: IdentityCommand,
) -> Outcome {
    match command {
        IdentityCommand::Authenticate(arguments) => {
            authenticate::run(context, console, &arguments).await
        }
        IdentityCommand::Delegate(arguments) => delegate::run(context, console, &arguments).await,
        IdentityCommand::Verify(arguments) => verify::run(context, console, &arguments).await,
        IdentityCommand::Refresh(arguments) => refresh::run(context, console, &arguments).await,
        IdentityCommand::Mint(arguments) => mint::run(context, console, identity, &arguments).await,
        IdentityCommand::Prune(arguments) => prune::run(context, console, &arguments),
        IdentityCommand::List(arguments) => stored::list(context, console, &arguments),
        IdentityCommand::Inspect(arguments) => inspect::run(context, console, &arguments),
        IdentityCommand::Delete(arguments) => stored::delete(context, console, &arguments),
    }
}
