//! Arbitrary frames through decoder and tracker to records: nothing panics, and every packet points into its bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::decode::{Checksums, Decoder};
use observer::input::{Input, PacketInput};
use observer::packet::{Body, Decoded};
use observer::tracker::{Config, Tracker};

fuzz_target!(|data: &[u8]| {
    let chunk = observer_fuzz::frames(data);
    let mut decoded = Decoded::default();
    Decoder::new(Checksums::Count, 1).decode(&chunk, &mut decoded);
    let mut tracker = Tracker::new(Config { max_connections: 8, timeline_entries: 16, ..Config::default() });
    for packet in &decoded.packets {
        let (options, payload) = decoded.tail_of(packet, &chunk.bytes);
        assert_eq!(options.len(), usize::from(packet.tail.options), "options lie in the bytes");
        assert_eq!(payload.len(), packet.tail.payload as usize, "payload lies in the bytes");
        if let Body::Tcp(segment) = packet.body {
            assert!(packet.tail.payload <= segment.len, "the wire held what the capture holds");
        }
        let layers = decoded.layers_of(packet);
        tracker.handle(Input::Packet(PacketInput { packet, layers, options, payload }));
        while tracker.poll().is_some() {}
    }
    tracker.finish();
    while tracker.poll().is_some() {}
});
