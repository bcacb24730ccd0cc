//! `hessra audit verify`: walks chains and names the first record that is wrong.
//!
//! A node's word is not taken for its own audit: all of its records come here and are walked here, against the heads that
//! every member says the cluster has witnessed. Of a folder every segment is walked, in order, up to the head that the
//! folder names.
//!
//! | module | its story |
//! |---|---|
//! | [`known`] | what the cluster has witnessed of each chain |
//! | [`files`] | folders, segments and exports |
//! | [`report`] | the answer, and whether the chains pass |

mod files;
mod known;
mod report;

use futures::StreamExt;
use hessra_audit::{Known, Walk, Walked};
use hessra_sdk_rust::Endpoint;
use hessra_sdk_rust::audit::AuditClient;
use hessra_sdk_rust::v1::{AuditChain, ExportAuditRequest};

use super::authors::Authors;
use super::chain::{self, CHAINS};
use super::gather::Missing;
use crate::args::VerifyAudit;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::Console;

use known::{Witnesses, head, keys_of, read_keys};
use report::{Checked, broken};

/// Checks files, or every node.
pub(super) async fn run(context: &Context, console: Console, arguments: VerifyAudit) -> Outcome {
    let keys = arguments.keys.as_deref().map(read_keys).transpose()?;
    let asks = arguments.path.is_none() || arguments.witnessed;
    let client = match asks {
        true => Some(AuditClient::new(context.authenticated_connection()?)),
        false => None,
    };
    let witnesses = match &client {
        Some(client) => Witnesses::of(client).await,
        None => Witnesses::default(),
    };
    let authors = Authors::read(arguments.operator_ca.as_deref())?;
    let mut checked = Checked::new(console, arguments.allow_lost);
    match (&arguments.path, &client) {
        (Some(path), _) => {
            witnesses.require(arguments.witnessed)?;
            files::walk(
                path,
                keys.unwrap_or_default(),
                (&witnesses, &authors),
                &mut checked,
            )?;
        }
        (None, Some(client)) => {
            for (node, server) in client.servers().await {
                let name = format!("node {node} ({server})");
                for chain in CHAINS {
                    let known = Known {
                        keys: keys.clone().unwrap_or_default(),
                        ..Known::default()
                    };
                    let asked = Asked {
                        server: &server,
                        name: format!("{name} {}", chain::name(chain)),
                        node,
                        chain,
                        with_own_keys: keys.is_none(),
                    };
                    let walked = walk_node(client, &asked, known, (&witnesses, &authors)).await;
                    checked.add_node(&asked, walked);
                }
            }
        }
        (None, None) => {}
    }
    if authors.are_unknown() {
        console.warn(
            "signatures of operators were checked, the authorities of their certificates were not: give them with --operator-ca",
        );
    }
    checked.finish()
}

/// One chain of one node.
struct Asked<'a> {
    server: &'a Endpoint,
    /// The chain as people read it.
    name: String,
    node: u64,
    chain: AuditChain,
    /// True when the keys of the cluster are those that the node says.
    with_own_keys: bool,
}

async fn walk_node(
    client: &AuditClient,
    asked: &Asked<'_>,
    mut known: Known,
    (witnesses, authors): (&Witnesses, &Authors),
) -> Outcome<Walked> {
    let said = client.head(asked.server, asked.chain).await?;
    if asked.with_own_keys {
        known.keys = keys_of(&said);
    }
    known.heads.extend(head(said.seq, &said.hash));
    witnesses.add(said.node, chain::name(asked.chain), &mut known);
    let mut walk = Walk::new(known);
    let request = ExportAuditRequest {
        chain: asked.chain.into(),
        ..ExportAuditRequest::default()
    };
    let mut stream = client.export(asked.server, request).await?;
    while let Some(part) = stream.next().await {
        for line in part?.lines {
            let line = walk
                .line(&line)
                .map_err(|fault| broken(&asked.name, &fault))?;
            authors.check(&asked.name, &line.record)?;
        }
    }
    walk.finish().map_err(|fault| broken(&asked.name, &fault))
}

impl Checked {
    fn add_node(&mut self, asked: &Asked<'_>, walked: Outcome<Walked>) {
        match walked {
            Ok(walked) => self.add(asked.name.clone(), walked),
            Err(failure) if failure.exit == Exit::No => self.fault(failure),
            Err(failure) => {
                let mut missing = Missing::default();
                missing.add(asked.node, asked.server, failure);
                self.missing(missing);
            }
        }
    }
}
