//! The same record in the Open Cybersecurity Schema Framework.

use hessra_audit::{Event, Outcome, Record, ocsf};

use super::{NEW_YEAR, record};

#[test]
fn every_event_has_a_class_whose_numbers_agree() {
    for event in Event::ALL {
        let record = Record::new(*event, Outcome::Success, NEW_YEAR);
        let object = ocsf::event(&record, "00");
        let number = |name: &str| object[name].as_u64().unwrap();
        assert_eq!(
            number("category_uid"),
            number("class_uid") / 1_000,
            "{event}"
        );
        assert_eq!(
            number("type_uid"),
            number("class_uid") * 100 + number("activity_id"),
            "{event}"
        );
        assert_eq!(number("time"), NEW_YEAR, "{event}");
        assert_eq!(object["metadata"]["event_code"], event.as_str());
    }
}

#[test]
fn a_denial_says_who_was_denied_what_and_leads_back_to_its_record() {
    let object = ocsf::event(&record(5), "beef");
    assert_eq!(object["class_uid"], 3003);
    assert_eq!(
        (&object["status"], &object["status_id"]),
        (&"Failure".into(), &2.into())
    );
    assert_eq!(object["actor"]["user"]["name"], "urn:hessra:alice");
    assert_eq!(object["privileges"][0], "api:write");
    assert_eq!(object["metadata"]["uid"], "n7-5");
    assert_eq!(object["unmapped"]["hash"], "beef");
}

#[test]
fn event_names_are_unique_and_read_back() {
    let mut names: Vec<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Event::ALL.len());
    for event in Event::ALL {
        assert_eq!(Event::parse(event.as_str()), Some(*event));
    }
}
