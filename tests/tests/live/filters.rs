//! Observing a part of the connections.

use observer_tests::live::{Netns, Watch, owners};
use serde_json::Value;

use super::{stage, to_port, v4};

/// The ports of two servers, each of which was sent something; the process that connected to the first.
fn two(netns: &Netns) -> ([u16; 2], u32) {
    let servers = [(); 2].map(|()| netns.serve("127.0.0.1:0", "echo", 1));
    let ports = servers.each_ref().map(|server| server.port);
    let [first, second] = ports.map(|port| netns.connect(v4(port), "send", 1));
    let pid = first.pid;
    first.end();
    second.end();
    (ports, pid)
}

fn has(objects: &[Value], port: u16) -> bool {
    objects.iter().any(|object| object["type"] == "connection" && to_port(port)(object))
}

#[test]
fn by_port_in_the_kernel() {
    let test = "connections by port";
    let Some(netns) = Netns::new(test) else { return };
    let inode = netns.inode().to_string();
    let servers = [(); 3].map(|()| netns.serve("127.0.0.1:0", "echo", 1));
    let ports = servers.each_ref().map(|server| server.port);
    let [one, two] = [ports[0].to_string(), ports[1].to_string()];
    let Some(watch) = Watch::start(test, &["--netns", &inode, "--port", &one, "--port", &two]) else { return };
    for port in [ports[2], ports[0], ports[1]] {
        netns.connect(v4(port), "send", 1).end();
    }
    for port in &ports[..2] {
        let record = watch.connection("a wanted one", to_port(*port));
        assert_eq!((&record["conn_state"], owners(&record, "server").len()), (&Value::from("SF"), 1));
        assert!(record["kernel"]["client"].is_object() && record["kernel"]["server"].is_object());
    }
    let objects = watch.finish();
    let capture = objects.iter().find(|object| object["type"] == "capture").expect("it is the last");
    assert_eq!(capture["connections"], 2, "of the third, nothing left the kernel");
}

#[test]
fn by_port_of_a_source_that_sees_packets_or_tables() {
    for source in ["pcap", "sock_diag"] {
        let test = format!("connections by port from {source}");
        let Some(netns) = Netns::new(&test) else { return };
        let inode = netns.inode().to_string();
        let servers = [(); 2].map(|()| netns.serve("127.0.0.1:0", "hold", 1));
        let ports = servers.each_ref().map(|server| server.port);
        let wanted = ports[0].to_string();
        let args = ["--source", source, "--netns", &inode, "--port", &wanted, "--interval", "0.3"];
        let Some(watch) = Watch::start(&test, &args) else { return };
        let clients = ports.map(|port| netns.connect(v4(port), "hold", 1));
        watch.update("the wanted one", to_port(ports[0]));
        clients.into_iter().for_each(|client| client.end());
        drop(servers);
        watch.connection("the wanted one", to_port(ports[0]));
        assert!(!has(&watch.finish(), ports[1]), "{source}");
    }
}

#[test]
fn by_process_name_and_control_group() {
    let test = "connections by process";
    let Some((netns, watch)) = stage(test, &["--comm", "actor"]) else { return };
    let (ports, _) = two(&netns);
    for port in ports {
        watch.connection("an actor's", to_port(port));
    }
    drop(watch);
    let Some((netns, watch)) = stage(test, &["--comm", "nobody"]) else { return };
    let (ports, _) = two(&netns);
    assert!(!has(&watch.finish(), ports[0]), "nobody has connected");

    // Actors are in the group that this test is in.
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("there are control groups");
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_string();
    let Some((netns, watch)) = stage(test, &["--cgroup", &own]) else { return };
    let (ports, _) = two(&netns);
    for port in ports {
        watch.connection("one of this group", to_port(port));
    }
    drop(watch);
    let Some((netns, watch)) = stage(test, &["--cgroup", "no-such-group"]) else { return };
    let (ports, _) = two(&netns);
    assert!(!has(&watch.finish(), ports[0]), "there is no such group");
}

#[test]
fn by_process_identifier() {
    let test = "connections by process identifier";
    let Some(netns) = Netns::new(test) else { return };
    let inode = netns.inode().to_string();
    let servers = [(); 2].map(|()| netns.serve("127.0.0.1:0", "echo", 1));
    let pid = servers[0].pid.to_string();
    let Some(watch) = Watch::start(test, &["--netns", &inode, "--pid", &pid]) else { return };
    let ports = servers.each_ref().map(|server| server.port);
    for port in [ports[1], ports[0]] {
        netns.connect(v4(port), "send", 1).end();
    }
    watch.connection("that of the process", to_port(ports[0]));
    assert!(!has(&watch.finish(), ports[1]), "another process accepted it");
}

#[test]
fn by_state_at_the_end() {
    let Some((netns, watch)) = stage("connections by state", &["--state", "time-wait"]) else { return };
    let (ports, pid) = two(&netns);
    let record = watch.connection("one that waits", to_port(ports[0]));
    assert_eq!(record["tcp_state"]["client"], "TIME-WAIT");
    assert_eq!(owners(&record, "client")[0].0, pid);
    let server = netns.serve("127.0.0.1:0", "reset", 1);
    netns.connect(v4(server.port), "await_reset", 1).end();
    assert!(!has(&watch.finish(), server.port), "a reset leaves nothing that waits");
}

#[test]
fn by_libpcaps_language() {
    let test = "connections by --filter";
    let Some(netns) = Netns::new(test) else { return };
    let inode = netns.inode().to_string();
    let servers = [(); 2].map(|()| netns.serve("127.0.0.1:0", "echo", 1));
    let ports = servers.each_ref().map(|server| server.port);
    let filter = format!("tcp port {}", ports[0]);
    let args = ["--source", "pcap", "--netns", &inode, "--filter", &filter];
    let Some(watch) = Watch::start(test, &args) else { return };
    for port in [ports[1], ports[0]] {
        netns.connect(v4(port), "send", 1).end();
    }
    watch.connection("the one that matches", to_port(ports[0]));
    assert!(!has(&watch.finish(), ports[1]));
}
