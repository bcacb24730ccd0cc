//! `hessra-node certificate`: shows what certificates say, and whether they are those that a node needs; renews those that
//! `hessra-node init` made.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use hessra_node::config::Config;
use hessra_node::edge::Clock;
use hessra_node::tls::inspect::{Fault, Needed, Port, Sheet, check_chain};
use hessra_node::tls::{TlsFiles, node_urn};
use miette::miette;

/// Exit code of a certificate that holds, and ends soon.
const ENDS_SOON: u8 = 3;

/// What to do with certificates.
#[derive(Subcommand)]
pub(crate) enum CertificateCommand {
    /// Show subject, SANs, issuer and time. Exit 0: all is well. 1: something is wrong, in words. 3: one ends within 14 days.
    Show {
        /// PEM file of a certificate.
        #[arg(required_unless_present = "config", conflicts_with = "config")]
        file: Option<PathBuf>,
        /// Settings of a node: both of its certificates, compared with what this node needs.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Make new keys and certificates for a folder of `hessra-node init`, with the CAs beside it: `DIR/node-1`,
    /// `DIR/operators/NAME`. The old ones stand until all new ones are there.
    Renew {
        /// The folder.
        folder: PathBuf,
    },
}

/// Certificate file, its place, and the CAs that must have signed it.
struct Place {
    name: &'static str,
    port: Port,
    files: TlsFiles,
    needed: Needed,
}

pub(crate) fn execute(command: CertificateCommand) -> miette::Result<ExitCode> {
    match command {
        CertificateCommand::Show { file, config } => {
            let now = Clock::start().wall().seconds().0;
            match (file, config) {
                (_, Some(config)) => of_node(&Config::load(&config)?, now),
                (Some(file), None) => of_file(&file, now),
                (None, None) => unreachable!("clap demands one of them"),
            }
        }
        CertificateCommand::Renew { folder } => renew(&folder).map(|()| ExitCode::SUCCESS),
    }
}

#[cfg(feature = "dev")]
fn renew(folder: &Path) -> miette::Result<()> {
    super::init::renew(folder)
}

#[cfg(not(feature = "dev"))]
fn renew(_: &Path) -> miette::Result<()> {
    Err(super::no_certificate_maker())
}

fn of_file(path: &Path, now: u64) -> miette::Result<ExitCode> {
    // Only the certificate is read.
    let files = TlsFiles {
        certificate: path.into(),
        key: PathBuf::new(),
        authority: PathBuf::new(),
    };
    let chain = files.chain().map_err(|error| miette!("{error}"))?;
    let sheet = Sheet::read(&chain[0])
        .ok_or_else(|| miette!("`{}` holds no certificate of X.509", path.display()))?;
    let faults = sheet.faults(&chain[0], &Needed::default(), now);
    Ok(shown(&path.display().to_string(), &sheet, &faults, now))
}

fn of_node(config: &Config, now: u64) -> miette::Result<ExitCode> {
    let mut worst = ExitCode::SUCCESS;
    for place in places(config) {
        let outcome = of_place(&place, now)?;
        // Wrong is worse than soon.
        if worst != ExitCode::FAILURE && outcome != ExitCode::SUCCESS {
            worst = outcome;
        }
    }
    Ok(worst)
}

fn places(config: &Config) -> [Place; 2] {
    let cluster = &config.cluster;
    // A node that is added later has no list: what address it has, only the cluster knows.
    let own = cluster
        .initial_members
        .iter()
        .find(|member| member.id == cluster.node_id);
    let host = |address: &String| {
        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host);
        host.trim_matches(['[', ']']).to_owned()
    };
    let listens = |address: std::net::SocketAddr| {
        (!address.ip().is_unspecified()).then(|| address.ip().to_string())
    };
    let server_ca = match config.public_tls.server_ca.as_os_str().is_empty() {
        true => &config.public_tls.client_ca,
        false => &config.public_tls.server_ca,
    };
    [
        Place {
            name: "peer_tls.certificate",
            port: Port::Peer,
            files: TlsFiles {
                certificate: config.peer_tls.certificate.clone(),
                key: config.peer_tls.key.clone(),
                authority: config.peer_tls.ca.clone(),
            },
            needed: Needed {
                uri: Some(node_urn(&cluster.name, cluster.node_id)),
                host: own
                    .map(|own| host(&own.peer))
                    .or_else(|| listens(config.listen.peer)),
            },
        },
        Place {
            name: "public_tls.certificate",
            port: Port::Public,
            files: TlsFiles {
                certificate: config.public_tls.certificate.clone(),
                key: config.public_tls.key.clone(),
                authority: server_ca.clone(),
            },
            needed: Needed {
                uri: None,
                host: own
                    .map(|own| host(&own.public))
                    .or_else(|| listens(config.listen.public)),
            },
        },
    ]
}

fn of_place(place: &Place, now: u64) -> miette::Result<ExitCode> {
    let read = || -> Result<_, hessra_node::tls::TlsError> {
        Ok((place.files.chain()?, place.files.authorities()?))
    };
    let (chain, authorities) = read().map_err(|error| miette!("{}: {error}", place.name))?;
    let path = place.files.certificate.display();
    let sheet =
        Sheet::read(&chain[0]).ok_or_else(|| miette!("`{path}` holds no certificate of X.509"))?;
    let mut faults = sheet.faults(&chain[0], &place.needed, now);
    if let Err(error) = check_chain(&chain, &authorities, place.port, now) {
        let authorities = place.files.authority.display().to_string();
        faults.extend(Fault::of_chain(&error, authorities, &place.needed));
    }
    Ok(shown(
        &format!("{path} ({})", place.name),
        &sheet,
        &faults,
        now,
    ))
}

/// Prints a certificate. Returns what it is to the one who asked.
fn shown(title: &str, sheet: &Sheet, faults: &[Fault], now: u64) -> ExitCode {
    println!("{title}\n{sheet}, days left: {}", sheet.days_left(now));
    for fault in faults {
        println!("  WRONG      {fault}");
    }
    if !faults.is_empty() {
        return ExitCode::FAILURE;
    }
    if sheet.ends_soon(now) {
        println!("  SOON       it ends within 14 days: get another one");
        return ExitCode::from(ENDS_SOON);
    }
    ExitCode::SUCCESS
}
