//! The kernel observed: real sockets in namespaces of their own, and what `observer watch` says of them.

mod apart;
mod arguments;
mod connections;
mod counts;
mod datagrams;
mod failures;
mod filters;
mod interfaces;
mod names;
mod quic;
mod rights;
mod turns;
mod verdicts;

use std::net::{Ipv4Addr, SocketAddr};

use observer_tests::live::{Actor, Netns, Watch, events, hooks, is_emulated, lacks, tolerance};
use serde_json::Value;

#[test]
fn a_hook_that_this_kernel_cannot_give_is_off_by_name() {
    let Some(hooks) = hooks("hooks") else { return };
    // `cargo xtask vm` makes its table of this.
    println!("hooks: {}", Value::from(hooks.clone()));
    for hook in &hooks {
        assert_eq!(hook["why"].is_null(), hook["attached"] == true, "{hook}");
    }
    let lacks = lacks(&hooks);
    // Where it is known which kernel this is.
    if let Ok(known) = std::env::var("OBSERVER_LACKS") {
        let mut known: Vec<_> = known.split(',').filter(|lack| !lack.is_empty()).map(str::to_string).collect();
        known.sort();
        assert_eq!(lacks, known, "{hooks:#?}");
    }
}

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn to_port(port: u16) -> impl Fn(&Value) -> bool {
    move |record| record["server"]["port"] == port
}

/// What is wrong with a connection, by name.
fn findings(record: &Value) -> Vec<&str> {
    record["findings"].as_array().into_iter().flatten().filter_map(|finding| finding["name"].as_str()).collect()
}

/// A namespace and an observer of it alone.
fn stage(test: &str, args: &[&str]) -> Option<(Netns, Watch)> {
    let netns = Netns::new(test)?;
    let inode = netns.inode().to_string();
    let watch = Watch::start(test, &[&["--netns", &inode], args].concat())?;
    Some((netns, watch))
}

/// What a connection from one actor to another looks like.
fn between(test: &str, serve: &str, connect: &str) -> Option<(Value, Actor, Actor)> {
    try_between(test, serve, connect, 2)
}

fn try_between(test: &str, serve: &str, connect: &str, again: u32) -> Option<(Value, Actor, Actor)> {
    let (netns, watch) = stage(test, &[])?;
    let server = netns.serve("127.0.0.1:0", serve, 1);
    let client = netns.connect(v4(server.port), connect, 1);
    let record = watch.connection("the connection", to_port(server.port));
    let objects = watch.finish();
    let records = objects.iter().filter(|object| object["type"] == "connection" && to_port(server.port)(object));
    let records: Vec<_> = records.collect();
    assert_eq!(records.len(), 1, "exactly once: {records:?}");
    // What the kernel left out may have been of another test's connections.
    let capture = objects.iter().find(|object| object["type"] == "capture").expect("it is the last");
    let missed: u64 =
        capture["hooks"].as_array().into_iter().flatten().filter_map(|hook| hook["missed"].as_u64()).sum();
    // An emulated machine stops programs in the middle, and its kernel may leave both of a hook's out. Then it says so.
    if is_emulated() && missed > 0 && again > 0 {
        println!("{missed} missed: {record}");
        return try_between(test, serve, connect, again - 1);
    }
    assert!(record["lost"].as_u64() <= Some(missed), "{} records lost, {missed} missed", record["lost"]);
    Some((record, server, client))
}

fn kinds(record: &Value, side: &str) -> Vec<String> {
    let events = events(record).into_iter();
    events
        .filter(|(_, from, _)| from == side)
        .map(|(kind, _, detail)| format!("{kind} {detail}").trim().to_string())
        .collect()
}

/// Whether two measures of a handshake, in nanoseconds, are the same.
fn near(one: i64, other: i64) -> bool {
    u128::from(one.abs_diff(other)) < tolerance().as_nanos()
}
