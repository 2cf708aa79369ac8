//! Interfaces that come while it is watched: what arrives there is seen as well.

use std::net::SocketAddr;
use std::time::Instant;

use observer_tests::live::{DEADLINE, Netns, Watch, is_emulated, limit_descriptors, until};
use observer_tests::skip;
use serde_json::Value;

use super::to_port;

/// Makes connections until the packets of one are seen that arrive from the server: an interface is noticed a moment after it
/// has come.
fn see_what_arrives(watch: &Watch, client: &Netns, server: &Netns) {
    let started = Instant::now();
    loop {
        let listener = server.serve("10.0.0.2:0", "echo", 1);
        client.connect(SocketAddr::from(([10, 0, 0, 2], listener.port)), "send", 1).end();
        let record = watch.connection("the connection", to_port(listener.port));
        let offered = &record["handshake"]["offered"];
        assert_eq!(offered["client"]["mss"], 1460, "what leaves is seen anyway: {record:#}");
        if offered["server"]["mss"] == 1460 {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "no SYN-ACK was ever seen to arrive: {record:#}");
    }
}

/// How many descriptors it has.
fn held(watch: &Watch) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", watch.pid())).expect("it lives").count() as u64
}

#[test]
fn what_arrives_at_an_interface_that_comes_later_is_seen() {
    let test = "an interface that comes later";
    let (Some(client), Some(server)) = (Netns::new(test), Netns::new(test)) else { return };
    let Some(watch) = Watch::start(test, &["--netns", &client.inode().to_string()]) else { return };
    client.link(&server, "wire", "10.0.0.1/24", "10.0.0.2/24");
    see_what_arrives(&watch, &client, &server);
    // More than have a socket each, and fewer again.
    for pair in 0..33 {
        client.ip(&["link", "add", &format!("here{pair}"), "type", "veth", "peer", &format!("there{pair}")]);
    }
    see_what_arrives(&watch, &client, &server);
    client.ip(&["link", "del", "here0"]);
    see_what_arrives(&watch, &client, &server);
}

#[test]
fn what_goes_from_one_namespace_to_another_is_seen_once_in_each() {
    let test = "from one namespace to another";
    let (Some(client), Some(server)) = (Netns::new(test), Netns::new(test)) else { return };
    client.link(&server, "wire", "10.0.0.1/24", "10.0.0.2/24");
    let Some(watch) = Watch::start(test, &["--netns", "all"]) else { return };
    let listener = server.serve("10.0.0.2:0", "echo", 1);
    client.connect(SocketAddr::from(([10, 0, 0, 2], listener.port)), "send", 1).end();
    for netns in [&client, &server] {
        let is_ours = |record: &Value| to_port(listener.port)(record) && record["netns"] == netns.inode();
        let record = watch.connection("the connection", is_ours);
        let entries = record["timeline"]["entries"].as_array().expect("there is a timeline");
        for kind in ["syn", "syn_ack"] {
            let count = entries.iter().filter(|entry| entry["kind"] == kind).count();
            assert_eq!(count, 1, "{kind}: {record:#}");
        }
    }
}

#[test]
fn one_of_the_same_name_is_another_interface() {
    let test = "an interface that comes again";
    let (Some(client), Some(server)) = (Netns::new(test), Netns::new(test)) else { return };
    client.link(&server, "wire", "10.0.0.1/24", "10.0.0.2/24");
    let Some(watch) = Watch::start(test, &["--netns", &client.inode().to_string()]) else { return };
    see_what_arrives(&watch, &client, &server);
    client.ip(&["link", "del", "wire"]);
    client.link(&server, "wire", "10.0.0.1/24", "10.0.0.2/24");
    see_what_arrives(&watch, &client, &server);
}

#[test]
fn with_few_descriptors_one_socket_is_for_all_interfaces() {
    let test = "few descriptors";
    let (Some(client), Some(server)) = (Netns::new(test), Netns::new(test)) else { return };
    client.link(&server, "wire", "10.0.0.1/24", "10.0.0.2/24");
    let Some(watch) = Watch::start(test, &["--netns", &client.inode().to_string()]) else { return };
    see_what_arrives(&watch, &client, &server);
    limit_descriptors(watch.pid(), held(&watch) + 4);
    for pair in 0..5 {
        client.ip(&["link", "add", &format!("here{pair}"), "type", "veth", "peer", &format!("there{pair}")]);
    }
    client.ip(&["link", "del", "wire"]);
    client.link(&server, "wire", "10.0.0.1/24", "10.0.0.2/24");
    see_what_arrives(&watch, &client, &server);
    let capture = watch.finish().pop().expect("the capture is told of at the end");
    let packets = capture["hooks"].as_array().and_then(|hooks| hooks.iter().find(|hook| hook["name"] == "packets"));
    assert!(packets.is_some_and(|hook| hook["why"].is_null()), "{capture:#}");
}

#[test]
fn a_namespace_that_is_entered_another_way_now_is_followed() {
    let test = "a namespace with another name";
    if is_emulated() {
        return skip(test, "an emulated machine has no mount(8)");
    }
    let (Some(client), Some(server)) = (Netns::new(test), Netns::new(test)) else { return };
    client.link(&server, "wire", "10.0.0.1/24", "10.0.0.2/24");
    let Some(watch) = Watch::start(test, &["--netns", &client.inode().to_string()]) else { return };
    see_what_arrives(&watch, &client, &server);
    let before = held(&watch);
    client.renamed(|name| {
        let added = std::process::Command::new("ip").args(["-n", name, "link", "add", "here", "type", "veth"]).status();
        assert!(added.is_ok_and(|status| status.success()), "an interface can be made");
        until("the interface was noticed", || held(&watch) < before);
    });
    see_what_arrives(&watch, &client, &server);
}
