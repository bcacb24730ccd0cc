//! The commands: each reads its arguments, asks the SDK, and hands one answer to the console.

mod action;
mod approvals;
mod audit;
mod authorize;
mod cluster;
mod completion;
mod config;
mod confirm;
mod doctor;
mod feed;
mod help;
mod identity;
mod keys;
mod man;
mod policy;
mod revocations;
mod revoke;
mod status;
mod token;
mod waiting;

use crate::args::{Arguments, Command, Identity};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Console;

/// Runs the command that was asked for.
pub(crate) async fn run(arguments: Arguments, console: Console) -> Outcome {
    // Help must work when nothing else does.
    match &arguments.command {
        Command::Help { topic } => return help::run(console, topic),
        Command::Completion { shell } => return completion::run(console, *shell),
        Command::Man { folder } => return man::run(console, folder),
        Command::Doctor => return doctor::run(&arguments.connection, console).await,
        _ => (),
    }
    if let Command::Config(command) = arguments.command {
        return config::run(&arguments.connection, console, command).await;
    }
    if let Command::Init(command) = arguments.command {
        return config::init(&arguments.connection, console, &command).await;
    }
    let context = Context::resolve(&arguments.connection)?;
    run_in(&context, console, arguments).await?;
    context.confirmed()
}

async fn run_in(context: &Context, console: Console, arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Identity(command) => {
            let identity = Identity::chosen(&arguments.connection, arguments.certificate_named);
            identity::run(context, console, identity, command).await
        }
        Command::Token(command) => token::run(context, console, command).await,
        Command::Authorize(command) => {
            let identity = Identity::chosen(&arguments.connection, arguments.certificate_named);
            authorize::run(context, console, identity, command).await
        }
        Command::Revoke(arguments) => revoke::run(context, console, &arguments).await,
        Command::Revocations(command) => revocations::run(context, console, command).await,
        Command::Status => status::run(context, console).await,
        Command::Cluster(command) => cluster::run(context, console, command).await,
        Command::Audit(command) => audit::run(context, console, command).await,
        Command::Keys(command) => keys::run(context, console, command).await,
        Command::Approvals(command) => approvals::run(context, console, command).await,
        Command::Policy(command) => policy::run(context, console, command).await,
        Command::Feed(command) => feed::run(context, console, command).await,
        Command::Help { .. }
        | Command::Completion { .. }
        | Command::Man { .. }
        | Command::Doctor
        | Command::Config(_)
        | Command::Init(_) => Ok(()),
    }
}
