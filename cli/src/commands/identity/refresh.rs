//! `hessra identity refresh`: a fresh token in the place of one that still lives, asked for with that token alone.

use hessra_sdk_rust::IdentityClient;
use hessra_settings::duration;
use serde_json::json;

use crate::args::RefreshIdentity;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Console;
use crate::store::TokenName;

/// Refreshes a stored token and keeps the fresh one.
pub(super) async fn run(
    context: &Context,
    console: Console,
    arguments: &RefreshIdentity,
) -> Outcome {
    let name: TokenName = match &arguments.token_name {
        Some(name) => name.parse()?,
        None => TokenName::default_name(),
    };
    let save_as: TokenName = match &arguments.save_as {
        Some(name) => name.parse()?,
        None => name.clone(),
    };
    let current = context.tokens().load(&name)?;
    let client = IdentityClient::new(context.connection()?)?;
    let issued = client.refresh_identity_token(&current).await?;
    let path = context.tokens().save(&save_as, &issued.token)?;
    let seconds = issued.expires_in.as_secs();
    if !console.for_machines() {
        console.success(&format!("Identity token refreshed, saved as '{save_as}'"));
        console.note(&format!("  Identity:   {}", issued.identity));
        console.note(&format!(
            "  Expires in: {seconds} seconds ({})",
            duration::rounded(issued.expires_in)
        ));
    }
    let value = json!({
        "success": true,
        "identity": issued.identity,
        "expires_in": seconds,
        "saved_as": save_as.as_str(),
        "token_path": path.display().to_string(),
    });
    console.answer(&value, String::new)
}
