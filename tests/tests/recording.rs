//! `--write`: what was seen live, kept in a file that others read and that gives the same records again.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};

use observer_tests::live::{Actor, Netns, Watch, owners};
use observer_tests::run::observer;
use observer_tests::skip;
use serde_json::Value;

fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn run(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Output {
    let program = program.as_ref();
    Command::new(program).args(args).output().unwrap_or_else(|e| panic!("running {}: {e}", program.display()))
}

fn replay(file: &Path) -> Vec<Value> {
    let name = file.to_str().expect("it is UTF-8");
    let output = run(observer().expect("there is an observer"), &["replay", name, "--output", "json", "--timeline"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("it is UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
}

/// The connections among objects, in an order of their own.
fn connections(objects: &[Value]) -> Vec<&Value> {
    let mut found: Vec<_> = objects.iter().filter(|object| object["type"] == "connection").collect();
    found.sort_by_key(|record| (record["netns"].as_u64(), record["id"].as_u64()));
    found
}

/// Connections of several kinds, some of which outlive the observer. Gives their servers' ports and some of the clients.
fn traffic(netns: &Netns) -> (Vec<u16>, Vec<Actor>) {
    let deeds = [("echo", "send"), ("reset", "await_reset"), ("unread", "expect_reset"), ("fork", "send")];
    let mut ports = Vec::new();
    for (serve, connect) in deeds {
        let server = netns.serve("127.0.0.1:0", serve, 3);
        netns.connect(v4(server.port), connect, 3).end();
        ports.push(server.port);
    }
    netns.connect(v4(1), "fail", 1).end();
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    let client = netns.connect(v4(server.port), "hold", 1);
    ports.push(server.port);
    (ports, vec![server, client])
}

/// What was told live is told again from the file, whatever the source.
fn comes_back(source: &str, more: &[&str]) -> Option<(tempfile::TempDir, Vec<Value>, Vec<u16>)> {
    let test = format!("a recording of {source}");
    let netns = Netns::new(&test)?;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("seen.pcapng");
    let (inode, name) = (netns.inode().to_string(), file.to_str().expect("it is UTF-8"));
    let args = [&["--source", source, "--netns", &inode, "--write", name], more].concat();
    let watch = Watch::start(&test, &args)?;
    let (ports, alive) = traffic(&netns);
    let last = *ports.last().expect("there are some");
    let before_last = ports[ports.len() - 2];
    watch.connection("those before the last", |record| record["server"]["port"] == before_last);
    let live = watch.finish();
    drop(alive);
    let (told, again) = (connections(&live), replay(&file));
    assert!(told.iter().any(|record| record["server"]["port"] == last), "what is open at the end is told");
    let again = connections(&again);
    assert_eq!(told.len(), again.len());
    for (told, again) in told.iter().zip(again) {
        assert_eq!(told, &again);
    }
    let capture = |objects: &[Value]| objects.iter().find(|object| object["type"] == "capture").cloned();
    let (told, again) = (capture(&live).expect("it is told"), capture(&replay(&file)).expect("it is told"));
    for field in ["connections", "frames", "segments", "dropped", "hooks", "interfaces", "unseen"] {
        assert_eq!(told[field], again[field], "{field}");
    }
    Some((folder, live, ports))
}

#[test]
fn what_the_kernel_showed_comes_back() {
    let Some((folder, live, ports)) = comes_back("ebpf", &[]) else { return };
    let file = folder.path().join("seen.pcapng");
    wireshark_shows_processes(&file, &live, ports[0]);
    refuses_what_makes_no_sense(&file);
}

#[test]
fn what_libpcap_showed_comes_back() {
    comes_back("pcap", &["-i", "lo"]);
}

#[test]
fn what_the_tables_of_sockets_showed_comes_back() {
    // Short connections may be missed, and those that are told are told again all the same.
    let test = "a recording of sock_diag";
    let Some(netns) = Netns::new(test) else { return };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("seen.pcapng");
    let (inode, name) = (netns.inode().to_string(), file.to_str().expect("it is UTF-8"));
    let server = netns.serve("127.0.0.1:0", "hold", 1);
    let client = netns.connect(v4(server.port), "hold", 1);
    let Some(watch) = Watch::start(test, &["--source", "sock_diag", "--netns", &inode, "--write", name]) else {
        return;
    };
    let port = server.port;
    client.end();
    server.end();
    watch.connection("the connection", |record| record["server"]["port"] == port);
    let live = watch.finish();
    assert_eq!(connections(&live), connections(&replay(&file)));
}

/// tshark finds nothing wrong and shows whose packets they are; tcpdump sees packets alone.
fn wireshark_shows_processes(file: &Path, live: &[Value], port: u16) {
    let test = "a recording in tshark";
    let name = file.to_str().expect("it is UTF-8");
    let filter = format!("tcp.dstport == {port} && tcp.flags.syn == 1");
    let fields = ["-T", "fields", "-e", "frame.comment", "-e", "frame.interface_description"];
    let shown = match Command::new("tshark").args(["-r", name, "-Y", &filter]).args(fields).output() {
        Ok(output) => output,
        Err(error) => return skip(test, &format!("running tshark: {error}")),
    };
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let lines = String::from_utf8(shown.stdout).expect("it is UTF-8");
    let records: Vec<_> = connections(live).into_iter().filter(|record| record["server"]["port"] == port).collect();
    assert_eq!((lines.lines().count(), records.len()), (3, 3), "{lines}");
    for (line, record) in lines.lines().zip(&records) {
        let (pid, _) = owners(record, "client")[0];
        assert!(line.contains(&format!("PID: {pid}")), "{pid} in {line}");
        assert!(line.contains("sampled"), "{line}");
    }
    let count = |filter: &str| {
        let output = run("tshark", &["-r", name, "-Y", filter]);
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    let frames = live.iter().find(|object| object["type"] == "capture").expect("it is told")["frames"].as_u64();
    assert_eq!(Some(count("ip") as u64), frames, "every packet is there");
    for record in records {
        let id = record["id"].to_string();
        let told = run(observer().expect("there is an observer"), &["replay", name, "--connection", &id]);
        let text = String::from_utf8(told.stdout).expect("it is UTF-8");
        let from = text.lines().skip_while(|line| !line.trim_start().starts_with("Wireshark"));
        let words: Vec<_> = from.take_while(|line| !line.is_empty()).flat_map(str::split_whitespace).skip(1).collect();
        let ends = format!("tcp.port == {port} && tcp.port == {}", record["client"]["port"]);
        assert_eq!(count(&words.join(" ")), count(&ends), "its display filter selects it: {words:?}");
    }
    assert_eq!(count("_ws.malformed || _ws.expert.group == \"Malformed\""), 0);
    let dumped = run("tcpdump", &["-nr", name]);
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    assert_eq!(Some(String::from_utf8_lossy(&dumped.stdout).lines().count() as u64), frames);
}

fn refuses_what_makes_no_sense(file: &Path) {
    let observer = observer().expect("there is an observer");
    let name = file.to_str().expect("it is UTF-8");
    let capture = observer_tests::capture_files().swap_remove(0);
    let other = capture.to_str().expect("it is UTF-8");
    for (args, why) in [
        (vec!["replay", name, "--filter", "tcp"], "--filter picks packets"),
        (vec!["replay", name, other], "is replayed on its own"),
        (vec!["replay", name, "--connection", "1", "--write", "/dev/null"], "cuts nothing out"),
    ] {
        let output = run(observer, &args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{args:?}: {said}");
    }
    // A recording that was cut short is replayed as far as it goes, and says so.
    let whole = fs::read(file).expect("it can be read");
    let cut = file.with_extension("cut.pcapng");
    // Blocks begin at multiples of four octets: this is never the end of one.
    fs::write(&cut, &whole[..(whole.len() / 2) | 1]).expect("it can be written");
    let output = run(observer, &["replay", cut.to_str().expect("it is UTF-8"), "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"type\":\"connection\""));
}

#[test]
fn what_a_command_did_is_kept_too() {
    let test = "a recording of a command";
    let Some(netns) = Netns::new(test) else { return };
    let inode = netns.inode().to_string();
    if Watch::start(test, &["--netns", &inode]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("seen.pcapng");
    let server = netns.serve("127.0.0.1:0", "echo", 1);
    let observer = observer().expect("there is an observer").to_str().expect("it is UTF-8");
    let (name, port) = (file.to_str().expect("it is UTF-8"), server.port.to_string());
    let say = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3");
    netns.run(observer, &["trace", "--netns", &inode, "--write", name, "--", "bash", "-c", &say]);
    let objects = replay(&file);
    let record = connections(&objects).into_iter().find(|record| record["server"]["port"] == server.port);
    let record = record.expect("it was seen");
    let mut names = record["processes"].as_array().into_iter().flatten().map(|process| &process["name"]);
    assert!(names.any(|name| name == "bash"), "{record:#}");
}
