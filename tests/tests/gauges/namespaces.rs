//! Namespaces that come and go while doctor looks.

use std::process::{Command, Stdio};

use observer_tests::live::{Netns, beside};
use observer_tests::run::observer;
use serde_json::Value;

#[test]
fn a_namespace_that_appears_is_taken_in() {
    let test = "a new namespace";
    // Until there is one, that it can be had is not known.
    let Some(first) = Netns::new(test) else { return };
    let mut command = Command::new(observer().expect("there is an observer"));
    command.args(["doctor", "--netns", "all", "--source", "sock_diag", "--for", "6s", "--output", "json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // It has opened what there is once it has laid its rights down.
    let status = format!("/proc/{}/status", child.id());
    observer_tests::live::until("it has begun", || {
        std::fs::read_to_string(&status).is_ok_and(|text| text.contains("NoNewPrivs:\t1"))
    });
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
    let label = |netns: &Netns| format!("(netns {})", netns.inode());
    let stacks = lines("the stack");
    let own: Vec<_> = stacks.iter().filter(|line| !line.contains("(netns")).collect();
    assert!(matches!(own.as_slice(), [line] if line.contains("resets sent")), "{text}");
    assert!(stacks.iter().any(|line| line.ends_with(&label(&other))), "{text}");
    assert!(!text.contains(&label(&netns)), "{text}");
    assert!(lines("time wait").iter().any(|line| !line.contains("(netns")), "{text}");
}
