//! The OpenAPI document: made from the handlers, so that it cannot say what they do not do.
//!
//! `docs/openapi.json` is this text, checked in; a test compares them.

use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::shared::Shared;
use super::{authorization, capability, identity, open, verification};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "hessra authority",
        description = "Tokens for machines, from any node of an authority. Every refusal is an \
            `application/problem+json` object with a stable `reason`; `response_msg` and `token: null` are for \
            clients that know nothing of it. All paths are at the root, over HTTPS; no request is redirected.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(crate::problem::ProblemBody)),
    modifiers(&Schemes),
)]
struct Document;

struct Schemes;

impl utoipa::Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("A Biscuit identity token, delegated or not.".to_owned());
        let certificate = SecurityScheme::MutualTls {
            description: Some("A client certificate that the policy names.".to_owned()),
            deprecated: None,
            extensions: None,
        };
        components.add_security_scheme("identity_token", SecurityScheme::Http(bearer));
        components.add_security_scheme("client_certificate", certificate);
    }
}

/// The routes with what the document says of them.
pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(open::public_key))
        .routes(routes!(open::ca_cert))
        .routes(routes!(open::health))
        .routes(routes!(identity::request_identity_token))
        .routes(routes!(identity::refresh_identity_token))
        .routes(routes!(identity::mint_identity_token))
        .routes(routes!(authorization::request_token))
        .routes(routes!(authorization::sign_token))
        .routes(routes!(authorization::request_stub))
        .routes(routes!(capability::request_capability))
        .routes(routes!(capability::activate_capability))
        .routes(routes!(capability::spend_capability))
        .routes(routes!(capability::request_context))
        .routes(routes!(capability::extend_context))
        .routes(routes!(verification::verify_token))
        .routes(routes!(verification::verify_service_chain_token))
}

/// The document as it is served and checked in: JSON, indented, with a line end.
#[must_use]
pub fn openapi() -> String {
    text(&routes().into_openapi())
}

pub(super) fn text(document: &utoipa::openapi::OpenApi) -> String {
    let json = document
        .to_pretty_json()
        .expect("a document of strings and lists is JSON");
    json + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

    #[test]
    fn the_document_in_the_docs_is_that_of_the_handlers() {
        if std::env::var_os("HESSRA_UPDATE").is_some() {
            std::fs::write(FILE, openapi()).unwrap();
        }
        let file = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            file == openapi(),
            "docs/openapi.json is old: run the test with HESSRA_UPDATE=1"
        );
    }

    #[test]
    fn every_refusal_has_the_one_shape_and_the_version_is_3_1() {
        let document: serde_json::Value = serde_json::from_str(&openapi()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap();
        for (path, operations) in paths {
            for operation in operations.as_object().unwrap().values() {
                let responses = operation["responses"].as_object().unwrap();
                let refusals = responses
                    .iter()
                    .filter(|(status, _)| !status.starts_with('2'));
                for (status, response) in refusals.filter(|_| path != "/health") {
                    let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(
                        schema, "#/components/schemas/ProblemBody",
                        "{path} {status}"
                    );
                }
            }
        }
    }
}
