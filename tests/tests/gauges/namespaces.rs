//! Namespaces that come and go while doctor looks.

use std::process::Command;

use observer_tests::live::{Netns, beside};
use observer_tests::run::{objects, observer};
use observer_tests::skip;
use serde_json::Value;

use super::begun;

#[test]
fn a_namespace_that_appears_is_taken_in() {
    let test = "a new namespace";
    // Until there is one, that it can be had is not known.
    let Some(first) = Netns::new(test) else { return };
    let mut command = Command::new(observer().expect("there is an observer"));
    command.args(["doctor", "--netns", "all", "--source", "sock_diag", "--for", "6s", "--output", "json"]);
    let child = begun(&mut command);
    let later = Netns::new(test).expect("there was one before");
    let server = later.serve("127.0.0.1:0", "hold", 5);
    let _client = later.connect(([127, 0, 0, 1], server.port).into(), "hold", 5);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let estab = |netns: &Netns| {
        let of = |gauge: &&Value| {
            gauge["name"] == "sockets" && gauge["netns"] == netns.inode() && gauge["subject"]["state"] == "ESTAB"
        };
        objects.iter().find(of).and_then(|gauge| gauge["value"].as_u64())
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((estab(&first), estab(&later)), (Some(0), Some(10)), "{said}");
}

#[test]
fn the_own_namespace_is_the_one_that_this_process_is_in() {
    let Some(netns) = Netns::new("doctor in a namespace") else { return };
    let Some(other) = Netns::new("doctor in a namespace") else { return };
    // Nobody listens: each attempt is reset, which both stacks count.
    let fail = || {
        for netns in [&netns, &other] {
            netns.connect(([127, 0, 0, 1], 9).into(), "fail", 5).end();
        }
    };
    let text = beside(fail, || {
        let program = observer().expect("there is an observer");
        let program = program.to_str().expect("its path is text");
        let mut command = netns.command(program);
        command.args(["doctor", "--netns", "all", "--source", "sock_diag", "--for", "4s"]).env("COLUMNS", "1000");
        String::from_utf8(command.output().expect("it runs").stdout).expect("it is UTF-8")
    });
    let lines = |name: &str| text.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
    let label = |netns: &Netns| format!("(netns {})", netns.name());
    let stacks = lines("the stack");
    let own: Vec<_> = stacks.iter().filter(|line| !line.contains("(netns")).collect();
    assert!(matches!(own.as_slice(), [line] if line.contains("resets sent")), "{text}");
    assert!(stacks.iter().any(|line| line.ends_with(&label(&other))), "{text}");
    assert!(!text.contains(&label(&netns)), "{text}");
    assert!(lines("time wait").iter().any(|line| !line.contains("(netns")), "{text}");
}

#[test]
fn options_that_are_taken_out_between_two_namespaces() {
    let test = "stripped options";
    let (Some(one), Some(way), Some(two)) = (Netns::new(test), Netns::new(test), Netns::new(test)) else { return };
    one.link(&way, "near", "10.77.1.1/24", "10.77.1.2/24");
    way.link(&two, "far", "10.77.2.2/24", "10.77.2.1/24");
    one.ip(&["route", "add", "default", "via", "10.77.1.2"]);
    two.ip(&["route", "add", "default", "via", "10.77.2.2"]);
    way.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
    let server = two.serve("10.77.2.1:0", "echo", 2);
    let rules = "add table ip t; add chain ip t c { type filter hook forward priority 0; }; \
                 add rule ip t c tcp flags syn / syn,ack reset tcp option sack-perm";
    // What leaves them as they are is a near miss.
    for strips in [false, true] {
        if strips && let Err(why) = way.try_run("nft", &[rules]) {
            return skip(test, &why);
        }
        let mut command = Command::new(observer().expect("there is an observer"));
        command.args(["doctor", "--netns", "all", "--source", "ebpf", "--for", "4s", "--output", "json"]);
        let mut child = begun(&mut command);
        if child.try_wait().expect("it can be waited for").is_some() {
            return skip(test, "eBPF cannot be had here");
        }
        one.connect(([10, 77, 2, 1], server.port).into(), "send", 1).end();
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8(output.stdout).expect("JSON is text");
        let of_ours = |case: &Value| case["about"]["server"]["ip"] == "10.77.2.1";
        let found = objects(&text, "finding").expect("each line is an object");
        let found = found.iter().filter(|finding| finding["name"] == "middlebox-interference");
        let cases: Vec<&Value> = found.flat_map(|finding| finding["cases"].as_array()).flatten().collect();
        let ours: Vec<&Value> = cases.into_iter().filter(|case| of_ours(case)).collect();
        assert_eq!(ours.len(), usize::from(strips), "{text}");
        if let [case] = ours[..] {
            let what = case["finding"]["what"].as_str().unwrap_or_default();
            assert!(what.ends_with("the client's SYN lost SACK."), "{what}");
        }
    }
}
