//! Texts that a caller may put into a record.

use hessra_audit::{Head, open, seal};

use super::record;

#[test]
fn a_line_feed_in_a_name_makes_no_line() {
    let mut record = record(1);
    record.actor.subject = "urn:hessra:alice\"}\n{\"v\":1,\"event\":\"authz.issued\"".to_owned();
    let (line, _) = seal(&mut record, &Head::START);
    assert_eq!(line.lines().count(), 1);
    let read = open(&line).unwrap().record;
    assert_eq!(read.event, "authz.denied");
    assert!(read.actor.subject.contains('\u{fffd}'));
}

#[test]
fn a_token_in_the_wrong_field_does_not_reach_the_file() {
    let token = format!("En0KEwoFYWxpY2UYAyI{}==", "Jc3ViamVjdF9".repeat(20));
    let mut record = record(1);
    record.target.resource.clone_from(&token);
    record.message = format!("`{token}` is no resource");
    record.target.token_ids.push(token.clone());
    record.ticket = format!("Bearer {token}");
    let (line, _) = seal(&mut record.with("why", token.clone()), &Head::START);
    assert!(!line.contains(&token) && !line.contains("Jc3ViamVjdF9Jc3ViamVjdF9"));
    assert!(line.contains("characters left out"));
    assert!(line.contains(&"ab".repeat(64)), "ids of tokens stay");
}

#[test]
fn a_text_without_end_is_cut_and_says_so() {
    let mut record = record(1);
    record.message = "so many words ".repeat(10_000);
    let (line, _) = seal(&mut record, &Head::START);
    assert!(line.len() < 4_096);
    assert!(open(&line).unwrap().record.message.ends_with('…'));
}

#[test]
fn names_that_people_use_are_left_as_they_are() {
    for name in [
        "urn:hessra:mycompany:admin-user",
        "uri:urn:hessra:alice",
        "payments.internal.example.com",
        "/srv/data/2026/01/report.pdf",
        "Grüße aus Köln",
    ] {
        assert_eq!(hessra_audit::text::safe(name), name);
    }
}

/// Texts at every edge between what is left alone and what is changed: a record holds what [`hessra_audit::text::safe`]
/// makes.
#[test]
fn a_record_holds_its_texts_as_they_are_made_safe() {
    let runs = (94..=98).flat_map(|length| {
        let run = "a".repeat(length);
        [
            run.clone(),
            format!("{run} and {run}"),
            format!("x.{run}/{run}"),
        ]
    });
    let lengths = (1_020..=1_030).map(|length| "word ".repeat(300)[..length].to_owned());
    let characters = (0..0x100).filter_map(char::from_u32).map(String::from);
    for text in runs.chain(lengths).chain(characters) {
        let mut record = record(1);
        record.message.clone_from(&text);
        let (line, _) = seal(&mut record, &Head::START);
        let read = open(&line).unwrap().record.message;
        assert_eq!(read, hessra_audit::text::safe(&text), "{text:?}");
    }
}

#[test]
fn a_stranger_has_64_bytes_of_every_field_and_a_proved_caller_more() {
    let long = "word ".repeat(100);
    let hex = "ab".repeat(200);
    let mut record = record(1).with("why", long.clone()).with("shown", hex);
    record.target.resource.clone_from(&long);
    record.request.api.clone_from(&long);
    record.message = "ä".repeat(100);
    let mut stranger = record.clone();
    stranger.actor.subject = String::new();
    stranger.actor.auth = "mtls".to_owned();
    let read = open(&seal(&mut stranger, &Head::START).0).unwrap().record;
    let texts = [
        read.target.resource.as_str(),
        read.request.api.as_str(),
        read.message.as_str(),
        read.change["why"].as_str().unwrap(),
    ];
    for text in texts {
        assert!(text.len() <= 64 && text.ends_with('…'), "{text}");
    }
    assert_eq!(read.change["shown"], "[400 characters left out]");
    let read = open(&seal(&mut record, &Head::START).0).unwrap().record;
    assert_eq!(read.target.resource, long);
}

#[test]
fn what_the_node_says_of_itself_is_not_cut() {
    let mut record = record(1);
    record.actor.subject = String::new();
    record.actor.auth = "node".to_owned();
    record.message = "word ".repeat(100);
    let read = open(&seal(&mut record, &Head::START).0).unwrap().record;
    assert_eq!(read.message.len(), 500);
}
