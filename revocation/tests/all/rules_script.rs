//! Scripts about names, rules and what a set of rules denies.

use std::fmt::Write as _;

use goldenscript::{Context, Runner};
use hessra_revocation::{
    Digest, Identity, Query, Revision, RevocationSet, Rule, RuleKind, TokenId, UnixSeconds,
};

use crate::authority::SALT;
use crate::words::{self, Outcome, hex};

#[derive(goldenscript::Command)]
enum Command {
    /// Reads a name and shows its parts.
    Name(String),
    /// Asks whether a rule about the first name covers the second.
    Covers(String, String),
    /// Puts a rule.
    Put {
        kind: String,
        name: String,
        #[arg(key)]
        before: Option<u64>,
        #[arg(key)]
        until: Option<u64>,
    },
    /// Puts a rule of a kind that this version does not know.
    PutUnknown(u8),
    /// Makes a rule stronger, if the one given is.
    Merge {
        kind: String,
        name: String,
        #[arg(key)]
        before: Option<u64>,
        #[arg(key)]
        until: Option<u64>,
    },
    /// Removes a rule.
    Remove { kind: String, name: String },
    /// Asks about a token.
    Check {
        #[arg(key)]
        actor: Option<String>,
        #[arg(key)]
        subject: Option<String>,
        #[arg(key)]
        token: Option<String>,
        #[arg(key)]
        ancestor: Option<String>,
        #[arg(key)]
        key: Option<u32>,
        #[arg(key)]
        third_party: Option<u32>,
        #[arg(key)]
        certificate: Option<String>,
        #[arg(key)]
        rev: Option<u64>,
        #[arg(key, optional)]
        now: u64,
        #[arg(key, optional)]
        skew: u64,
    },
    /// Shows the canonical bytes of a rule.
    Bytes { kind: String, name: String },
    /// Reads canonical bytes of a rule.
    Read(String),
    /// Number of rules and the root.
    Root,
}

struct Rules {
    set: RevocationSet,
}

fn make(kind: &str, name: &str, before: Option<u64>, until: Option<u64>) -> Outcome<Rule> {
    let target = words::target(kind, name)?;
    Ok(Rule::new(
        &SALT,
        &target,
        words::cutoff(before),
        until.map(UnixSeconds),
    ))
}

impl Rules {
    fn stands(&self, kind: &str, name: &str) -> Outcome<Option<Rule>> {
        let target = words::target(kind, name)?;
        Ok(self.set.rule(target.kind(), &target.digest(&SALT)))
    }
}

impl Runner for Rules {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let mut output = String::new();
        match command {
            Command::Name(text) => {
                let name = Identity::parse(text)?;
                let parent = name
                    .parent()
                    .map_or("none".to_owned(), |parent| parent.to_string());
                writeln!(
                    output,
                    "path {} of depth {}, last `{}`",
                    name.path(),
                    name.depth(),
                    name.last_segment()
                )?;
                writeln!(output, "parent {parent}")?;
                let ancestors: Vec<_> = name
                    .ancestors_and_self()
                    .map(|(depth, path)| format!("{depth} {path}"))
                    .collect();
                writeln!(output, "{}", ancestors.join(" | "))?;
            }
            Command::Covers(rule, name) => {
                let covers = Identity::parse(name)?.is_at_or_below(&Identity::parse(rule)?);
                writeln!(output, "{}", if covers { "covered" } else { "not covered" })?;
            }
            Command::Put {
                kind,
                name,
                before,
                until,
            } => self.set.put(make(kind, name, *before, *until)?),
            Command::PutUnknown(number) => self.set.put(Rule {
                kind: RuleKind::Unknown(*number),
                digest: Digest([*number; 16]),
                depth: 0,
                cutoff: words::cutoff(Some(1)),
                until: None,
            }),
            Command::Merge {
                kind,
                name,
                before,
                until,
            } => {
                let rule = make(kind, name, *before, *until)?;
                let merged = self
                    .stands(kind, name)?
                    .map_or(rule, |stands| stands.merge(rule));
                self.set.put(merged);
                writeln!(output, "{}", words::rule(&merged))?;
            }
            Command::Remove { kind, name } if kind == "unknown" => {
                let number = name.parse()?;
                let removed = self
                    .set
                    .remove(RuleKind::Unknown(number), &Digest([number; 16]));
                writeln!(
                    output,
                    "{}",
                    if removed.is_some() {
                        "removed"
                    } else {
                        "nothing to remove"
                    }
                )?;
            }
            Command::Remove { kind, name } => {
                let target = words::target(kind, name)?;
                let removed = self.set.remove(target.kind(), &target.digest(&SALT));
                writeln!(
                    output,
                    "{}",
                    if removed.is_some() {
                        "removed"
                    } else {
                        "nothing to remove"
                    }
                )?;
            }
            Command::Check {
                actor,
                subject,
                token,
                ancestor,
                key,
                third_party,
                certificate,
                rev,
                now,
                skew,
            } => {
                let actor = actor.as_deref().map(Identity::parse).transpose()?;
                let subject = subject.as_deref().map(Identity::parse).transpose()?;
                let identities: Vec<_> = actor.iter().chain(&subject).cloned().collect();
                let token_ids: Vec<TokenId> = token
                    .iter()
                    .chain(ancestor)
                    .map(|name| words::token_id(name))
                    .collect();
                let third_party_keys: Vec<_> = third_party
                    .iter()
                    .map(|key| key.to_be_bytes().to_vec())
                    .collect();
                let denial = self.set.check(&Query {
                    identities: &identities,
                    actor: actor.as_ref(),
                    token_ids: &token_ids,
                    root_key: *key,
                    third_party_keys: &third_party_keys,
                    certificate: certificate.as_deref().map(words::fingerprint),
                    rev: rev.map(Revision),
                    now: UnixSeconds(*now),
                    skew_seconds: *skew,
                });
                match denial {
                    None => writeln!(output, "no rule")?,
                    Some(denial) => writeln!(output, "denied by {}", words::rule(&denial.rule))?,
                }
            }
            Command::Bytes { kind, name } => {
                let rule = self.stands(kind, name)?.ok_or("no such rule")?;
                writeln!(output, "{}", hex(&rule.to_bytes()))?;
            }
            Command::Read(bytes) => {
                let rule = Rule::from_bytes(&words::unhex(bytes)?)?;
                writeln!(output, "{} at depth {}", words::rule(&rule), rule.depth)?;
            }
            Command::Root => writeln!(
                output,
                "{} rules, root {}",
                self.set.len(),
                &hex(&self.set.root())[..16]
            )?,
        }
        Ok(output)
    }
}

fn run(script: &str) {
    let mut rules = Rules {
        set: RevocationSet::new(SALT),
    };
    goldenscript::run(&mut rules, format!("scripts/{script}.txt")).unwrap();
}

#[test]
fn names_are_canonical_or_refused() {
    run("names");
}

#[test]
fn any_matching_rule_denies() {
    run("rules");
}

#[test]
fn a_rule_has_one_encoding() {
    run("encoding");
}
