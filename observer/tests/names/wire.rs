//! Captures of lookups and of connections, made up packet by packet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Flags of TCP.
pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const PSH_ACK: u8 = 0x18;
pub const FIN_ACK: u8 = 0x11;
pub const SYN_ACK: u8 = 0x12;

/// Types of records.
pub const A: u16 = 1;
pub const AAAA: u16 = 28;

pub fn at(end: &str) -> SocketAddr {
    end.parse().unwrap_or_else(|error| panic!("{end}: {error}"))
}

/// Packets, a millisecond apart.
#[derive(Default)]
pub struct Wire {
    packets: Vec<(u64, Vec<u8>)>,
    /// In milliseconds.
    pub now: u64,
}

impl Wire {
    pub fn datagram(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let length = (8 + payload.len() as u16).to_be_bytes();
        self.packet(UDP, from, to, &[&length[..], &[0, 0]].concat(), payload);
    }

    pub fn segment(&mut self, from: SocketAddr, to: SocketAddr, flags: u8, (seq, ack): (u32, u32), payload: &[u8]) {
        let head = [&seq.to_be_bytes()[..], &ack.to_be_bytes(), &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat();
        self.packet(TCP, from, to, &head, payload);
    }

    /// The handshake of a connection whose ends' first octets have the numbers 1 and 1001.
    pub fn open(&mut self, client: SocketAddr, server: SocketAddr) {
        self.segment(client, server, SYN, (0, 0), &[]);
        self.segment(server, client, SYN_ACK, (1000, 1), &[]);
        self.segment(client, server, ACK, (1, 1001), &[]);
    }

    fn packet(&mut self, protocol: u8, from: SocketAddr, to: SocketAddr, head: &[u8], payload: &[u8]) {
        let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        let length = (ports.len() + head.len() + payload.len()) as u16;
        let around = match (from.ip(), to.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let [high, low] = (20 + length).to_be_bytes();
                [&[0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0][..], &src.octets(), &dst.octets()].concat()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let [high, low] = length.to_be_bytes();
                [&[0x60, 0, 0, 0, high, low, protocol, 64][..], &src.octets(), &dst.octets()].concat()
            }
            ends => panic!("of two families: {ends:?}"),
        };
        self.now += 1;
        self.packets.push((self.now, [&around[..], &ports, head, payload].concat()));
    }

    /// As a file of raw IP packets.
    fn pcap(&self) -> Vec<u8> {
        const BEGUN: u64 = 1_700_000_000;
        let mut file = Vec::new();
        let mut words = |words: &[u32], data: &[u8]| {
            words.iter().for_each(|word| file.extend(word.to_le_bytes()));
            file.extend(data);
        };
        words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 101], &[]);
        for (millis, packet) in &self.packets {
            let (seconds, micros) = (BEGUN + millis / 1000, millis % 1000 * 1000);
            words(&[seconds as u32, micros as u32, packet.len() as u32, packet.len() as u32], packet);
        }
        file
    }

    /// What observer prints of it.
    pub fn replayed(&self, arguments: &[&str]) -> String {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path: PathBuf = std::env::temp_dir().join(format!("observer-names-{}-{number}.pcap", std::process::id()));
        std::fs::write(&path, self.pcap()).expect("the capture is written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
        let output = command.arg("replay").args(arguments).arg(&path).output().expect("observer runs");
        std::fs::remove_file(&path).expect("the capture is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Its connections and its lookups.
    pub fn records(&self) -> (Vec<Value>, Vec<Value>) {
        let printed = self.replayed(&["--output", "json"]);
        let objects = printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
        let (lookups, others): (Vec<_>, Vec<_>) = objects.partition(|object| object["type"] == "lookup");
        (others.into_iter().filter(|object| object["type"] == "connection").collect(), lookups)
    }
}

/// A name on the wire.
fn labels(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// A question.
pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let head = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    [&head[..], &labels(name), &kind.to_be_bytes(), &[0, 1]].concat()
}

/// A record of an address, good for a minute.
pub fn address(name: &str, ip: IpAddr) -> Vec<u8> {
    let (kind, octets) = match ip {
        IpAddr::V4(ip) => (A, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
    };
    record(name, kind, &octets)
}

/// A record, good for a minute.
pub fn record(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    [&labels(name)[..], &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
}

/// The answer to a question, with these records.
pub fn answer(query: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
    let mut answer = [query, &records.concat()].concat();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    answer
}

/// A message as it goes over TCP.
pub fn behind_length(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// An address of 192.0.2.0/24.
pub fn host(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}
