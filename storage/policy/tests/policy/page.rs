//! Page of the documentation: what it shows is a policy.

use hessra_policy::{Limits, PolicyView, Right, TokenShape};

use crate::sample::id;

const PAGE: &str = include_str!("../../../../docs/policy.md");

/// The text of the block that begins with this line.
fn block(head: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(&format!("```{head}\n"))
        .expect("the block is there");
    rest.split_once("```").expect("it ends").0
}

#[test]
fn the_examples_of_the_page_are_a_valid_policy_and_say_the_defaults() {
    let view = PolicyView::parse(block("toml clients"), block("toml resources"))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(view.limits(), &Limits::default());
    let alice = view.client(&id("urn:example:alice")).unwrap();
    let plain = view.client(&id("urn:example:bob")).unwrap();
    assert_eq!(alice.refresh, plain.refresh);
    assert_eq!(alice.identity_token_duration, plain.identity_token_duration);
    assert_eq!(
        (alice.delegable, alice.require_jit),
        (plain.delegable, plain.require_jit)
    );
    assert!(view.may("urn:example:ops:ann", Right::Keys, None).is_ok());
    assert_eq!(view.resource("api").shape, TokenShape::Universal);
    assert!(view.resource("api").rules_of("write").single_use);
    assert_eq!(view.authorization_duration_of("payments"), 60);
}

#[test]
fn every_key_that_is_read_is_on_the_page() {
    let wrong = [
        ("x_y_z = 1", ""),
        ("[limits]\nx_y_z = 1", ""),
        ("[[clients]]\nx_y_z = 1", ""),
        ("[[operators]]\nx_y_z = 1", ""),
        ("", "x_y_z = 1"),
        ("", "[resources.a]\nx_y_z = 1"),
        ("", "[[exposure_rules]]\nx_y_z = 1"),
    ];
    for (clients, resources) in wrong {
        let error = PolicyView::parse(clients, resources).unwrap_err();
        let unknown = error
            .problems()
            .find(|problem| problem.message.contains("x_y_z"))
            .unwrap();
        let known = unknown
            .hint
            .trim_start_matches("Known here: ")
            .trim_end_matches('.');
        for key in known.split(", ") {
            assert!(PAGE.contains(key), "`{key}` is not in docs/policy.md");
        }
    }
}
