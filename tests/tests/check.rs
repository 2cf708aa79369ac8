//! `observer check`: as root, as nobody, and with the capabilities that it says are enough.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use observer_tests::run::observer;
use observer_tests::skip;
use serde_json::Value;

/// The user without rights.
const NOBODY: u32 = 65_534;

fn check(observer: &Path, user: Option<u32>, args: &[&str]) -> Output {
    let mut command = Command::new(observer);
    command.arg("check").args(args);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.output().unwrap_or_else(|e| panic!("running {}: {e}", observer.display()))
}

fn json(observer: &Path, user: Option<u32>) -> (Value, Option<i32>) {
    let output = check(observer, user, &["--output", "json"]);
    let object: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}; on standard error: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(object["type"], "check");
    let full = object["full"].as_bool().expect("it says so");
    assert_eq!(output.status.code(), Some(i32::from(!full)), "the exit status says the same");
    (object, output.status.code())
}

fn feature<'a>(object: &'a Value, name: &str) -> &'a Value {
    let features = object["features"].as_array().expect("they are listed");
    features.iter().find(|feature| feature["name"] == name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// Observer where anybody may run it.
fn copy() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = folder.path().join("observer");
    fs::copy(observer().expect("there is an observer"), &path).expect("it can be copied");
    (folder, path)
}

fn is_root() -> bool {
    // SAFETY: geteuid cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn each_feature_works_or_says_what_it_needs() {
    let (object, _) = json(observer().expect("there is an observer"), None);
    for feature in object["features"].as_array().expect("they are listed") {
        let works = feature["works"].as_bool().expect("it says so");
        assert_eq!(feature["needs"].is_null(), works, "{feature}");
        assert!(works || feature["detail"].is_string(), "{feature}");
    }
    let hooks = object["features"].as_array().expect("they are listed").iter();
    let works = |feature: &&Value| feature["works"] == true;
    let state = feature(&object, "hook state");
    assert_eq!(object["source"] == "ebpf", works(&state), "{object:#}");
    let is_ebpf = |feature: &&Value| {
        let name = feature["name"].as_str().expect("it has one");
        name.starts_with("hook ") || ["kernel", "types (BTF)", "ring buffer"].contains(&name)
    };
    assert_eq!(object["full"], hooks.filter(is_ebpf).all(|feature| works(&feature)));
}

#[test]
fn text_keeps_to_the_page_but_for_what_is_to_be_copied() {
    let output = check(observer().expect("there is an observer"), None, &[]);
    let text = String::from_utf8(output.stdout).expect("it is UTF-8");
    for line in text.lines() {
        let copied = ["setcap", "ExecStart", "Capabilit"].iter().any(|word| line.contains(word));
        assert!(copied || line.chars().count() <= 80, "{line}");
    }
    for part in ["hook state", "ring buffer", "libpcap", "sock_diag", "conntrack", "cgroups", "sudo setcap cap_bpf"] {
        assert!(text.contains(part), "{part} is not told of:\n{text}");
    }
}

#[test]
fn nobody_may_look_at_the_tables_of_sockets_and_is_told_what_the_rest_needs() {
    let test = "a user without rights";
    if !is_root() {
        return skip(test, "only root can become another user");
    }
    let (_folder, observer) = copy();
    let (object, status) = json(&observer, Some(NOBODY));
    assert_eq!((status, &object["source"]), (Some(1), &Value::from("sock_diag")));
    for name in ["ring buffer", "hook state", "hook existing"] {
        assert_eq!(feature(&object, name)["needs"], "CAP_BPF, CAP_PERFMON", "{name}");
    }
    assert_eq!(feature(&object, "hook packets")["needs"], "CAP_BPF, CAP_PERFMON, CAP_NET_RAW");
    assert_eq!(feature(&object, "libpcap")["needs"], "CAP_NET_RAW");
    assert_eq!(feature(&object, "enter namespaces")["needs"], "CAP_SYS_ADMIN");
    let held = object["capabilities"].as_array().expect("they are listed").iter();
    assert_eq!(held.filter(|capability| capability["held"] == true).count(), 0);
}

#[test]
fn the_setcap_line_is_enough() {
    let test = "the setcap line";
    if !is_root() {
        return skip(test, "only root can give capabilities");
    }
    let (_folder, observer) = copy();
    let (as_root, _) = json(&observer, None);
    if as_root["full"] != true {
        return skip(test, "eBPF does not work in full here");
    }
    let line = as_root["setcap"].as_str().expect("it is told");
    let mut words = line.split(' ').skip_while(|word| *word == "sudo");
    let made = Command::new(words.next().expect("a command")).args(words).output();
    match made {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skip(test, String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => return skip(test, &format!("running setcap: {error}")),
    }
    let (object, status) = json(&observer, Some(NOBODY));
    assert_eq!((status, &object["source"]), (Some(0), &Value::from("ebpf")), "{object:#}");
    assert_eq!(feature(&object, "see namespaces")["works"], true);
}
