//! The tracker alone: decoded packets to records.

mod traffic;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use observer::input::{Input, PacketInput};
use observer::tracker::{Config, Tracker};

const CONNECTIONS: u16 = 1000;

fn tracker(criterion: &mut Criterion) {
    let chunk = traffic::frames(traffic::capture(CONNECTIONS));
    let decoded = traffic::decode(&chunk);
    let mut group = criterion.benchmark_group("tracker");
    group.throughput(Throughput::Elements(decoded.packets.len() as u64));
    for (name, timeline_entries) in [("records", 0), ("timelines", 200)] {
        let config = Config { seed: 1, timeline_entries, ..Config::default() };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut tracker = Tracker::new(config);
                let mut records = 0;
                for packet in &decoded.packets {
                    tracker.handle(Input::Packet(&PacketInput::new(packet, &decoded, &chunk.bytes)));
                    records += std::iter::from_fn(|| tracker.poll()).count();
                }
                tracker.finish();
                records += std::iter::from_fn(|| tracker.poll()).count();
                assert_eq!(records, usize::from(CONNECTIONS));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tracker);
criterion_main!(benches);
