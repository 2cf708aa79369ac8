//! Lookups of names, and the connections that used them.

use observer_tests::live::Netns;

use super::{stage, to_port, v4};

#[test]
fn a_connection_knows_the_name_that_was_looked_up() {
    let Some((netns, watch)) = stage("a lookup and its connection", &[]) else { return };
    let names = netns.serve("127.0.0.1:0", "names", 2);
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    netns.connect(v4(names.port), "lookup example.org", 1).end();
    netns.connect(v4(server.port), "send", 1).end();
    netns.connect(v4(names.port), "lookup missing.example", 1).end();
    let record = watch.connection("the connection", to_port(server.port));
    assert_eq!(record["name"]["name"], "example.org");
    assert_eq!((&record["name"]["from"], &record["dns"]["code"]), (&"dns".into(), &"NOERROR".into()));
    let objects = watch.finish();
    let of = |name: &str| {
        let mut found = objects.iter().filter(|object| object["type"] == "lookup" && object["name"] == name);
        let lookup = found.next().unwrap_or_else(|| panic!("no lookup of {name}"));
        assert!(found.next().is_none(), "{name}: once");
        lookup
    };
    assert_eq!(of("example.org")["answers"], serde_json::json!(["127.0.0.1"]));
    assert_eq!((&of("missing.example")["code"], &of("missing.example")["queries"]), (&"NXDOMAIN".into(), &1.into()));
    assert_eq!(of("missing.example")["netns"], netns.inode());
    assert!(of("example.org")["latency_ns"].as_u64().is_some_and(|latency| latency > 0));
}

#[test]
fn a_question_that_nobody_answers_is_told_at_the_end() {
    let Some((netns, watch)) = stage("a lookup without an answer", &[]) else { return };
    let names = netns.serve("127.0.0.1:0", "names", 1);
    netns.connect(v4(names.port), "lookup silent.example", 1).end();
    names.end();
    let objects = watch.finish();
    let lookup = objects.iter().find(|object| object["type"] == "lookup").expect("it was asked");
    assert_eq!((&lookup["name"], &lookup["code"]), (&"silent.example".into(), &serde_json::Value::Null));
}

#[test]
fn what_a_host_is_asked_by_others_is_not_its_own() {
    let test = "lookups of this host and of others";
    let Some((netns, watch)) = stage(test, &[]) else { return };
    let Some(other) = Netns::new(test) else { return };
    netns.link(&other, "cable", "10.9.8.1/24", "10.9.8.2/24");
    // On one the observer watches who asks, on the other who answers.
    let here = netns.serve("10.9.8.1:0", "names", 1);
    let there = other.serve("10.9.8.2:0", "names", 1);
    other.connect(([10, 9, 8, 1], here.port).into(), "lookup asked.example", 1).end();
    netns.connect(([10, 9, 8, 2], there.port).into(), "lookup asking.example", 1).end();
    let objects = watch.finish();
    let names: Vec<_> = objects.iter().filter(|object| object["type"] == "lookup").map(|o| &o["name"]).collect();
    assert_eq!(names, ["asking.example"]);
}
