//! Every scenario of the lab, played anew on this machine's kernel: what its capture's description says must be found
//! is found in the fresh capture as well, connections and findings.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use observer_tests::expect::Page;
use observer_tests::{capture_files, run, skip};

/// Scenarios mostly wait, so that several can be played at once; too many would have to wait for the processor.
const AT_ONCE: usize = 3;

/// A machine too busy to carry frames in time makes retransmissions of its own, which no scenario means.
const ATTEMPTS: usize = 3;

/// What the lab says it was doing where this machine does not let it.
const NOT_HERE: [&str; 4] =
    ["making a user namespace", "making a network namespace", "making the tap interface", "running `ip`"];

#[test]
fn played_anew_they_show_what_they_should() {
    let folder = tempfile::tempdir().expect("a folder for captures");
    match play("handshake", folder.path()) {
        Err(trouble) if NOT_HERE.iter().any(|step| trouble.contains(step)) => {
            return skip("scenarios played anew", &trouble);
        }
        other => other.map(drop).expect("the shortest scenario can be played"),
    }
    let waiting = Mutex::new(VecDeque::from(capture_files()));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(capture) = next else { break };
                    let page = Page::read(&capture.with_extension("toml")).expect("every capture has a description");
                    if let Err(trouble) = holds(&page, folder.path()) {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(trouble);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Plays a scenario until its capture shows what it should.
fn holds(page: &Page, folder: &Path) -> Result<(), String> {
    let mut failures = Vec::new();
    for _ in 0..ATTEMPTS {
        failures = match play(&page.name, folder).and_then(|capture| differences(page, &capture)) {
            Ok(failures) => failures,
            Err(trouble) => vec![trouble],
        };
        if failures.is_empty() {
            return Ok(());
        }
    }
    Err(failures.iter().map(|failure| format!("{}: {failure}", page.name)).collect::<Vec<_>>().join("\n"))
}

/// What a fresh capture does not show of what it should.
fn differences(page: &Page, capture: &Path) -> Result<Vec<String>, String> {
    let records = page.connections(observer(), capture).map_err(|e| format!("{e:#}"))?;
    let found = page.found(observer(), capture).map_err(|e| format!("{e:#}"))?;
    let others = (found != page.findings).then(|| format!("{found:?} are found, not {:?}", page.findings));
    Ok(page.failures(&records).into_iter().chain(others).collect())
}

/// Plays a scenario once and gives its capture.
fn play(name: &str, folder: &Path) -> Result<PathBuf, String> {
    let capture = folder.join(format!("{name}.pcapng"));
    let mut command = Command::new(observer());
    command.args(["lab", "run", name, "--write"]).arg(&capture);
    run::success(&mut command).map_err(|e| format!("{e:#}"))?;
    Ok(capture)
}

fn observer() -> &'static Path {
    run::observer().expect("observer builds")
}
