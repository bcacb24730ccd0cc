//! The short form of the command `rotations`.

use hessra_tests::{Layout, rotations};

#[test]
fn twenty_rotations_under_load_refuse_no_good_token_and_accept_no_bad_one() {
    let cluster = Layout::new("rotations")
        .set("feed", "fresh_for", "2s")
        .start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let report = runtime.block_on(rotations::rotate(&cluster, 20));
    assert_eq!(report.refused, Vec::<String>::new(), "{report:?}");
    assert_eq!(report.accepted, Vec::<String>::new(), "{report:?}");
    assert_eq!((report.rotations, report.revoked), (20, 2), "{report:?}");
    assert!(report.minted >= 120, "{report:?}");
}
