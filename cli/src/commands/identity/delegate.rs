//! `hessra identity delegate`: a token for a child identity, made offline.

use std::path::PathBuf;
use std::time::Duration;

use hessra_settings::duration;
use serde_json::{Value, json};

use crate::args::{Delegate, Format};
use crate::clock;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Console;
use crate::sdk::{self, Delegation};
use crate::signing_key;
use crate::store::TokenName;
use crate::tokens;

/// Makes the token, and keeps it when a name is given.
pub(super) async fn run(context: &Context, console: Console, arguments: &Delegate) -> Outcome {
    let name: Option<TokenName> = arguments.save_as.as_deref().map(str::parse).transpose()?;
    let from = match &arguments.from_token {
        Some(argument) => tokens::read(context, argument)?,
        None => tokens::read_default(context)?,
    };
    let key_id = sdk::parse(&from.text)?.root_key_id();
    let key = signing_key::find(context, &arguments.public_key, key_id).await?;
    let delegation = Delegation {
        identity: &arguments.identity,
        ttl: arguments.ttl,
        check: arguments.check.as_deref(),
    };
    let made = sdk::delegate(&from.text, &key, &delegation)?;
    let path = name
        .as_ref()
        .map(|name| context.tokens().save(name, &made.token))
        .transpose()?;
    let left = made.expires_at.0.saturating_sub(clock::unix_seconds());
    say(console, arguments, name.as_ref(), left);
    let print = path.is_none() || arguments.token_only || console.format == Format::Token;
    console.answer(
        &to_json(context, arguments, &from.source, &made.token, path.as_ref()),
        || {
            if print {
                console.token_text(&made.token)
            } else {
                String::new()
            }
        },
    )
}

fn say(console: Console, arguments: &Delegate, name: Option<&TokenName>, left: u64) {
    if console.for_machines() || arguments.token_only {
        return;
    }
    let saved = name
        .map(|name| format!(", saved as '{name}'"))
        .unwrap_or_default();
    console.success(&format!("Delegated to {}{saved}", arguments.identity));
    console.note(&format!(
        "  Expires in: {left} seconds ({})",
        duration::rounded(Duration::from_secs(left))
    ));
    if left.saturating_add(1) < arguments.ttl.as_secs() {
        console.warn("It lives no longer than the token it was made from.");
    }
}

fn to_json(
    context: &Context,
    arguments: &Delegate,
    from: &str,
    token: &str,
    path: Option<&PathBuf>,
) -> Value {
    let mut value = json!({
        "success": true,
        "server": context.servers().first().map(ToString::to_string),
        "token": token,
        "delegated_identity": arguments.identity,
        "ttl": arguments.ttl.as_secs(),
        "from_token": from,
        "saved": path.is_some(),
    });
    if let Some(path) = path {
        value["saved_as"] = json!(arguments.save_as);
        value["token_path"] = json!(path.display().to_string());
    }
    value
}
