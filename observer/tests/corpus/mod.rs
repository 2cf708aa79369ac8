//! The captures that this project did not make, and what the library makes of them.
//!
//! They lie beside the checkout or where `OBSERVER_CORPUS` says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use observer::capture::{Chunk, Reader};
use observer::decode::{Checksums, Decoder};
use observer::input::{Input, PacketInput};
use observer::keylog::Keys;
use observer::packet::Decoded;
use observer::record::{ConnectionRecord, LookupRecord};
use observer::tracker::{Config, Event, Tracker};

/// The folder of captures; `None` where there is none with other tools' results in it.
pub fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let path = std::env::var_os("OBSERVER_CORPUS").map_or_else(beside, PathBuf::from);
    path.join("expected").is_dir().then_some(path)
}

/// Every connection of a capture, the first one first, and every lookup. What is damaged ends the reading.
pub fn replay(capture: &Path, checksums: Checksums, config: Config) -> (Vec<ConnectionRecord>, Vec<LookupRecord>) {
    let mut chunk = Chunk { bytes: std::fs::read(capture).expect("a capture can be read"), ..Chunk::default() };
    let mut reader = Reader::new(0);
    let _damage = reader.read(&mut chunk);
    let mut decoded = Decoded::default();
    Decoder::new(checksums, 0).with_datagrams(true).decode(&chunk, &mut decoded);
    let mut tracker = Tracker::new(config);
    if !chunk.keys.is_empty() {
        let mut keys = Keys::default();
        keys.add(std::mem::take(&mut chunk.keys));
        tracker.handle(Input::Keys(&Arc::new(keys)));
    }
    for packet in &decoded.packets {
        tracker.handle(Input::Packet(&PacketInput::new(packet, &decoded, &chunk.bytes)));
    }
    tracker.finish();
    let (mut records, mut lookups) = (Vec::new(), Vec::new());
    while let Some(event) = tracker.poll() {
        match event {
            Event::Connection(record) | Event::Update(record) => records.push(*record),
            Event::Lookup(record) => lookups.push(*record),
        }
    }
    records.sort_by_key(|record| record.id);
    (records, lookups)
}
