//! `hessra-node`: runs one authority node, or a local cluster to try things on.

mod certificate;
#[cfg(feature = "dev")]
mod dev;
#[cfg(feature = "dev")]
mod init;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use miette::IntoDiagnostic as _;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use tokio::signal::unix::{SignalKind, signal};

#[cfg(feature = "dev")]
use hessra_dev::{DevOptions, NODES_MAX};
use hessra_node::config::Config;
use hessra_node::edge::random_bytes;
use hessra_node::node::{Node, NodeError};
use hessra_node::seal::create_file;
use hessra_node::telemetry::{Collected, Metrics, start_logs};

/// The allocator. A write makes hundreds of small allocations that another thread frees; the system's allocator took a
/// quarter of a node's time for them (`bench revoke --profile`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "hessra-node",
    version,
    about = "One authority node of a hessra cluster",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node until SIGTERM or Ctrl-C. SIGHUP reads its certificates anew.
    Run {
        /// Its settings. `hessra-node config show` prints all of them, with what each means.
        #[arg(long, env = "HESSRA_NODE_CONFIG")]
        config: PathBuf,
        /// Process id of the process that started this one: ends when that one ends.
        #[cfg(feature = "dev")]
        #[arg(long, hide = true)]
        parent: Option<u32>,
    },
    /// Run a whole cluster on this machine, with certificates, keys and a sample policy of its own.
    #[cfg(feature = "dev")]
    Dev {
        /// How many nodes. A directory that has a cluster keeps its number.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
        nodes: Option<u64>,
        /// Where everything is kept. The same directory resumes the same cluster.
        #[arg(long, default_value = "hessra-dev")]
        dir: PathBuf,
        /// Node N listens on BASE+N for clients, BASE+10+N for members, BASE+20+N for operations. 0: free ports.
        #[arg(long, default_value_t = 7400)]
        base_port: u16,
        /// Start a node again when it dies. Without, it is reported.
        #[arg(long)]
        restart: bool,
        /// Only make the files of a new cluster; start nothing. `hessra-node run` starts each node by hand.
        #[arg(long, conflicts_with = "restart")]
        prepare: bool,
    },
    /// Make the files of a real cluster: CAs, certificates, secrets, settings of each machine, operators. Run it where the CAs
    /// are kept, see docs/operations.md.
    #[cfg(feature = "dev")]
    Init(init::InitArguments),
    /// Not in this program, which has no certificate maker: `cargo build --release -p hessra-node` makes one that has it.
    #[cfg(not(feature = "dev"))]
    #[command(disable_help_flag = true)]
    Init {
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        any: Vec<std::ffi::OsString>,
    },
    /// Look at certificates, and renew them.
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// Look at settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make a key-encryption key: 32 random bytes, in hexadecimal, in a new file that only you can read.
    Keygen {
        /// The new file. Every member of a cluster needs the same one.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check settings, the files they name, and the policy. Silent and 0 when all is well.
    Check {
        #[arg(long, env = "HESSRA_NODE_CONFIG")]
        config: PathBuf,
    },
    /// Print the settings in force, with a comment for each. Without --config, the defaults.
    Show {
        #[arg(long, env = "HESSRA_NODE_CONFIG")]
        config: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    keep_secrets_out_of_cores();
    // The one place that names the crypto provider of this process.
    let installed = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(installed.is_ok(), "nothing installs a provider before main");
    // A refusal is often read in a log: a path or a name must not be broken in two there.
    let hooked = miette::set_hook(Box::new(|_| {
        Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).build())
    }));
    debug_assert!(hooked.is_ok(), "nothing sets a handler before main");
    match execute(arguments.command) {
        Ok(code) => code,
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> miette::Result<ExitCode> {
    let done = match command {
        Command::Certificate(command) => return certificate::execute(command),
        #[cfg(feature = "dev")]
        Command::Init(arguments) => init::execute(arguments),
        #[cfg(not(feature = "dev"))]
        Command::Init { any: _ } => Err(no_certificate_maker()),
        Command::Run {
            config,
            #[cfg(feature = "dev")]
            parent,
        } => {
            #[cfg(feature = "dev")]
            dev::end_with(parent)?;
            run(&config)
        }
        #[cfg(feature = "dev")]
        Command::Dev {
            nodes,
            dir,
            base_port,
            restart,
            prepare,
        } => {
            let options = DevOptions {
                nodes,
                directory: dir,
                base_port,
                restart,
            };
            dev::execute(&options, prepare)
        }
        Command::Config(ConfigCommand::Check { config }) => Ok(check(&config)?),
        Command::Config(ConfigCommand::Show { config }) => {
            let config = config
                .map(|path| Config::load(&path))
                .transpose()?
                .unwrap_or_default();
            print!("{}", config.show());
            Ok(())
        }
        Command::Keygen { file } => {
            create_file(&file, random_bytes()).into_diagnostic()?;
            eprintln!(
                "{}: a new key-encryption key. Every member of the cluster needs this file.",
                file.display()
            );
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(not(feature = "dev"))]
fn no_certificate_maker() -> miette::Report {
    miette::miette!(
        "this hessra-node is built for production and makes no certificates. Run the command where the CAs are kept, with the \
         program of `cargo build --release -p hessra-node`"
    )
}

fn run(path: &std::path::Path) -> miette::Result<()> {
    let config = Config::load(path)?;
    start_logs(&config.log).into_diagnostic()?;
    let (collected, metrics) = Collected::start().into_diagnostic()?;
    allow_connections();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .into_diagnostic()?;
    Ok(runtime.block_on(serve(config, collected, metrics))?)
}

async fn serve(
    config: Config,
    collected: Collected,
    metrics: Arc<Metrics>,
) -> Result<(), NodeError> {
    let cannot = |error: std::io::Error| NodeError::Signals(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut node = Node::start(config, collected, metrics).await?;
    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = tokio::signal::ctrl_c() => None,
        reason = node.failed() => Some(reason),
    };
    node.stop().await;
    failure.map_or(Ok(()), |reason| Err(NodeError::Stopped(reason)))
}

fn check(path: &std::path::Path) -> Result<(), NodeError> {
    let config = Config::load(path)?;
    config.check_files()?;
    hessra_node::node::check_material(&config)
}

/// Keeps secrets out of core dumps: one of a node would hold its signing keys.
fn keep_secrets_out_of_cores() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Where the system refuses either, the other still holds; neither is a reason not to serve.
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Raises the limit on descriptors: every connection needs one, and systems give a process 1,024 of them until it asks
/// for what it may have.
fn allow_connections() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused, the node serves as many as it can.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}
