//! Options that every command takes: how to reach the cluster, and how to answer.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hessra_sdk_rust::RequestId;
use hessra_sdk_rust::revocation::FeedId;
use hessra_settings::duration;

/// How to reach the cluster. A value given here wins over the environment, that over the context in
/// `config.toml`, that over the default.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArguments {
    /// A node, `HOST[:PORT]`; more with commas or by repeating. One is enough: it knows the others.
    #[arg(
        short,
        long,
        global = true,
        env = "HESSRA_SERVER",
        value_delimiter = ',',
        value_name = "HOST[:PORT]"
    )]
    pub server: Vec<String>,
    /// Port of servers named without one [default: 443].
    #[arg(short, long, global = true, env = "HESSRA_PORT")]
    pub port: Option<u16>,
    /// Client certificate (PEM file).
    #[arg(long, global = true, env = "HESSRA_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Private key of the client certificate (PEM file).
    #[arg(long, global = true, env = "HESSRA_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Certificate authority of the servers (PEM file).
    #[arg(long, global = true, env = "HESSRA_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Id of the cluster that changes are signed for [default: what the server says]. `hessra status` shows it. Give it
    /// where one authority certifies the operators of several clusters.
    #[arg(long, global = true, env = "HESSRA_CLUSTER", value_name = "ID", value_parser = clap::value_parser!(FeedId))]
    pub cluster: Option<FeedId>,
    /// A context of `config.toml`.
    #[arg(
        short = 'C',
        long,
        global = true,
        env = "HESSRA_CONTEXT",
        value_name = "NAME"
    )]
    pub context: Option<String>,
    /// How long to wait for an answer [default: 10s].
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse_argument)]
    pub timeout: Option<Duration>,
    /// Identity token to ask with, a stored name or `@FILE`; HESSRA_IDENTITY holds a token itself.
    #[arg(long, global = true, value_name = "NAME|@FILE")]
    pub identity_token: Option<String>,
}

/// Who asks, as far as the command line says.
pub(crate) enum Identity {
    /// The holder of this token: a stored name or `@FILE`.
    Token(String),
    /// The holder of the client certificate, which was named on purpose.
    Certificate,
    /// Whoever can be found: a default token, else the certificate.
    Default,
}

impl Identity {
    /// A token that is named wins over a certificate that is named, that over what the environment has.
    pub(crate) fn chosen(arguments: &ConnectionArguments, certificate_named: bool) -> Self {
        match &arguments.identity_token {
            Some(token) => Self::Token(token.clone()),
            None if certificate_named => Self::Certificate,
            None => Self::Default,
        }
    }
}

/// How to answer.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArguments {
    /// Form of the answer on stdout [default: text].
    #[arg(
        short,
        long,
        global = true,
        env = "HESSRA_OUTPUT",
        value_name = "FORMAT"
    )]
    pub output: Option<Format>,
    /// The same as `--output json`.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more.
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Say only what failed.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Colour in text [default: auto].
    #[arg(long, global = true, value_name = "WHEN")]
    pub color: Option<ColorWhen>,
    /// Never ask; fail instead.
    #[arg(long, global = true)]
    pub no_input: bool,
}

impl OutputArguments {
    /// `--json` wins over `--output`, because it can only have been typed.
    pub(crate) fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else {
            self.output.unwrap_or_default()
        }
    }
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON value.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// A token and nothing else.
    Token,
}

/// When text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a change is asked for once more, whose outcome is unknown.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Asking again")]
pub(crate) struct Retry {
    /// Ask again for a change whose outcome is unknown, under the id that was named with it: it is made once, and the answer
    /// is that of the first time.
    #[arg(long, value_name = "HEX|UUID")]
    pub request_id: Option<RequestId>,
}

impl Retry {
    /// The id to ask under: the given one, or a new one.
    pub(crate) fn id(self) -> RequestId {
        self.request_id.unwrap_or_else(RequestId::random)
    }

    /// True when it was asked for before, and may be done.
    pub(crate) fn is_again(self) -> bool {
        self.request_id.is_some()
    }
}

/// How a destructive command is confirmed.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Confirmation")]
pub(crate) struct Confirmation {
    /// Show what would happen, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Confirm by name, for scripts: the word that would have to be typed.
    #[arg(long, value_name = "NAME", conflicts_with = "yes")]
    pub confirm: Option<String>,
}
