//! What connections are for, against tshark, Zeek and the ja4 project on captures that this project did not make. What
//! differs, and why, is listed in `docs/conformance.md`; `cargo xtask conformance` prints each difference.

use observer_tests::{protocols, run, skip};

#[test]
fn protocols_are_what_other_tools_say() {
    let Some(corpus) = protocols::corpus() else {
        return skip("protocols against other tools", "there is no corpus beside the checkout");
    };
    let tally = protocols::compare(run::observer().expect("observer builds"), &corpus).expect("all can be compared");
    assert!(tally.total() >= 500, "only {} values have been compared", tally.total());
    let missed = tally.missed();
    assert!(missed.is_empty(), "{missed:#?}\n{}", tally.table());
}
