//! Sockets that are closed and wait for the other end.

use observer_tests::live::{Netns, until};
use serde_json::Value;

use super::{Diagnosis, any, diagnosed};

/// Two hosts on a wire: 10.77.0.1 and 10.77.0.2.
fn two_hosts(test: &str) -> Option<(Netns, Netns)> {
    let (own, other) = (Netns::new(test)?, Netns::new(test)?);
    own.link(&other, "wire", "10.77.0.1/24", "10.77.0.2/24");
    Some((own, other))
}

fn is_of(state: &'static str) -> impl Fn(&Value) -> bool {
    move |gauge: &Value| gauge["subject"]["state"] == state
}

fn said(diagnosis: &Diagnosis) -> String {
    let finding = diagnosis.finding("stuck-closing").expect("it was told");
    finding["cases"][0]["finding"]["what"].as_str().expect("it says something").to_string()
}

#[test]
fn fins_that_nobody_acknowledges_are_told_though_they_are_older_than_we() {
    let Some((own, other)) = two_hosts("stuck in FIN-WAIT-1") else { return };
    let server = other.serve("10.77.0.2:0", "hold", 3);
    let client = own.connect(([10, 77, 0, 2], server.port).into(), "hold", 3);
    let open = || own.output("ss", &["-Htn", "state", "established"]).lines().count();
    until("three connections stand", || open() == 3);
    other.ip(&["link", "set", "wire", "down"]);
    client.end();
    // Nobody knows when they were closed, but how often they have said so.
    let again = || own.output("ss", &["-Htno", "state", "fin-wait-1"]).matches(",4)").count();
    until("each is sent again four times", || again() == 3);
    // That is three seconds; ten are too long.
    let calm = Diagnosis::of(&own, &["--for", "300ms"]);
    assert_eq!(calm.value("closing", is_of("FIN-WAIT-1")), Some(3), "{:#?}", calm.objects);
    assert!(calm.finding("stuck-closing").is_none(), "{:#?}", calm.objects);
    let args = ["--for", "300ms", "--threshold", "stuck_closing=2s"];
    let found = diagnosed(&own, &args, "a stuck FIN", |diagnosis| diagnosis.finding("stuck-closing").is_some());
    let what = said(&found);
    assert!(what.starts_with(&format!("3 connections to 10.77.0.2:{} in FIN-WAIT-1", server.port)), "{what}");
    assert_eq!(found.status, 10);
}

#[test]
fn a_fin_wait_2_that_no_process_has_is_as_old_as_its_timer_says() {
    let Some((own, other)) = two_hosts("stuck in FIN-WAIT-2") else { return };
    let server = other.serve("10.77.0.2:0", "hold", 2);
    // The server does not close in its turn.
    own.connect(([10, 77, 0, 2], server.port).into(), "leave", 2).end();
    let left = || own.output("ss", &["-Htn", "state", "fin-wait-2"]).lines().count();
    until("both have left", || left() == 2);
    let args = ["--for", "300ms", "--threshold", "fin_wait_2=2s"];
    let found = diagnosed(&own, &args, "a stuck FIN-WAIT-2", |diagnosis| diagnosis.finding("stuck-closing").is_some());
    assert_eq!(found.value("closing", is_of("FIN-WAIT-2")), Some(2));
    let what = said(&found);
    assert!(what.starts_with(&format!("2 connections to 10.77.0.2:{} in FIN-WAIT-2", server.port)), "{what}");
    // A minute's half has not gone by.
    let calm = Diagnosis::of(&own, &["--for", "300ms"]);
    assert!(calm.gauge("closing", any).is_some() && calm.finding("stuck-closing").is_none(), "{:#?}", calm.objects);
}
