//! `hessra authorize …`: a token that permits one operation on one resource, and whether it does.

use hessra_sdk_rust::identity::AuthorizationToken;
use hessra_sdk_rust::{Authentication, IdentityClient, Request};
use serde_json::{Value, json};

use crate::args::{AuthorizeCommand, AuthorizeRequest, AuthorizeVerify, Format, Identity};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{CommandError, Outcome};
use crate::output::Console;
use crate::sdk;
use crate::tokens::{self, GivenToken};
use crate::verification::{self, Revocation};

/// Runs one of the commands.
pub(super) async fn run(
    context: &Context,
    console: Console,
    identity: Identity,
    command: AuthorizeCommand,
) -> Outcome {
    match command {
        AuthorizeCommand::Request(arguments) => {
            request(context, console, identity, &arguments).await
        }
        AuthorizeCommand::Verify(arguments) => verify(context, console, &arguments).await,
    }
}

async fn request(
    context: &Context,
    console: Console,
    identity: Identity,
    arguments: &AuthorizeRequest,
) -> Outcome {
    let token = identity_token(context, identity, arguments)?;
    let connection = if token.is_some() {
        context.connection()?
    } else {
        context.authenticated_connection()?
    };
    let authentication = token.as_ref().map_or(Authentication::Certificate, |token| {
        Authentication::Identity(&token.text)
    });
    let AuthorizeRequest {
        resource,
        operation,
        domain,
        ..
    } = arguments;
    let client = IdentityClient::new(connection)?;
    let issued = client
        .request_token_in(resource, operation, domain.as_deref(), authentication)
        .await?;
    let asked_as = token.map_or_else(|| "the client certificate".to_owned(), |token| token.source);
    say(console, arguments, &issued, &asked_as);
    console.answer(&request_json(arguments, &issued), || {
        // Published: nothing but the token, not even a newline.
        if arguments.token_only {
            issued.token.clone()
        } else {
            console.token_text(&issued.token)
        }
    })
}

fn identity_token(
    context: &Context,
    identity: Identity,
    arguments: &AuthorizeRequest,
) -> Outcome<Option<GivenToken>> {
    if let Some(file) = &arguments.token_file {
        return tokens::from_file(file).map(Some);
    }
    match identity {
        Identity::Token(argument) => tokens::read(context, &argument).map(Some),
        Identity::Certificate => Ok(None),
        Identity::Default => tokens::find_default(context),
    }
}

fn say(
    console: Console,
    arguments: &AuthorizeRequest,
    issued: &AuthorizationToken,
    asked_as: &str,
) {
    if console.for_machines() || console.format == Format::Token || arguments.token_only {
        return;
    }
    console.success(&format!(
        "Authorized: {} on {}, asked as {asked_as}",
        arguments.operation, arguments.resource
    ));
    for pending in &issued.pending_signoffs {
        console.warn(&format!(
            "Not usable before {} has signed at {}",
            pending.component, pending.authorization_service
        ));
    }
}

fn request_json(arguments: &AuthorizeRequest, issued: &AuthorizationToken) -> Value {
    let pending: Vec<Value> = issued
        .pending_signoffs
        .iter()
        .map(|pending| {
            json!({
                "component": pending.component,
                "authorization_service": pending.authorization_service,
                "public_key": pending.public_key,
            })
        })
        .collect();
    json!({
        "success": true,
        "token": issued.token,
        "resource": arguments.resource,
        "operation": arguments.operation,
        "response_msg": "Token issued",
        "pending_signoffs": pending,
    })
}

async fn verify(context: &Context, console: Console, arguments: &AuthorizeVerify) -> Outcome {
    let given = match &arguments.token {
        Some(argument) => tokens::read(context, argument)?,
        None => tokens::from_stdin()?,
    };
    let AuthorizeVerify {
        subject,
        resource,
        operation,
        ..
    } = arguments;
    let request = Request::authorization(sdk::identity(subject)?, resource, operation);
    let verified_token = verification::verify(
        context,
        &given.text,
        &request,
        &arguments.public_key,
        arguments.offline,
    )
    .await;
    match verified_token {
        Ok(verification) => {
            let value = verify_json(arguments, verification.revocation);
            console.answer(&value, || {
                format!("✓ Permitted: {subject} may {operation} {resource}\n")
            })?;
            if verification.revocation == Revocation::NotAsked {
                console.warn(
                    "Revocation was not checked (--offline): the token may have been revoked since this computer last heard of the cluster.",
                );
            }
            Ok(())
        }
        Err(failure) => {
            refuse(console, arguments, &failure)?;
            Err(failure)
        }
    }
}

fn verify_json(arguments: &AuthorizeVerify, revocation: Revocation) -> Value {
    json!({
        "success": true,
        "subject": arguments.subject,
        "resource": arguments.resource,
        "operation": arguments.operation,
        "message": "Token is valid",
        "revocation": revocation.to_json(),
    })
}

fn refuse(console: Console, arguments: &AuthorizeVerify, failure: &CommandError) -> Outcome {
    if !console.for_machines() {
        return Ok(());
    }
    let valid = (failure.exit == Exit::No).then_some(false);
    let value = json!({
        "success": false,
        "valid": valid,
        "subject": arguments.subject,
        "resource": arguments.resource,
        "operation": arguments.operation,
        "reason": failure.reason,
        "error": failure.message,
    });
    console.answer(&value, String::new)
}
