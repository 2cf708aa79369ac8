//! Namespaces that come and go while doctor looks.

use std::process::{Command, Stdio};

use observer_tests::live::Netns;
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
