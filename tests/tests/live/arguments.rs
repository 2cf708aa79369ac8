//! What processes were started with that are gone before their connections are told of.

use observer_tests::live::{Actor, Netns, Watch, until};
use serde_json::Value;

use super::{stage, to_port, v4};

/// The command line that a record has of a process.
fn line(record: &Value, side: &str, how: &str) -> Option<String> {
    let processes = record["processes"].as_array().expect("they are listed");
    let is_it = |process: &&Value| process["side"] == side && process["how"] == how;
    let process = processes.iter().find(is_it).unwrap_or_else(|| panic!("no {side} is known by {how}: {record:#}"));
    Some(format!("{} {}", process["command"].as_str()?, process["args"].as_str()?))
}

/// A client that lives for one connection, while the observer does not look.
fn client(netns: &Netns, watch: &Watch, port: u16, times: &str) {
    watch.pause(|| netns.run(&Actor::path(), &["connect", &v4(port).to_string(), "send", times]));
}

#[test]
fn arguments_of_a_process_that_is_gone_are_known() {
    let Some((netns, watch)) = stage("arguments of one that is gone", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 2);
    client(&netns, &watch, server.port, "1");
    let record = watch.connection("the connection", to_port(server.port));
    let actor = Actor::path();
    assert_eq!(line(&record, "client", "connect"), Some(format!("{actor} connect 127.0.0.1:{} send 1", server.port)));
    // This one lives, and shows them itself.
    assert_eq!(line(&record, "server", "accept"), Some(format!("{actor} serve 127.0.0.1:0 echo 2")));
}

#[test]
fn without_the_hook_arguments_of_a_process_that_is_gone_are_not_guessed() {
    let Some((netns, watch)) = stage("arguments without the hook", &["--hooks", "state,accept"]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    client(&netns, &watch, server.port, "1");
    let record = watch.connection("the connection", to_port(server.port));
    assert_eq!(line(&record, "client", "connect"), None, "it was not gone");
}

#[test]
fn a_copy_of_a_process_has_its_arguments() {
    let Some((netns, watch)) = stage("arguments of a copy", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "fork", 1);
    let port = server.port;
    // The process that accepts ends, then the copy, which closes.
    watch.pause(|| {
        let client = netns.connect(v4(port), "send", 1);
        let _server = server.outlive();
        client.end();
    });
    let record = watch.connection("the connection", to_port(port));
    let told = Some(format!("{} serve 127.0.0.1:0 fork 1", Actor::path()));
    assert_eq!(line(&record, "server", "accept"), told);
    assert_eq!(line(&record, "server", "close"), told);
}

#[test]
fn a_copy_has_the_arguments_of_one_that_was_there_before() {
    let test = "arguments of a copy of one that was there before";
    let Some(netns) = Netns::new(test) else { return };
    let server = netns.serve("127.0.0.1:0", "fork", 2);
    let inode = netns.inode().to_string();
    let Some(watch) = Watch::start(test, &["--netns", &inode]) else { return };
    // The copy has given its memory up, and with it the arguments, when it closes the connection.
    client(&netns, &watch, server.port, "1");
    let record = watch.connection("the connection", to_port(server.port));
    assert_eq!(
        line(&record, "server", "close"),
        Some(format!("{} serve 127.0.0.1:0 fork 2", Actor::path())),
        "{record:#}"
    );
}

#[test]
fn arguments_that_are_cut_short_say_so() {
    let Some((netns, watch)) = stage("long arguments", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    let zeros = "0".repeat(3_000);
    client(&netns, &watch, server.port, &format!("{zeros}1"));
    let record = watch.connection("the connection", to_port(server.port));
    let whole = format!("{} connect 127.0.0.1:{} send {zeros}", Actor::path(), server.port);
    let told = line(&record, "client", "connect").expect("they are known");
    let kept = told.strip_suffix('…').expect("it is said that there are more");
    assert_eq!(kept, &whole[..1024]);
}

#[test]
fn many_processes_push_out_no_connection() {
    let Some((netns, watch)) = stage("many processes", &["--ring", "64"]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 2);
    let zeros = "0".repeat(2_000);
    // The ring buffer of processes has room for some sixty of these.
    watch.pause(|| {
        for _ in 0..80 {
            let _ = std::process::Command::new(Actor::path()).arg(&zeros).output().expect("it runs");
        }
        netns.run(&Actor::path(), &["connect", &v4(server.port).to_string(), "send", "1"]);
    });
    let record = watch.connection("the connection", to_port(server.port));
    assert_eq!(line(&record, "client", "connect"), None, "what was lost is not guessed");
    let first = record["id"].clone();
    // What comes later is known again.
    client(&netns, &watch, server.port, "1");
    let is_second = |record: &Value| to_port(server.port)(record) && record["id"] != first;
    let record = watch.connection("the second", is_second);
    assert!(line(&record, "client", "connect").is_some(), "{record:#}");
    let objects = watch.finish();
    let capture = objects.iter().find(|object| object["type"] == "capture").expect("it is the last");
    let hooks = capture["hooks"].as_array().expect("they are listed");
    let lost = |hook: &Value| hook["lost"].as_array().into_iter().flatten().filter_map(Value::as_u64).sum::<u64>();
    for hook in hooks {
        assert_eq!(lost(hook) > 0, hook["name"] == "exec", "{hook}");
    }
    let missed: u64 = hooks.iter().filter_map(|hook| hook["missed"].as_u64()).sum();
    assert!(capture["dropped"].as_u64() <= Some(missed), "command lines are no connections: {capture:#}");
}

#[test]
fn arguments_of_one_that_was_there_before_are_kept_when_it_goes() {
    let test = "arguments of one that was there before";
    let Some(netns) = Netns::new(test) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    let client = netns.connect(v4(server.port), "hold", 1);
    let inode = netns.inode().to_string();
    let Some(watch) = Watch::start(test, &["--netns", &inode, "--interval", "0.5"]) else { return };
    let told = Some(format!("{} connect 127.0.0.1:{} hold 1", Actor::path(), server.port));
    // Once it was looked at while it lived.
    until("the connection is told", || {
        watch.objects().iter().any(|object| object["type"] == "update" && to_port(server.port)(object))
    });
    watch.pause(|| client.end());
    let port = server.port;
    drop(server);
    let record = watch.connection("the connection", to_port(port));
    assert_eq!(line(&record, "client", "descriptor"), told);
}
