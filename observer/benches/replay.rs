//! One whole replay without its input and output: the bytes of a capture file to records.

mod traffic;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use observer::input::{Input, PacketInput};
use observer::tracker::{Config, Tracker};

const CONNECTIONS: u16 = 1000;

fn replay(criterion: &mut Criterion) {
    let capture = traffic::capture(CONNECTIONS);
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Bytes(capture.len() as u64));
    group.bench_function("records", |bencher| {
        bencher.iter_batched(
            || capture.clone(),
            |capture| {
                let chunk = traffic::frames(capture);
                let decoded = traffic::decode(&chunk);
                let mut tracker = Tracker::new(Config { seed: 1, ..Config::default() });
                for packet in &decoded.packets {
                    tracker.handle(Input::Packet(&PacketInput::new(packet, &decoded, &chunk.bytes)));
                }
                tracker.finish();
                let records = std::iter::from_fn(|| tracker.poll()).count();
                assert_eq!(records, usize::from(CONNECTIONS));
            },
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
