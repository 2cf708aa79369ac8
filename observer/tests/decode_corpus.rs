//! The decoder against tshark on captures that this project did not make: every frame in which tshark sees a TCP segment
//! gives the same segment here, and no other frame gives one.
//!
//! The corpus lies beside the checkout or where `OBSERVER_CORPUS` says; where it or tshark is absent, the test is
//! skipped, loudly.

mod decode_against;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use decode_against::{Frames, Seen, decoder, tshark, tshark_is_there};

#[test]
fn frames_of_the_corpus_hold_the_segments_that_tshark_sees() {
    let Some(corpus) = corpus().filter(|_| tshark_is_there()) else {
        eprintln!("SKIPPED: no corpus beside the checkout or no tshark 4, the decoder is not held against them");
        return;
    };
    let mut captures: Vec<PathBuf> = std::fs::read_dir(&corpus)
        .expect("the corpus can be listed")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| {
            let kind = path.extension().unwrap_or_default();
            path.is_file() && !["tsv", "md", "gz"].iter().any(|other| kind == *other)
        })
        .collect();
    captures.sort();
    let (failures, compared) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // tshark takes its time to start: two at once.
    std::thread::scope(|scope| {
        for half in captures.chunks(captures.len().div_ceil(2)) {
            scope.spawn(|| half.iter().for_each(|path| compare(path, &failures, &compared)));
        }
    });
    println!("{} frames compared", compared.into_inner());
    assert_eq!(failures.into_inner(), 0, "frames that differ from tshark's reading, see above");
}

fn compare(path: &Path, failures: &AtomicUsize, compared: &AtomicUsize) {
    let (ours, theirs) = (decoder(path), tshark(path));
    compared.fetch_add(theirs.segments.len(), Ordering::Relaxed);
    for difference in differences(&ours, &theirs) {
        println!("{}, {difference}", path.display());
        failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// The frames on which they differ, each with what both say.
fn differences(ours: &Frames, theirs: &Frames) -> Vec<String> {
    let mut found = Vec::new();
    for (number, theirs) in &theirs.segments {
        let ours = ours.segments.get(number).map_or(&[][..], |seen| seen);
        let same = ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .all(|(a, b)| Seen { len: b.len, ..a.clone() } == *b && matches!(b.len, u32::MAX) | (a.len == b.len));
        if !same {
            found.push(format!("frame {number}:\n    ours   {ours:?}\n    tshark {theirs:?}"));
        }
    }
    for (number, ours) in &ours.segments {
        if !theirs.segments.contains_key(number) && !theirs.left_out.contains(number) {
            found.push(format!("frame {number}:\n    ours   {ours:?}\n    tshark sees no TCP"));
        }
    }
    found
}

fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let path = std::env::var_os("OBSERVER_CORPUS").map_or_else(beside, PathBuf::from);
    path.join("expected").is_dir().then_some(path)
}
