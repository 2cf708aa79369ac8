//! What connections are for, against tshark, Zeek and the ja4 project on captures that this project did not make. What
//! differs, and why, is listed in `docs/conformance.md`; `cargo xtask conformance` prints each difference.

use std::process::{Command, Stdio};

use observer_tests::live::{Netns, Watch, until};
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

#[test]
fn a_key_log_that_grows_opens_tls_as_it_is_spoken() {
    const TEST: &str = "a key log while watching";
    let Some(netns) = Netns::new(TEST) else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (key, certificate, log) = (path("key"), path("certificate"), path("log"));
    let made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=lab"];
    let made = Command::new("openssl").args(made).args(["-keyout", &key, "-out", &certificate]).output();
    if !made.is_ok_and(|made| made.status.success()) || Command::new("curl").arg("--version").output().is_err() {
        return skip(TEST, "openssl or curl is not installed");
    }
    std::fs::write(&log, "").expect("it can be written");
    let mut server = netns.command("openssl");
    server.args(["s_server", "-quiet", "-www", "-accept", "4433", "-key", &key, "-cert", &certificate]);
    let mut server =
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ip starts");
    let inode = netns.inode().to_string();
    let args = ["--source", "pcap", "--netns", &inode, "--keylog", &log];
    if let Some(watch) = Watch::start(TEST, &args) {
        let ask = || {
            let mut curl = netns.command("curl");
            curl.env("SSLKEYLOGFILE", &log).args(["--silent", "--insecure", "https://127.0.0.1:4433/opened"]);
            curl.output().is_ok_and(|output| output.status.success())
        };
        until("the server answers", ask);
        let record = watch.connection("what TLS sealed", |record| record["exchanges"]["entries"][0]["status"] == 200);
        assert_eq!(record["exchanges"]["entries"][0]["path"], "/opened", "{record:#}");
        assert_eq!((&record["via"][0], &record["protocol"]), (&"tls".into(), &"http".into()));
        watch.finish();
    }
    let _ = server.kill();
    let _ = server.wait();
}
