//! `hessra identity list` and `delete`: the tokens in the store.

use serde_json::{Value, json};

use super::inspect::Inspected;
use crate::args::{DeleteToken, ListTokens};
use crate::clock;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::{Console, Table};
use crate::store::{TokenName, TokenStore};

/// Lists the names; with details also the identity and the end of each token.
pub(super) fn list(context: &Context, console: Console, arguments: &ListTokens) -> Outcome {
    let store = context.tokens();
    let names = store.names()?;
    if !arguments.details {
        let items: Vec<Value> = names.iter().map(|name| json!(name.as_str())).collect();
        let whole = json!({"tokens": items, "count": items.len()});
        return console.answer_list(&whole, &items, || {
            names.iter().map(|name| format!("{name}\n")).collect()
        });
    }
    let found: Vec<(TokenName, Outcome<Inspected>)> = names
        .into_iter()
        .map(|name| (name.clone(), inspect(&store, &name)))
        .collect();
    let items: Vec<Value> = found
        .iter()
        .map(|(name, inspected)| to_json(name, inspected))
        .collect();
    console.answer_list(
        &json!({"tokens": items, "count": items.len()}),
        &items,
        || to_text(&found),
    )
}

/// Forgets a token; forgetting one that is not there is no failure, as published.
pub(super) fn delete(context: &Context, console: Console, arguments: &DeleteToken) -> Outcome {
    let name: TokenName = arguments.name.parse()?;
    let existed = context.tokens().delete(&name)?;
    let server = context.servers().first().map(ToString::to_string);
    let value =
        json!({"success": true, "server": server, "deleted": name.as_str(), "existed": existed});
    console.answer(&value, String::new)?;
    if !console.for_machines() {
        let said = if existed {
            "is forgotten; it stays valid until it expires or is revoked"
        } else {
            "was not stored"
        };
        console.note(&format!("Token '{name}' {said}"));
    }
    Ok(())
}

fn inspect(store: &TokenStore, name: &TokenName) -> Outcome<Inspected> {
    Inspected::read(&store.load(name)?, clock::unix_seconds())
}

fn to_json(name: &TokenName, inspected: &Outcome<Inspected>) -> Value {
    match inspected {
        Ok(inspected) => json!({
            "name": name.as_str(),
            "identity": inspected.identity(),
            "expiry": inspected.expires_at(),
            "status": inspected.status(),
            "expires_in_human": inspected.expires_in_human(),
        }),
        Err(failure) => {
            json!({"name": name.as_str(), "status": "unknown", "error": failure.message})
        }
    }
}

fn to_text(found: &[(TokenName, Outcome<Inspected>)]) -> String {
    let mut table = Table::new(&["name", "identity", "status", "expires in"]);
    for (name, inspected) in found {
        match inspected {
            Ok(inspected) => {
                let status = inspected.status().to_owned();
                table.row([
                    name.to_string(),
                    inspected.identity().to_owned(),
                    status,
                    inspected.expires_in_human(),
                ]);
            }
            Err(_) => table.row([
                name.to_string(),
                String::new(),
                "unreadable".to_owned(),
                String::new(),
            ]),
        }
    }
    table.text()
}
