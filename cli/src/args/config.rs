//! `hessra init` and `hessra config …`

use clap::{Args, Subcommand};

/// What to do with the configuration of this command.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Remember a server, as `hessra init` does.
    Init(InitArguments),
    /// The servers and contexts that are known here.
    List(ListServers),
    /// What is known about one server or context.
    Show(ServerName),
    /// Use this server or context when none is named.
    Switch(ServerName),
    /// Fetch the public keys of a server again, and its CA.
    Refresh(ServerName),
    /// Forget a server. Tokens stay.
    Remove(RemoveServer),
    /// Set a value of config.toml.
    Set(SetValue),
    /// Show a value of config.toml, or all of them.
    Get(GetValue),
    /// Where the configuration is.
    Path,
}

/// `init` and `config init`
#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The server, `HOST[:PORT]` [default: --server].
    #[arg(value_name = "SERVER")]
    pub named: Option<String>,
    /// Use it when no other is named.
    #[arg(long)]
    pub set_default: bool,
    /// Ask the server nothing.
    #[arg(long)]
    pub skip_fetch: bool,
    /// Also when it is known already.
    #[arg(long)]
    pub force: bool,
}

/// `config list`
#[derive(Debug, Args)]
pub(crate) struct ListServers {
    /// With what is known about each.
    #[arg(long)]
    pub details: bool,
}

/// A server or a context.
#[derive(Debug, Args)]
pub(crate) struct ServerName {
    /// `HOST[:PORT]`, or the name of a context.
    #[arg(value_name = "SERVER")]
    pub name: String,
}

/// `config remove`
#[derive(Debug, Args)]
pub(crate) struct RemoveServer {
    /// `HOST[:PORT]`.
    #[arg(value_name = "SERVER")]
    pub name: String,
    /// Do not ask.
    #[arg(short, long, visible_alias = "yes", short_alias = 'y')]
    pub force: bool,
}

/// `config set`
#[derive(Debug, Args)]
pub(crate) struct SetValue {
    /// Key, with dots for what is inside: `contexts.production.ca`.
    #[arg(id = "setting", value_name = "KEY")]
    pub key: String,
    /// Value; several servers with commas.
    pub value: String,
}

/// `config get`
#[derive(Debug, Args)]
pub(crate) struct GetValue {
    /// Key [default: all].
    #[arg(id = "setting", value_name = "KEY")]
    pub key: Option<String>,
}
