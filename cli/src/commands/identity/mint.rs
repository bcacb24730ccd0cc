//! `hessra identity mint`: an identity token for a subject of the caller's realm.

use std::path::PathBuf;

use hessra_sdk_rust::identity::IdentityToken;
use hessra_sdk_rust::{Authentication, IdentityClient};
use hessra_settings::duration;
use serde_json::{Value, json};

use crate::args::{Format, Identity, MintIdentity};
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Console;
use crate::store::TokenName;
use crate::tokens;

/// Asks for the token with the client certificate, or with the identity token that was named.
pub(super) async fn run(
    context: &Context,
    console: Console,
    identity: Identity,
    arguments: &MintIdentity,
) -> Outcome {
    let name: Option<TokenName> = arguments.save_as.as_deref().map(str::parse).transpose()?;
    let issued = match identity {
        Identity::Token(argument) => {
            let token = tokens::read(context, &argument)?;
            let client = IdentityClient::new(context.connection()?)?;
            let authentication = Authentication::Identity(&token.text);
            mint(&client, arguments, authentication).await?
        }
        // A default token is that of a user more often than that of a realm: it is used when it is named.
        Identity::Certificate | Identity::Default => {
            let client = IdentityClient::new(context.authenticated_connection()?)?;
            mint(&client, arguments, Authentication::Certificate).await?
        }
    };
    let path = name
        .as_ref()
        .map(|name| context.tokens().save(name, &issued.token))
        .transpose()?;
    say(console, arguments, &issued);
    let print = path.is_none() || arguments.token_only || console.format == Format::Token;
    console.answer(
        &to_json(context, arguments, &issued, path.as_ref()),
        || match print {
            true => console.token_text(&issued.token),
            false => String::new(),
        },
    )
}

async fn mint(
    client: &IdentityClient,
    arguments: &MintIdentity,
    authentication: Authentication<'_>,
) -> Outcome<IdentityToken> {
    let minted = client.mint_identity_token(&arguments.subject, arguments.ttl, authentication);
    Ok(minted.await?)
}

fn say(console: Console, arguments: &MintIdentity, issued: &IdentityToken) {
    if console.for_machines() || arguments.token_only {
        return;
    }
    let saved = arguments.save_as.as_deref();
    let saved = saved.map_or_else(String::new, |name| format!(", saved as '{name}'"));
    console.success(&format!(
        "Identity token minted for {}{saved}",
        issued.identity
    ));
    console.note(&format!(
        "  Expires in: {} seconds ({})",
        issued.expires_in.as_secs(),
        duration::rounded(issued.expires_in)
    ));
}

fn to_json(
    context: &Context,
    arguments: &MintIdentity,
    issued: &IdentityToken,
    path: Option<&PathBuf>,
) -> Value {
    let mut value = json!({
        "success": true,
        "server": context.servers().first().map(ToString::to_string),
        "subject": arguments.subject,
        "identity": issued.identity,
        "expires_in": issued.expires_in.as_secs(),
        "token": issued.token,
        "saved": path.is_some(),
    });
    if let Some(path) = path {
        value["saved_as"] = json!(arguments.save_as);
        value["token_path"] = json!(path.display().to_string());
    }
    value
}
