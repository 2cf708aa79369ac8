//! The decoder alone: frames of one kind each, without payload for the cost of headers, with it for that of checksums.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};
use observer::capture::{Chunk, Reader};
use observer::decode::{Checksums, Decoder};
use observer::packet::Decoded;

const FRAMES: u16 = 1000;

/// Makes the frame of a number.
type Make = &'static dyn Fn(u16) -> Vec<u8>;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let kinds: [(_, Make); 6] = [
        ("ipv4", &|number| written(ethernet().ipv4(client4(number), [192, 0, 2, 1], 64), &[])),
        ("ipv4, 1448 octets", &|number| written(ethernet().ipv4(client4(number), [192, 0, 2, 1], 64), &[0x5a; 1448])),
        ("ipv6", &|number| written(ethernet().ipv6(client6(number), [0x20; 16], 64), &[])),
        ("vlan", &|number| {
            let vlan = etherparse::VlanId::try_new(5).expect("5 is an identifier");
            written(ethernet().single_vlan(vlan).ipv4(client4(number), [192, 0, 2, 1], 64), &[])
        }),
        ("vxlan", &|number| {
            let inner = written(ethernet().ipv4(client4(number), [192, 0, 2, 1], 64), &[]);
            let payload = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &inner].concat();
            let outer = ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(50_000, 4789);
            let mut octets = Vec::new();
            outer.write(&mut octets, &payload).expect("memory takes everything");
            octets
        }),
        ("udp", &|number| {
            let mut octets = Vec::new();
            let packet = ethernet().ipv4(client4(number), [192, 0, 2, 1], 64).udp(50_000, 53);
            packet.write(&mut octets, &[0; 40]).expect("memory takes everything");
            octets
        }),
    ];
    for (kind, make) in kinds {
        let chunk = chunk(make);
        for (name, checksums) in [("counted", Checksums::Count), ("ignored", Checksums::Ignore)] {
            group.throughput(Throughput::Elements(u64::from(FRAMES)));
            group.bench_function(format!("{kind}, checksums {name}"), |bencher| {
                let mut decoder = Decoder::new(checksums, 1);
                let mut decoded = Decoded::default();
                bencher.iter(|| {
                    decoded.clear();
                    decoder.decode(&chunk, &mut decoded);
                    decoded.packets.len()
                });
            });
        }
    }
    group.finish();
}

fn ethernet() -> PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2; 6], [4; 6])
}

fn client4(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [10, 0, high, low]
}

fn client6(number: u16) -> [u8; 16] {
    let [high, low] = number.to_be_bytes();
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]
}

fn written(ip: PacketBuilderStep<etherparse::IpHeaders>, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(40_000, 443, 1000, 502);
    (header.ack, header.psh, header.acknowledgment_number) = (true, true, 2000);
    header.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]).expect("these options fit");
    let mut octets = Vec::new();
    ip.tcp_header(header).write(&mut octets, payload).expect("memory takes everything");
    octets
}

/// The frames as a capture file holds them.
fn chunk(make: &dyn Fn(u16) -> Vec<u8>) -> Chunk {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    for number in 0..FRAMES {
        let octets = make(number);
        let size = octets.len() as u32;
        for word in [1_600_000_000, u32::from(number), size, size] {
            file.extend(word.to_le_bytes());
        }
        file.extend(octets);
    }
    let mut chunk = Chunk { bytes: file, ..Chunk::default() };
    Reader::new(0).read(&mut chunk).expect("the capture is whole");
    chunk
}

criterion_group!(benches, decode);
criterion_main!(benches);
