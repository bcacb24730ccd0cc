//! Chains in files: the folder of a node's audit, a folder of segments, one segment, an export.
//!
//! An export may hold several chains one after the other: each line says of which it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use hessra_audit::chain::LINE_BYTES_MAX;
use hessra_audit::{Chain, CheckpointKey, Head, Known, Walk};
use serde::Deserialize;

use super::super::authors::Authors;
use super::known::{Witnesses, head};
use super::report::{Checked, KEEP, broken};
use crate::failure::{CommandError, Outcome};
use crate::files;

/// Walks everything at a path.
pub(super) fn walk(
    path: &Path,
    keys: Vec<CheckpointKey>,
    beside: (&Witnesses, &Authors),
    checked: &mut Checked,
) -> Outcome {
    let chains = Chain::ALL.map(|chain| path.join(chain.as_str()));
    let is_audit = chains.iter().any(|chain| chain.is_dir());
    let places = match is_audit {
        true => chains.to_vec(),
        false => vec![path.to_owned()],
    };
    for place in places {
        let mut walks = Walks::new(&keys, beside);
        walks.place(&place)?;
        walks.finish(&place, checked)?;
    }
    Ok(())
}

/// Name of a chain.
type Name = (u64, Chain);

/// Node and chain that a line says it belongs to.
#[derive(Deserialize)]
struct Belongs {
    node: u64,
    #[serde(default)]
    chain: Chain,
}

/// The walks of all chains at one place.
struct Walks<'a> {
    keys: &'a [CheckpointKey],
    witnesses: &'a Witnesses,
    authors: &'a Authors,
    /// Head that the folder names.
    known: Option<Head>,
    walks: BTreeMap<Name, Walk>,
    last: Option<Name>,
    /// False for a folder of segments, which holds one chain.
    is_export: bool,
}

impl<'a> Walks<'a> {
    fn new(keys: &'a [CheckpointKey], (witnesses, authors): (&'a Witnesses, &'a Authors)) -> Self {
        Self {
            keys,
            witnesses,
            authors,
            known: None,
            walks: BTreeMap::new(),
            last: None,
            is_export: true,
        }
    }

    fn place(&mut self, path: &Path) -> Outcome {
        if !path.is_dir() {
            return self.file(path);
        }
        self.is_export = false;
        self.known = known_head(path)?;
        for segment in segments(path)? {
            self.file(&segment)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Outcome {
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
            let walk = self.walk_of(&text);
            let line = walk.line(&text).map_err(|fault| broken(&place, &fault))?;
            self.authors.check(&place, &line.record)?;
            if !whole {
                return Err(CommandError::no(
                    "audit_broken",
                    format!("{place}: the last line has no end: the file was cut"),
                )
                .hint(KEEP));
            }
        }
    }

    /// The walk that a line belongs to. One that says nothing belongs where the line before it does.
    fn walk_of(&mut self, line: &str) -> &mut Walk {
        let says = serde_json::from_str::<Belongs>(line).ok();
        let says = says.map(|says| (says.node, says.chain));
        let name = match (self.last, says) {
            (Some(last), _) if !self.is_export => last,
            (last, says) => says.or(last).unwrap_or((0, Chain::Changes)),
        };
        self.last = Some(name);
        let mut known = Known {
            keys: self.keys.to_vec(),
            heads: self.known.into_iter().collect(),
            ..Known::default()
        };
        self.witnesses.add(name.0, name.1.as_str(), &mut known);
        self.walks.entry(name).or_insert_with(|| Walk::new(known))
    }

    fn finish(self, path: &Path, checked: &mut Checked) -> Outcome {
        let place = path.display().to_string();
        let several = self.walks.len() > 1;
        for ((node, chain), walk) in self.walks {
            let name = match several {
                true => format!("{place} node {node} {chain}"),
                false => place.clone(),
            };
            let walked = walk.finish().map_err(|fault| broken(&name, &fault))?;
            checked.add(name, walked);
        }
        Ok(())
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
