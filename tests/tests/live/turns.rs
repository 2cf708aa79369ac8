//! Connections that turn remarkable, told while they go on.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use observer_tests::live::{Actor, Netns, Watch, is_emulated};
use observer_tests::run::observer;

use super::{findings, stage, to_port, v4};

/// A rule of the firewall that drops what comes in.
fn drop_incoming(netns: &Netns, what: &str) {
    netns.run("nft", &["add table inet t; add chain inet t c { type filter hook input priority 0; }"]);
    netns.run("nft", &[&format!("add rule inet t c {what} drop")]);
}

#[test]
fn a_syn_without_an_answer_is_told_before_it_is_given_up() {
    let Some((netns, watch)) = stage("a stuck SYN", &[]) else { return };
    drop_incoming(&netns, "tcp dport 81");
    let client = netns.connect(v4(81), "fail", 1);
    let record = watch.turned("syn_unanswered", to_port(81));
    assert_eq!(record["tcp_state"]["client"], "SYN-SENT");
    assert_eq!(record["processes"][0]["pid"], client.pid);
}

#[test]
fn data_that_does_not_get_through_is_told() {
    let Some((netns, watch)) = stage("repeated retransmissions", &[]) else { return };
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    drop_incoming(&netns, &format!("tcp dport {} tcp flags & (syn | psh) == psh", server.port));
    let _client = netns.connect(v4(server.port), "send", 1);
    let record = watch.turned("retransmissions", to_port(server.port));
    assert!(record["kernel"]["client"]["retransmit_events"].as_u64() >= Some(3));
    let told = |objects: &[serde_json::Value]| {
        let is_it = |object: &&serde_json::Value| object["type"] == "update" && to_port(server.port)(object);
        objects.iter().filter(is_it).filter(|object| object["turned"].to_string().contains("retransmissions")).count()
    };
    assert_eq!(told(&watch.finish()), 1, "once");
}

#[test]
fn a_reader_that_does_not_read_is_told() {
    if is_emulated() {
        return observer_tests::skip("a zero window", "an emulated machine does not get there in time");
    }
    let Some((netns, watch)) = stage("a zero window", &["--interval", "0.5"]) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    let _client = netns.connect(v4(server.port), "pour", 1);
    let record = watch.turned("zero_window", to_port(server.port));
    // What closes the window is passed on, each time that it is asked whether it is open again.
    watch.update("how long it was closed", |record| {
        to_port(server.port)(record) && findings(record).contains(&"zero-window")
    });
    assert!(record["packets"].is_null(), "the rest is not: {record:#}");
}

#[test]
fn a_socket_that_is_not_closed_is_told_where_its_state_is_asked_for() {
    let Some((netns, watch)) = stage("CLOSE-WAIT", &["--state", "close-wait"]) else { return };
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    netns.connect(v4(server.port), "leave", 1).end();
    let record = watch.turned("state", to_port(server.port));
    assert_eq!(record["tcp_state"]["server"], "CLOSE-WAIT");
    let other = netns.serve("127.0.0.1:0", "echo", 1);
    netns.connect(v4(other.port), "send", 1).end();
    server.end();
    let objects = watch.finish();
    assert!(!objects.iter().any(to_port(other.port)), "it was never in CLOSE-WAIT for long");
}

/// Observer's text, ended when dropped.
struct Text {
    observer: Child,
    folder: tempfile::TempDir,
}

impl Text {
    fn start(netns: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = std::fs::File::create(folder.path().join("out")).expect("it can be made");
        let mut command = Command::new(observer().expect("there is an observer"));
        command.args(["watch", "--source", "ebpf", "--netns", netns]).env("COLUMNS", "200");
        let observer = command.stdout(file).stderr(Stdio::null()).spawn().expect("it starts");
        Self { observer, folder }
    }

    /// The first line with `mark`. Until it observes, attempts leave no trace; each of these waits for the one before.
    fn line(&self, mark: &str, mut attempt: impl FnMut() -> Actor) -> String {
        let started = Instant::now();
        loop {
            let _client = attempt();
            let tried = Instant::now();
            while tried.elapsed() < Duration::from_secs(4) {
                let text = std::fs::read_to_string(self.folder.path().join("out")).expect("it is there");
                if let Some(line) = text.lines().find(|line| line.contains(mark)) {
                    return line.to_string();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(started.elapsed() < observer_tests::live::DEADLINE, "nothing was said of {mark}");
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let _ = self.observer.kill();
        let _ = self.observer.wait();
    }
}

#[test]
fn in_text_it_is_one_line_that_says_so() {
    let test = "a stuck SYN in text";
    let Some(netns) = Netns::new(test) else { return };
    let inode = netns.inode().to_string();
    if Watch::start(test, &["--netns", &inode]).is_none() {
        return;
    }
    drop_incoming(&netns, "tcp dport 81");
    let line = Text::start(&inode).line("127.0.0.1:81", || netns.connect(v4(81), "fail", 1));
    assert!(line.contains("127.0.0.1:81 · still open · no answer to its SYN yet"), "{line}");
}

#[test]
fn in_text_other_namespaces_are_named() {
    let test = "the name of a namespace";
    let Some(netns) = Netns::new(test) else { return };
    if Watch::start(test, &["--netns", &netns.inode().to_string()]).is_none() {
        return;
    }
    // Other tests' connections are there too: nobody else has this address.
    let server = SocketAddr::from(([127, 81, 82, 83], 84));
    let text = Text::start("all");
    let line = text.line("127.81.82.83:84", || netns.connect(server, "fail", 1));
    let named = format!("127.81.82.83:84 · netns {} · refused", netns.name());
    assert!(line.contains(&named), "{line}");
}
