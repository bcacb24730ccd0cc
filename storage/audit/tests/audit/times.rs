//! Instants: one text for each, in the order of time, and nothing else is one.

use hessra_audit::time::{millis, rfc3339};
use proptest::prelude::*;

/// The last millisecond of the year 9999.
const END: u64 = 253_402_300_799_999;

#[test]
fn known_instants_have_known_texts() {
    for (instant, text) in [
        (68_169_599_999, "1972-02-28T23:59:59.999Z"),
        (68_169_600_000, "1972-02-29T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (1_773_500_966_535, "2026-03-14T15:09:26.535Z"),
        (END - 86_400_000, "9999-12-30T23:59:59.999Z"),
        (END, "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(rfc3339(instant), text);
        assert_eq!(millis(text), Some(instant));
    }
    assert_eq!(rfc3339(END + 1), rfc3339(END));
}

#[test]
fn another_text_of_an_instant_is_none() {
    for text in [
        "",
        "2026-03-14",
        "2026-03-14T15:09:26Z",
        "2026-03-14T15:09:26.53Z",
        "2026-03-14T15:09:26.5350Z",
        "2026-03-14T15:09:26.535",
        "2026-03-14T15:09:26.535z",
        "2026-03-14t15:09:26.535Z",
        "2026-03-14 15:09:26.535Z",
        "2026-03-14T15:09:26,535Z",
        "2026-03-14T15:09:26.535+00:00Z",
        "2026-02-30T15:09:26.535Z",
        "2026-13-14T15:09:26.535Z",
        "2026-03-00T15:09:26.535Z",
        "2026-03-14T24:00:00.000Z",
        "2026-03-14T23:59:60.000Z",
        "1969-12-31T23:59:59.999Z",
        "-2026-03-14T15:09:26.535Z",
    ] {
        assert_eq!(millis(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn texts_are_as_long_as_each_other_parse_back_and_keep_the_order(
        one in 0..=END,
        other in 0..=END,
    ) {
        prop_assert_eq!(rfc3339(one).len(), 24);
        prop_assert_eq!(millis(&rfc3339(one)), Some(one));
        prop_assert_eq!(one.cmp(&other), rfc3339(one).cmp(&rfc3339(other)));
    }
}
