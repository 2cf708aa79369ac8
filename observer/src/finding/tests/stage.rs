//! A client and a server that say what a test wants them to, at the times it wants.

use crate::finding::{Context, Thresholds, judge};
use crate::flow;
use crate::input::{Input, PacketInput};
use crate::packet::{Address, Body, Flags, FrameId, IpVersion, Notes, Packet, Segment, Span, Tuple};
use crate::record::{ConnectionRecord, Finding, Side};
use crate::sequence::Seq;
use crate::time::{Nanos, Timestamp};
use crate::tracker::{Config, Event, Tracker};

/// MSS 1460.
const SYN_OPTIONS: [u8; 4] = [2, 4, 5, 180];
/// MSS 1460, SACK permitted.
const SACK_OPTIONS: [u8; 8] = [2, 4, 5, 180, 4, 2, 1, 1];

/// One connection between 10.0.0.1:40000 and 10.0.0.2:80.
pub struct Stage {
    tracker: Tracker,
    number: u64,
    now: Timestamp,
    /// The next sequence number of each end, client first.
    next: [u32; 2],
    sack: bool,
    ip_id: u16,
    /// The identification of what was skipped.
    skipped: u16,
    interface: u16,
    /// The options of the next packet, where not its usual ones.
    options: Option<Vec<u8>>,
    /// What each end's packets carry.
    pub window: [u16; 2],
    pub ttl: [u8; 2],
    pub tos: [u8; 2],
    /// Their DF flag.
    pub whole: bool,
    pub thresholds: Thresholds,
    pub lost: bool,
}

impl Stage {
    pub fn new() -> Self {
        Self {
            tracker: Tracker::new(Config::default()),
            number: 0,
            now: Timestamp::from_nanos(1_700_000_000_000_000_000),
            next: [1_000, 5_000],
            sack: false,
            ip_id: 0,
            skipped: 0,
            interface: 0,
            options: None,
            window: [60_000; 2],
            ttl: [64; 2],
            tos: [0; 2],
            whole: true,
            thresholds: Thresholds::default(),
            lost: false,
        }
    }

    /// The same where not every packet is seen.
    pub fn sampled() -> Self {
        Self { tracker: Tracker::new(Config { sampled: true, ..Config::default() }), ..Self::new() }
    }

    /// Both ends permit SACK.
    pub fn sack(&mut self) -> &mut Self {
        self.sack = true;
        self
    }

    /// Time goes by, in milliseconds.
    pub fn after(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.plus(Nanos::from_millis(millis));
        self
    }

    pub fn syn(&mut self) -> &mut Self {
        self.send(Side::Client, "S", b"")
    }

    /// A handshake over a round trip of 10 ms.
    pub fn open(&mut self) -> &mut Self {
        self.syn().after(10).send(Side::Server, "S.", b"").after(0).send(Side::Client, ".", b"")
    }

    /// A request and its response of so many octets, both acknowledged.
    pub fn exchange(&mut self, octets: usize) -> &mut Self {
        self.after(1).send(Side::Client, "P.", &http_get("/"));
        self.after(10).send(Side::Server, "P.", &http_ok(octets)).after(1).send(Side::Client, ".", b"")
    }

    /// Both ends close.
    pub fn close(&mut self) -> &mut Self {
        self.after(1).send(Side::Client, "F.", b"").after(10).send(Side::Server, "F.", b"");
        self.after(1).send(Side::Client, ".", b"")
    }

    /// One end sends what comes next, and acknowledges all that the other has sent.
    pub fn send(&mut self, from: Side, flags: &str, payload: &[u8]) -> &mut Self {
        let [seq, _] = self.of(from);
        self.packet(from, flags, seq, 0, payload);
        let takes = u32::from(flags.contains(['S', 'F']));
        let next = &mut self.next[usize::from(from == Side::Server)];
        *next = next.wrapping_add(payload.len() as u32 + takes);
        self
    }

    /// One end acknowledges, but the last `less` octets.
    pub fn send_ack(&mut self, from: Side, less: u32) -> &mut Self {
        let [seq, _] = self.of(from);
        self.packet(from, ".", seq, less, b"");
        self
    }

    /// One end sends what comes next, which does not acknowledge the last octet that the other has sent.
    pub fn less_one(&mut self, from: Side, flags: &str) -> &mut Self {
        let [seq, _] = self.of(from);
        self.packet(from, flags, seq, 1, b"");
        let next = &mut self.next[usize::from(from == Side::Server)];
        *next = next.wrapping_add(u32::from(flags.contains(['S', 'F'])));
        self
    }

    /// One end sends `len` octets again that begin `back` before what comes next.
    pub fn again(&mut self, from: Side, flags: &str, back: u32, len: u32) -> &mut Self {
        let [seq, _] = self.of(from);
        self.packet(from, flags, seq.wrapping_sub(back), 0, &vec![b'x'; len as usize]);
        self
    }

    /// The same with other options.
    pub fn again_with(&mut self, from: Side, flags: &str, back: u32, options: &[u8]) -> &mut Self {
        self.options = Some(options.to_vec());
        self.again(from, flags, back, 0)
    }

    /// The SYN just sent is captured once more, on another interface, where it has these options.
    pub fn elsewhere(&mut self, options: &[u8]) -> &mut Self {
        (self.ip_id, self.interface) = (self.ip_id - 1, 1);
        self.again_with(Side::Client, "S", 1, options);
        self.interface = 0;
        self
    }

    /// The server's SYN-ACK, which does not acknowledge the last `less` octets.
    pub fn syn_ack_without_data(&mut self, less: u32) -> &mut Self {
        let [seq, _] = self.of(Side::Server);
        self.packet(Side::Server, "S.", seq, less, b"");
        self.next[1] = self.next[1].wrapping_add(1);
        self
    }

    /// One end sends octets that the capture does not see.
    pub fn skip(&mut self, from: Side, len: u32) -> &mut Self {
        let next = &mut self.next[usize::from(from == Side::Server)];
        *next = next.wrapping_add(len);
        self.ip_id += 1;
        self.skipped = self.ip_id;
        self
    }

    /// What was skipped comes, as long as what overtook it: the network was slow, not the sender.
    pub fn overtaken(&mut self, from: Side, len: u32) -> &mut Self {
        let [seq, _] = self.of(from);
        let ip_id = std::mem::replace(&mut self.ip_id, self.skipped - 1);
        self.packet(from, ".", seq.wrapping_sub(2 * len), 0, &vec![b'x'; len as usize]);
        self.ip_id = ip_id;
        self
    }

    /// One end asks whether the other is there.
    pub fn keep_alive(&mut self, from: Side) -> &mut Self {
        let [seq, _] = self.of(from);
        self.packet(from, ".", seq.wrapping_sub(1), 0, b"");
        self
    }

    /// What is found when the input goes on for so many milliseconds.
    pub fn finish_after(self, millis: u64) -> Vec<Finding> {
        let until = self.now.plus(Nanos::from_millis(millis));
        let (thresholds, lost) = (self.thresholds, self.lost);
        judge(&self.record(), &Context { thresholds: &thresholds, until, lost })
    }

    /// The connection.
    pub fn record(mut self) -> ConnectionRecord {
        self.tracker.finish();
        let records: Vec<ConnectionRecord> = std::iter::from_fn(|| self.tracker.poll())
            .map(|event| match event {
                Event::Connection(record) | Event::Update(record) => *record,
                Event::Lookup(lookup) => unreachable!("nothing here is a lookup: {lookup:?}"),
            })
            .collect();
        let [record] = records.try_into().unwrap_or_else(|all| panic!("one connection, not {all:#?}"));
        record
    }

    /// The next sequence number of an end, and that of the other.
    const fn of(&self, from: Side) -> [u32; 2] {
        let [client, server] = self.next;
        match from {
            Side::Client => [client, server],
            Side::Server => [server, client],
        }
    }

    fn packet(&mut self, from: Side, letters: &str, seq: u32, less: u32, payload: &[u8]) {
        let flag = |letter| match letter {
            'F' => Flags::FIN,
            'S' => Flags::SYN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            '.' => Flags::ACK,
            'E' => Flags::ECE,
            'W' => Flags::CWR,
            other => panic!("no flag {other}"),
        };
        let flags = letters.chars().map(flag).fold(Flags::empty(), Flags::union);
        let ack = if flags.contains(Flags::ACK) { self.of(from)[1].wrapping_sub(less) } else { 0 };
        let (sender, receiver) = match from {
            Side::Client => ((1, 40_000), (2, 80)),
            Side::Server => ((2, 80), (1, 40_000)),
        };
        let end = usize::from(from == Side::Server);
        self.number += 1;
        self.ip_id += 1;
        // No two packets share a moment, or one could pass for a copy of the other.
        self.now = self.now.plus(Nanos::from_micros(10));
        let tuple = Tuple {
            src: Address::v4([10, 0, 0, sender.0]),
            dst: Address::v4([10, 0, 0, receiver.0]),
            sport: sender.1,
            dport: receiver.1,
            version: IpVersion::V4,
        };
        let given = self.options.take();
        let usual: &[u8] = match (flags.contains(Flags::SYN), self.sack) {
            (true, true) => &SACK_OPTIONS,
            (true, false) => &SYN_OPTIONS,
            (false, _) => &[],
        };
        let options = given.as_deref().unwrap_or(usual);
        let len = payload.len() as u32;
        let window = self.window[end];
        // Both ends are hosts of their own, and the client's is where observer is.
        let outbound = if from == Side::Client { Notes::OUTBOUND } else { Notes::empty() };
        let segment = Segment { seq: Seq(seq), ack: Seq(ack), flags, window, urgent: 0, len };
        let packet = Packet {
            at: self.now,
            number: self.number,
            frame: FrameId { file: 0, number: self.number },
            hash: flow::hash(&tuple, &[], 0),
            tuple,
            interface: self.interface,
            ttl: self.ttl[end],
            tos: self.tos[end],
            ip_id: self.ip_id,
            notes: if self.whole { Notes::DONT_FRAGMENT | outbound } else { outbound },
            layers: None,
            tail: Span { options: options.len() as u8, payload: len, ..Span::default() },
            missing: 0,
            body: Body::Tcp(segment),
        };
        let input = PacketInput { packet: &packet, layers: &[], options, payload, error: None };
        self.tracker.handle(Input::Packet(&input));
    }
}

/// A request for `path`.
pub fn http_get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: server.lab\r\n\r\n").into_bytes()
}

/// A response of so many octets.
pub fn http_ok(octets: usize) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {octets}\r\n\r\n").into_bytes();
    response.resize(response.len() + octets, b'x');
    response
}
