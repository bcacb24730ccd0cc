//! `hessra identity authenticate`: an identity token for the holder of a client certificate.

use std::path::PathBuf;

use hessra_sdk_rust::IdentityClient;
use hessra_sdk_rust::identity::IdentityToken;
use hessra_settings::duration;
use serde_json::{Value, json};

use crate::args::{Authenticate, Format};
use crate::context::{self, Context};
use crate::failure::Outcome;
use crate::output::Console;
use crate::signing_key;
use crate::store::TokenName;

/// Asks for the token, keeps it, and remembers the server and its keys.
pub(super) async fn run(context: &Context, console: Console, arguments: &Authenticate) -> Outcome {
    let name = name(console, arguments)?;
    let client = IdentityClient::new(context.authenticated_connection()?)?;
    let issued = client.request_identity_token(arguments.ttl).await?;
    let saved = name.map(|name| save(context, name, &issued)).transpose()?;
    learn(context, console, &client).await;
    say(console, &issued, saved.as_ref());
    // A name that was chosen says where the token went; otherwise a program that reads stdout wants the token.
    let print = saved.is_none() || (arguments.save_as.is_none() && !console.stdout_is_terminal());
    console.answer(&to_json(context, &issued, saved.as_ref()), || {
        if print {
            console.token_text(&issued.token)
        } else {
            String::new()
        }
    })
}

fn name(console: Console, arguments: &Authenticate) -> Outcome<Option<TokenName>> {
    match &arguments.save_as {
        Some(name) => name.parse().map(Some),
        None if arguments.token_only || console.format == Format::Token => Ok(None),
        None => Ok(Some(TokenName::default_name())),
    }
}

fn save(
    context: &Context,
    name: TokenName,
    issued: &IdentityToken,
) -> Outcome<(TokenName, PathBuf)> {
    let path = context.tokens().save(&name, &issued.token)?;
    Ok((name, path))
}

/// Learns the server and its keys, as a convenience: the token is there, so a failure here is a warning only.
async fn learn(context: &Context, console: Console, client: &IdentityClient) {
    let learnt = match client.public_keys().await {
        Ok(keys) => signing_key::remember(context, &keys).and_then(|()| context::remember(context)),
        Err(error) => Err(error.into()),
    };
    if let Err(failure) = learnt {
        console.warn(&format!("the server's keys are not remembered: {failure}"));
    }
}

fn say(console: Console, issued: &IdentityToken, saved: Option<&(TokenName, PathBuf)>) {
    let Some((name, path)) = saved else { return };
    if console.for_machines() {
        return;
    }
    console.success(&format!("Identity token saved as '{name}'"));
    console.note(&format!("  Identity:   {}", issued.identity));
    let seconds = issued.expires_in.as_secs();
    console.note(&format!(
        "  Expires in: {seconds} seconds ({})",
        duration::rounded(issued.expires_in)
    ));
    console.detail(&format!("  File:       {}", path.display()));
}

fn to_json(
    context: &Context,
    issued: &IdentityToken,
    saved: Option<&(TokenName, PathBuf)>,
) -> Value {
    let mut value = json!({
        "success": true,
        "server": context.servers().first().map(ToString::to_string),
        "identity": issued.identity,
        "expires_in": issued.expires_in.as_secs(),
        "token_saved_as": saved.map(|(name, _)| name.as_str()),
        "token_path": saved.map(|(_, path)| path.display().to_string()),
    });
    if saved.is_none() {
        value["token"] = json!(issued.token);
    }
    value
}
