//! Rules of the firewall that drop and reject while doctor looks.

use observer_tests::live::Netns;
use observer_tests::skip;
use serde_json::Value;

use super::{Diagnosis, begun, command, loopback};

#[test]
fn rules_that_drop_and_reject_are_named() {
    let test = "rules of a firewall";
    let Some(netns) = Netns::new(test) else { return };
    let rules = "add table inet f; add chain inet f in { type filter hook input priority 0; }; \
                 add rule inet f in tcp dport 85 counter drop; add rule inet f in tcp dport 86 counter drop; \
                 add rule inet f in tcp dport 82 counter reject with tcp reset";
    if let Err(why) = netns.try_run("nft", &[rules]) {
        return skip(test, why.trim());
    }
    // What was met before is not told.
    netns.connect(loopback(82), "fail", 1).end();
    let doctor = begun(&mut command(&netns, &["--output", "json", "--source", "sock_diag", "--for", "5s"]));
    let silent = netns.connect(loopback(85), "fail", 1);
    for _ in 0..3 {
        netns.connect(loopback(82), "fail", 1).end();
    }
    let diagnosis = Diagnosis::told(doctor.wait_with_output().expect("it ends"));
    drop(silent);
    let met = |name: &str| {
        let all = diagnosis.objects.iter().filter(|object| object["type"] == "gauge" && object["name"] == name);
        all.map(|gauge| (gauge["value"].as_u64(), gauge["subject"]["rule"].clone())).collect::<Vec<_>>()
    };
    let dropped = met("firewall_dropped");
    let [(Some(2..), rule)] = dropped.as_slice() else { panic!("{:#?}", diagnosis.objects) };
    assert_eq!((&rule["family"], &rule["table"], &rule["chain"]), (&"inet".into(), &"f".into(), &"in".into()));
    assert_eq!(met("firewall_rejected").into_iter().map(|(packets, _)| packets).collect::<Vec<_>>(), [Some(4)]);
    let named = format!("inet f in handle {} (drop)", rule["handle"]);
    let finding = diagnosis.finding("unanswered-syn").unwrap_or_else(|| panic!("{:#?}", diagnosis.objects));
    let evidence = finding["cases"][0]["finding"]["evidence"].as_array().expect("there is some");
    let says = |piece: &Value| piece["what"].as_str().is_some_and(|what| what.contains(&named));
    assert!(evidence.iter().any(says), "{finding:#}");
}
