//! `hessra audit verify`: walks chains and names the first record that is wrong.
//!
//! A node's word is not taken for its own audit: all of its records come here and are walked here. Of a folder every
//! segment is walked, in order, up to the head that the folder names.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use futures::StreamExt;
use hessra_audit::chain::LINE_BYTES_MAX;
use hessra_audit::walk::Walked;
use hessra_audit::{CheckpointKey, Fault, Head, Walk};
use hessra_sdk_rust::Endpoint;
use hessra_sdk_rust::audit::AuditClient;
use hessra_sdk_rust::v1::{AuditHeadResponse, AuditKey, ExportAuditRequest};
use serde_json::{Value, json};

use super::gather::Missing;
use crate::args::VerifyAudit;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::files;
use crate::output::Console;

/// Checks files, or every node.
pub(super) async fn run(context: &Context, console: Console, arguments: VerifyAudit) -> Outcome {
    let keys = arguments.keys.as_deref().map(read_keys).transpose()?;
    match arguments.path {
        Some(path) => verify_files(console, &path, keys.unwrap_or_default()),
        None => {
            let client = AuditClient::new(context.authenticated_connection()?);
            verify_nodes(&client, console, keys).await
        }
    }
}

fn verify_files(console: Console, path: &Path, keys: Vec<CheckpointKey>) -> Outcome {
    let is_folder = path.is_dir();
    let segments = if is_folder {
        segments(path)?
    } else {
        vec![path.to_owned()]
    };
    let known = if is_folder { known_head(path)? } else { None };
    let mut walk = Walk::new(keys, known);
    for segment in &segments {
        walk_file(&mut walk, segment)?;
    }
    let walked = walk
        .finish()
        .map_err(|fault| broken(&path.display().to_string(), &fault))?;
    let whole = json!({"chains": [to_json(&path.display().to_string(), &walked)]});
    console.answer(&whole, || to_text(&path.display().to_string(), &walked))?;
    warn_of_keys(console, &walked);
    Ok(())
}

fn walk_file(walk: &mut Walk, path: &Path) -> Outcome {
    let unreadable = |error: std::io::Error| CommandError::file("read", path, &error);
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut number = 0_u64;
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = std::io::Read::take(&mut reader, LINE_BYTES_MAX as u64 + 1);
        if limited.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            return Ok(());
        }
        number += 1;
        let whole = line.pop_if(|byte| *byte == b'\n').is_some();
        let place = format!("{}:{number}", path.display());
        let text = String::from_utf8_lossy(&line);
        walk.line(&text).map_err(|fault| broken(&place, &fault))?;
        if !whole {
            return Err(CommandError::no(
                "audit_broken",
                format!("{place}: the last line has no end: the file was cut"),
            )
            .hint(KEEP));
        }
    }
}

/// Files named after their first record, in its order.
fn segments(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| CommandError::file("read", folder, &error);
    let is_segment = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str());
        let digits = name
            .is_some_and(|name| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            && path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
    };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_segment)
        .collect();
    found.sort();
    if found.is_empty() {
        return Err(
            CommandError::not_found(format!("no audit is in {}", folder.display()))
                .hint("Name the folder `audit` of a node's data directory, or an export."),
        );
    }
    Ok(found)
}

/// The head that the node had reached, as it noted beside the segments.
fn known_head(folder: &Path) -> Outcome<Option<Head>> {
    let text = files::read_text_if_there(&folder.join("head"))?;
    Ok(text.as_deref().and_then(|text| {
        let (seq, hash) = text.trim_end().split_once(' ')?;
        head(seq.parse().ok()?, hash)
    }))
}

fn head(seq: u64, hash: &str) -> Option<Head> {
    let hash = HEXLOWER.decode(hash.as_bytes()).ok()?;
    Some(Head {
        seq,
        hash: hash.try_into().ok()?,
    })
}

async fn verify_nodes(
    client: &AuditClient,
    console: Console,
    keys: Option<Vec<CheckpointKey>>,
) -> Outcome {
    let (mut missing, mut chains, mut fault) = (Missing::default(), Vec::new(), None);
    for (node, server) in client.servers().await {
        let name = format!("node {node} ({server})");
        match verify_node(client, &server, &name, keys.clone()).await {
            Ok(walked) => chains.push((name, walked)),
            Err(failure) if failure.exit == Exit::No => {
                console.failure(&failure);
                fault = fault.or(Some(failure));
            }
            Err(failure) => missing.add(node, &server, failure),
        }
    }
    if chains.is_empty() && fault.is_none() {
        return Err(missing.into_failure());
    }
    let items: Vec<Value> = chains
        .iter()
        .map(|(name, walked)| to_json(name, walked))
        .collect();
    console.answer(
        &json!({"chains": items, "missing": missing.nodes()}),
        || {
            chains
                .iter()
                .map(|(name, walked)| to_text(name, walked))
                .collect()
        },
    )?;
    chains
        .iter()
        .for_each(|(_, walked)| warn_of_keys(console, walked));
    match fault {
        Some(failure) => {
            missing.warn(console);
            Err(failure)
        }
        None => missing.told(console),
    }
}

async fn verify_node(
    client: &AuditClient,
    server: &Endpoint,
    name: &str,
    keys: Option<Vec<CheckpointKey>>,
) -> Outcome<Walked> {
    let said = client.head(server).await?;
    let AuditHeadResponse { seq, hash, .. } = &said;
    let keys = keys.unwrap_or_else(|| said.keys.iter().filter_map(key).collect());
    let mut walk = Walk::new(keys, head(*seq, hash));
    let mut stream = client.export(server, ExportAuditRequest::default()).await?;
    while let Some(part) = stream.next().await {
        for line in part?.lines {
            walk.line(&line).map_err(|fault| broken(name, &fault))?;
        }
    }
    walk.finish().map_err(|fault| broken(name, &fault))
}

fn key(key: &AuditKey) -> Option<CheckpointKey> {
    Some(CheckpointKey {
        id: key.id,
        public_key: key.public_key.as_slice().try_into().ok()?,
    })
}

/// Ed25519 keys of a JSON Web Key Set (RFC 8037), by their `kid`.
fn read_keys(path: &Path) -> Outcome<Vec<CheckpointKey>> {
    let wrong = |what: &str| {
        CommandError::usage(format!(
            "{} is no set of audit keys: {what}",
            path.display()
        ))
        .hint("Write one with `hessra keys export --format jwks --purpose audit`.")
    };
    let set: Value = serde_json::from_str(&files::read_text(path)?)
        .map_err(|error| wrong(&error.to_string()))?;
    let keys = set["keys"]
        .as_array()
        .ok_or_else(|| wrong("it has no `keys`"))?;
    let read = |key: &Value| {
        let x = BASE64URL_NOPAD.decode(key["x"].as_str()?.as_bytes()).ok()?;
        Some(CheckpointKey {
            id: key["kid"].as_str()?.parse().ok()?,
            public_key: x.try_into().ok()?,
        })
    };
    let keys: Vec<CheckpointKey> = keys.iter().filter_map(read).collect();
    if keys.is_empty() {
        return Err(wrong(
            "none of its keys is an Ed25519 key with a number as `kid`",
        ));
    }
    Ok(keys)
}

const KEEP: &str = "Keep a copy of the files, compare with exports and with other nodes, and look for who can write there.";

fn broken(place: &str, fault: &Fault) -> CommandError {
    CommandError::no("audit_broken", format!("{place}: {fault}")).hint(KEEP)
}

fn to_json(name: &str, walked: &Walked) -> Value {
    json!({
        "chain": name,
        "node": walked.node,
        "records": walked.records,
        "first": walked.first,
        "last": walked.last,
        "hash": walked.hash,
        "checkpoints": walked.checkpoints,
        "signed": walked.signed,
        "signed_through": walked.signed_through,
    })
}

fn to_text(name: &str, walked: &Walked) -> String {
    format!(
        "{name}: records {} to {} are whole and unchanged; {} of {} checkpoints are signed, through record {}\n",
        walked.first, walked.last, walked.signed, walked.checkpoints, walked.signed_through
    )
}

fn warn_of_keys(console: Console, walked: &Walked) {
    if !walked.unknown_keys.is_empty() {
        let keys: Vec<String> = walked.unknown_keys.iter().map(u32::to_string).collect();
        console.warn(&format!(
            "signatures by audit key {} were not checked: give the keys with --keys",
            keys.join(", ")
        ));
    }
}
