//! Findings as a whole: their pages, `observer explain` and `observer doctor`, and what is found in captures that this
//! project did not make.
//!
//! `OBSERVER_BLESS=1 cargo test -p observer --test findings` writes docs/findings.md and the golden files anew; read the
//! difference before committing it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use observer::finding::{FINDINGS, Thresholds, markdown};
use serde_json::Value;

#[test]
fn the_documentation_is_made_of_the_pages() {
    golden(&root().join("docs/findings.md"), &markdown(captures_of));
}

#[test]
fn every_finding_that_a_file_can_show_has_a_capture() {
    /// These go by the readings of gauges, or by what the kernel says it drops: neither is a part of a capture.
    const LIVE: [&str; 9] = [
        "dropped-by-host",
        "close-wait-leak",
        "descriptors-exhausted",
        "time-wait-exhaustion",
        "ephemeral-ports",
        "conntrack-full",
        "syn-cookies",
        "memory-pressure",
        "retransmission-rate",
    ];
    for name in FINDINGS.iter().map(|finding| finding.page().name) {
        assert_eq!(captures_of(name).is_empty(), LIVE.contains(&name), "{name} and its captures");
    }
}

/// The captures that show a finding, by their descriptions, each with the thresholds that it takes.
fn captures_of(finding: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join("captures")).expect("there are captures");
    let pages = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let shows = |page: &PathBuf| {
        let text = std::fs::read_to_string(page).expect("a description");
        text.lines().any(|line| line.starts_with("findings = ") && line.contains(&format!("\"{finding}\"")))
    };
    let shown = pages.filter(|path| path.extension().is_some_and(|end| end == "toml")).filter(shows);
    let named = |page: PathBuf| {
        let text = std::fs::read_to_string(&page).expect("a description");
        let thresholds = text.lines().find_map(|line| line.strip_prefix("thresholds = ")).unwrap_or("[]");
        let thresholds: Vec<String> = serde_json::from_str(thresholds).expect("a list of words, as JSON has it");
        let name = page.file_stem()?.to_str()?.to_string();
        let given: String = thresholds.iter().map(|threshold| format!(" (`--threshold {threshold}`)")).collect();
        Some(format!("`{name}`{given}"))
    };
    let mut names: Vec<String> = shown.filter_map(named).collect();
    names.sort();
    names
}

#[test]
fn every_finding_has_its_tests() {
    for finding in FINDINGS {
        let (name, proof) = (finding.page().name, finding.page().proof);
        for test in [proof.shown, proof.near_miss] {
            let (file, function) = test.split_once("::").unwrap_or_else(|| panic!("{name}: {test}"));
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{name}: {file}: {e}"));
            assert!(text.contains(&format!("#[test]\nfn {function}() {{")), "{name}: {file} has no test {function}");
        }
    }
}

#[test]
fn pages_are_complete() {
    let mut names = BTreeSet::new();
    for finding in FINDINGS {
        let page = finding.page();
        let name = page.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'), "{name}");
        assert!(!page.title.ends_with('.') && page.meaning.ends_with('.'), "{name}");
        for sentence in page.rule.iter().chain(page.causes) {
            assert!(sentence.ends_with(['.', '"']) || sentence.ends_with("or"), "{name}: {sentence}");
        }
        assert!(!page.causes.is_empty() && !page.rule.is_empty() && !page.remedy.is_empty(), "{name}");
        assert!(page.rule.iter().any(|rule| refers(rule)), "{name} refers to no RFC and no symbol of the kernel");
        for step in page.remedy {
            assert!(step.matches('`').count().is_multiple_of(2), "{name}: {step}");
        }
    }
    let named: BTreeSet<&str> =
        FINDINGS.iter().flat_map(|finding| finding.page().thresholds()).map(|setting| setting.name).collect();
    for setting in Thresholds::default().settings() {
        assert!(named.contains(setting.name), "no rule says what {} is for", setting.name);
    }
    for finding in FINDINGS {
        for other in finding.page().instead_of {
            assert!(names.contains(other), "{} stands for {other}, which there is not", finding.page().name);
        }
    }
}

/// Whether a condition names an RFC, or something of the kernel's: a name with an underscore that is no threshold.
fn refers(rule: &str) -> bool {
    let thresholds = Thresholds::default().settings();
    let is_symbol = |word: &str| word.contains('_') && thresholds.iter().all(|setting| setting.name != word);
    rule.contains("RFC ") || rule.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(is_symbol)
}

#[test]
fn explain_prints_every_page_within_the_terminal() {
    for finding in FINDINGS {
        let name = finding.page().name;
        let text = text(&observer().args(["explain", name]).env("COLUMNS", "60").output().expect("observer runs"));
        assert!(text.starts_with(name) && text.contains("What to do"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
    }
    let page = text(&observer().args(["explain", "close-wait-leak"]).output().expect("observer runs"));
    for part in ["close_wait_sockets=10: Sockets of one process", "descriptors_run_out_within=600s"] {
        assert!(page.contains(part), "{page}");
    }
    assert!(!page.contains("ports_percent"), "its rule does not go by that: {page}");
    let list = text(&observer().arg("explain").output().expect("observer runs"));
    assert!(FINDINGS.iter().all(|finding| list.contains(finding.page().name)), "{list}");
    let thresholds = text(&observer().args(["explain", "--thresholds"]).output().expect("observer runs"));
    for setting in Thresholds::default().settings() {
        assert!(thresholds.contains(&format!("{}={}", setting.name, setting.value)), "{thresholds}");
    }
    let wrong = observer().args(["explain", "window"]).output().expect("observer runs");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("is it zero-window or window-limited?"));
}

#[test]
fn doctor_says_how_bad_it_is_by_its_status() {
    let captures = root().join("captures");
    let status = |names: &[&str], options: &[&str]| {
        let files = names.iter().map(|name| captures.join(format!("{name}.pcapng")));
        let output = observer().arg("doctor").args(files).args(options).output().expect("observer runs");
        output.status.code()
    };
    assert_eq!(status(&["http"], &[]), Some(0));
    assert_eq!(status(&["syn-retransmitted"], &[]), Some(10));
    assert_eq!(status(&["syn-retransmitted"], &["--threshold", "slow_handshake=2s"]), Some(10), "a SYN was lost");
    assert_eq!(status(&["http", "refused"], &[]), Some(20));
    assert_eq!(status(&["refused"], &["--filter", "port 1"]), Some(0));
    assert_eq!(status(&["no-such-file"], &[]), Some(1));
    assert_eq!(status(&["http"], &["--threshold", "height=1"]), Some(2));
    let folder = tempfile::tempdir().expect("a folder");
    let cut = folder.path().join("cut.pcapng");
    let whole = std::fs::read(captures.join("http.pcapng")).expect("it is there");
    std::fs::write(&cut, &whole[..whole.len() - 10]).expect("it is written");
    let output = observer().arg("doctor").arg(&cut).output().expect("observer runs");
    assert_eq!(output.status.code(), Some(1), "it could not look at all of it");
}

#[test]
fn doctor_draws_what_is_wrong() {
    for name in ["refused", "mtu-black-hole", "zero-window"] {
        let mut command = observer();
        command.current_dir(root().join("captures")).env("COLUMNS", "80");
        let output = command.arg("doctor").arg(format!("{name}.pcapng")).output().expect("observer runs");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
        golden(&root().join("observer/tests/golden").join(format!("doctor-{name}.txt")), &printed);
    }
}

/// Each line was judged: would a person who knows networks call that an error in this capture?
#[test]
fn other_peoples_captures_show_no_false_alarms() {
    let Some(corpus) = corpus() else {
        eprintln!("skipped: findings in other captures: ../shared/corpus is not there");
        return;
    };
    let mut captures: Vec<PathBuf> = std::fs::read_dir(&corpus)
        .expect("the corpus can be read")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension().is_some_and(|end| ["pcap", "pcapng", "cap", "gz"].iter().any(|known| end == *known))
        })
        .collect();
    captures.sort();
    let mut snapshot = String::new();
    for capture in captures {
        let output = observer().args(["doctor", "--output", "json"]).arg(&capture).output().expect("observer runs");
        let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let mut found: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        found.sort_by_key(|record| record["name"].to_string());
        for record in found {
            let text = |path: &str| record.pointer(path).and_then(Value::as_str).unwrap_or("?").to_string();
            let name = capture.file_name().unwrap_or_default().to_string_lossy();
            let count = &record["count"];
            let (severity, kind) = (text("/severity"), text("/name"));
            let (sure, what) = (text("/cases/0/finding/confidence"), text("/cases/0/finding/what"));
            let _ = writeln!(snapshot, "{name}: {severity} {kind} {count}, {sure}: {what}");
        }
    }
    golden(&root().join("observer/tests/golden/findings-corpus.txt"), &snapshot);
}

/// The folder of captures that this project did not make, where there is one.
fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let path = std::env::var_os("OBSERVER_CORPUS").map_or_else(beside, PathBuf::from);
    path.join("expected").is_dir().then_some(path)
}

fn golden(path: &Path, text: &str) {
    if std::env::var_os("OBSERVER_BLESS").is_some() {
        std::fs::write(path, text).expect("the golden file is written");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    let differs = golden.lines().zip(text.lines()).find(|(golden, now)| golden != now);
    assert!(golden == text, "{} differs, first here: {differs:?}\nnow it is:\n{text}", path.display());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn observer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.env_remove("NO_COLOR").env_remove("COLUMNS");
    command
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}
