//! `hessra keys …`: the life of the cluster's keys.

mod answer;
mod export;
mod rotate;

use hessra_sdk_rust::Authority;
use hessra_sdk_rust::revocation::{KeyState, View};
use hessra_sdk_rust::v1::{KeyInfo, ListKeysResponse};
use serde_json::{Value, json};

use super::confirm::{self, Decided};
use crate::args::{ActivateKey, KeysCommand, RevokeKey};
use crate::context::Context;
use crate::failure::{CommandError, Outcome};
use crate::knowledge;
use crate::output::{Console, Table, timestamp};

use answer::{changed, seconds, to_json};

/// Runs one of the commands.
pub(super) async fn run(context: &Context, console: Console, command: KeysCommand) -> Outcome {
    let authority = Authority::new(context.authenticated_connection()?);
    match command {
        KeysCommand::List => list(&authority, console).await,
        KeysCommand::Prepare { purpose, retry } => {
            let authority = authority.under(retry.id());
            let answer = authority.prepare_key(purpose.word()).await?;
            changed(console, &answer)
        }
        KeysCommand::Activate(arguments) => activate(&authority, console, &arguments).await,
        KeysCommand::Retire { id, retry } => {
            changed(console, &authority.under(retry.id()).retire_key(id).await?)
        }
        KeysCommand::Revoke(arguments) => {
            revoke(&authority, console, &arguments).await?;
            learn(context, &authority).await;
            Ok(())
        }
        KeysCommand::Rotate(arguments) => {
            rotate::run(&authority, console, &arguments).await?;
            learn(context, &authority).await;
            Ok(())
        }
        KeysCommand::Export(arguments) => export::run(&authority, console, &arguments).await,
        KeysCommand::Rewrap { force, retry } => {
            let answer = authority.under(retry.id()).rewrap_keys(force).await?;
            let (count, kek) = (answer.keys, &answer.kek);
            let done = format!("{count} keys are sealed anew, under key-encryption key {kek}");
            console.committed(&done, &json!({"keys": count, "kek": kek}), || {
                format!(
                    "✓ {count} keys sealed anew; all are under key-encryption key {kek}\n  \
                     When every member runs without keys.kek_previous, the old one can be destroyed.\n"
                )
            })
        }
    }
}

/// Teaches this computer which keys are revoked.
async fn learn(context: &Context, authority: &Authority) {
    let keys = authority.list_keys().await.map(|answer| answer.keys);
    let mut revoked = keys.unwrap_or_default();
    revoked.retain(|key| key.state == KeyState::Revoked.word());
    let is_known = |view: &View, key: &KeyInfo| {
        let known = view.keys.get(&key.id);
        known.is_some_and(|known| known.state == KeyState::Revoked)
    };
    knowledge::learn(context, |view| {
        revoked.iter().all(|key| is_known(view, key))
    })
    .await;
}

async fn list(authority: &Authority, console: Console) -> Outcome {
    let answer = authority.list_keys().await?;
    let items: Vec<Value> = answer.keys.iter().map(to_json).collect();
    let whole = json!({
        "keys": items,
        "published_ms_min": answer.published_ms_min,
        "rotate_every_ms": (answer.rotate_every_ms > 0).then_some(answer.rotate_every_ms),
        "kek": answer.kek,
        "two_person": answer.two_person,
    });
    console.answer_list(&whole, &items, || table(&answer))
}

fn table(answer: &ListKeysResponse) -> String {
    let mut table = Table::new(&["kid", "purpose", "state", "since", "next", "kek"]).right(0);
    for key in &answer.keys {
        table.row([
            key.id.to_string(),
            key.purpose.clone(),
            key.state.clone(),
            timestamp(key.since_ms),
            next(key),
            key.kek.clone(),
        ]);
    }
    table.text()
}

/// Next step in a key's life.
fn next(key: &KeyInfo) -> String {
    match key.state.as_str() {
        "prepared" if key.ready_in_ms == 0 => "can be activated".to_owned(),
        "prepared" => format!("can be activated in {}", seconds(key.ready_in_ms)),
        "retired" if key.forgotten_from_ms > 0 => {
            format!("verifies until {}", timestamp(key.forgotten_from_ms))
        }
        "retired" => "verifies".to_owned(),
        _ => String::new(),
    }
}

async fn activate(authority: &Authority, console: Console, arguments: &ActivateKey) -> Outcome {
    if arguments.force {
        console.warn(&format!(
            "key {} is activated however short it has been published: verifiers that have not heard of it deny what it signs",
            arguments.id
        ));
    }
    let authority = authority.under(arguments.retry.id());
    let answer = authority
        .activate_key(arguments.id, arguments.force)
        .await?;
    changed(console, &answer)
}

async fn revoke(authority: &Authority, console: Console, arguments: &RevokeKey) -> Outcome {
    let key = find(authority, arguments.id).await?;
    let id = key.id;
    console.note(&format!(
        "Revokes {} key {id} ({}): everything that it signed is denied, for ever.",
        key.purpose, key.state
    ));
    if arguments.confirmation.dry_run {
        return console.answer(&json!({"dry_run": true, "key": to_json(&key)}), String::new);
    }
    let word = id.to_string();
    if confirm::decided(console, &arguments.confirmation, &word)? == Decided::Ask {
        confirm::ask(&word, "revoke it")?;
    }
    let authority = authority.under(arguments.retry.id());
    changed(console, &authority.revoke_key(id).await?)
}

async fn find(authority: &Authority, id: u32) -> Outcome<KeyInfo> {
    let keys = authority.list_keys().await?.keys;
    keys.into_iter().find(|key| key.id == id).ok_or_else(|| {
        CommandError::not_found(format!("no key has the number {id}"))
            .hint("See `hessra keys list`.")
    })
}
