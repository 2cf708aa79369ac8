//! What connections are for, against tshark, Zeek and the ja4 project on captures that this project did not make. What
//! differs, and why, is listed in `docs/conformance.md`; `cargo xtask conformance` prints each difference.

use observer_tests::protocols::made::Made;
use observer_tests::{protocols, run, skip, tshark};

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

#[test]
fn real_servers_and_clients_are_what_tshark_says() {
    const TEST: &str = "protocols of real servers";
    if tshark::version().is_none() {
        return skip(TEST, "tshark is not installed");
    }
    let observer = run::observer().expect("observer builds");
    let Some(made) = Made::make(observer).expect("servers and clients speak") else { return };
    let tally = protocols::compare_made(observer, &made).expect("all can be compared");
    print!("{}", tally.table());
    let missed = tally.missed();
    assert!(missed.is_empty(), "{missed:#?}\n{}", tally.table());
    // Where programs are missing, that was said.
    assert!(!made.is_whole || tally.total() >= 1200, "only {} values have been compared", tally.total());
}
