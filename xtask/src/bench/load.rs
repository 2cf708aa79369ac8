//! The load file: many interleaved connections as a busy server farm has them, the same bytes at every run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::frame::{ACK, FILE_HEADER, FIN, PSH, RST, SYN, Segment, options, syn_options};
use crate::process;

/// To be raised with every change to what is generated: a file of another version is not used again.
const VERSION: u32 = 1;

/// A load file and what is in it.
pub struct Load {
    pub path: PathBuf,
    pub bytes: u64,
    pub packets: u64,
    pub connections: u64,
}

impl Load {
    /// The load file with this many connections, in the page cache: the one that is there, or a new one.
    pub fn get(connections: u64) -> Result<Self> {
        let load = Self::find(connections)?;
        cache_anew(&load.path).with_context(|| format!("reading {} into the page cache", load.path.display()))?;
        Ok(load)
    }

    fn find(connections: u64) -> Result<Self> {
        let folder = process::target_dir().join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(format!("load-{VERSION}-{connections}.pcap"));
        let note = path.with_extension("packets");
        let earlier = fs::read_to_string(&note).ok().and_then(|text| {
            let (packets, bytes) = text.trim().split_once(' ')?;
            Some((packets.parse().ok()?, bytes.parse().ok()?))
        });
        let here = fs::metadata(&path).map(|file| file.len()).ok();
        if let Some((packets, bytes)) = earlier
            && here == Some(bytes)
        {
            return Ok(Self { path, bytes, packets, connections });
        }
        eprintln!("making {}", path.display());
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let packets = generate(connections, &mut out).with_context(|| format!("writing {}", path.display()))?;
        drop(out);
        let bytes = fs::metadata(&path)?.len();
        fs::write(&note, format!("{packets} {bytes}\n")).with_context(|| format!("writing {}", note.display()))?;
        Ok(Self { path, bytes, packets, connections })
    }
}

/// Has a file in the page cache as one reading from end to end leaves it there: in large pieces. As it has been written, or as
/// pressure on memory has left it over the hours, `cat` took from 0.13 to 0.22 s for the same file, and everything else as much
/// longer.
fn cache_anew(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    // What is not on the disk yet stays where it is.
    file.sync_data()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    io::copy(&mut file, &mut io::sink())?;
    Ok(())
}

/// A new connection every so many microseconds: with what one takes, some two thousand are open at any time.
const START_EVERY: u64 = 100;

const MSS: u16 = 1448;

/// Writes the capture and gives its number of packets.
fn generate(connections: u64, out: &mut impl Write) -> io::Result<u64> {
    let mut random = Random(0x6f62_7365_7276_6572);
    let noise = (0..65_536 / 8).flat_map(|_| random.next().to_le_bytes()).collect::<Vec<_>>();
    let mut open: Vec<Connection> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut due = BinaryHeap::new();
    let mut started = 0;
    let mut clock = 1_600_000_000_000_000;
    let mut packets = 0;
    let mut record = Vec::new();
    out.write_all(&FILE_HEADER)?;
    loop {
        let next = due.peek().map(|&Reverse((at, _))| at);
        if started < connections && next.is_none_or(|next| clock <= next) {
            let connection = Connection::new(started, &mut random);
            let slot = free.pop().unwrap_or(open.len());
            if slot == open.len() {
                open.push(connection);
            } else {
                open[slot] = connection;
            }
            due.push(Reverse((clock, slot)));
            started += 1;
            clock += START_EVERY;
            continue;
        }
        let Some(Reverse((at, slot))) = due.pop() else { break };
        let connection = &mut open[slot];
        record.clear();
        connection.step(at, &noise, &mut random, &mut record);
        out.write_all(&record)?;
        packets += 1;
        match connection.steps.front() {
            Some(step) => due.push(Reverse((at + u64::from(step.wait), slot))),
            None => free.push(slot),
        }
    }
    out.flush()?;
    Ok(packets)
}

/// A connection's next packets, and where both of its ends are.
struct Connection {
    steps: VecDeque<Step>,
    /// Client, server.
    ends: [SocketAddr; 2],
    /// The next sequence number of each.
    next: [u32; 2],
    /// What the last data of each was, for those that are sent again.
    last: [(u32, usize, u16); 2],
}

/// One packet of a connection.
struct Step {
    /// Microseconds since the packet before.
    wait: u32,
    /// 0 for the client, 1 for the server.
    from: usize,
    flags: u8,
    len: u16,
    /// This sender's last data segment once more.
    again: bool,
}

impl Connection {
    /// Connection number `index`: no two have the same ends.
    fn new(index: u64, random: &mut Random) -> Self {
        const PORTS: [u16; 8] = [443, 443, 443, 80, 8080, 5432, 6379, 9092];
        let (host, port) = (index / 20_000, 32_768 + (index % 20_000) as u16);
        let client = (random.below(256) as u8, random.below(256) as u8);
        let server = random.below(200) as u8;
        let client_ip = Ipv4Addr::new(10, host as u8, client.0, client.1);
        let server_ip = Ipv4Addr::new(192, 0, 2, server);
        let ips = if random.below(10) == 0 {
            let documentation = |v4: Ipv4Addr| {
                let low = u32::from(v4);
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, (low >> 16) as u16, low as u16)
            };
            [IpAddr::V6(documentation(client_ip)), IpAddr::V6(documentation(server_ip))]
        } else {
            [IpAddr::V4(client_ip), IpAddr::V4(server_ip)]
        };
        let server_port = PORTS[random.below(PORTS.len() as u64) as usize];
        Self {
            steps: script(random),
            ends: [SocketAddr::new(ips[0], port), SocketAddr::new(ips[1], server_port)],
            next: [random.next() as u32, random.next() as u32],
            last: [(0, 0, 0); 2],
        }
    }

    /// Appends the record of the next packet.
    fn step(&mut self, at: u64, noise: &[u8], random: &mut Random, record: &mut Vec<u8>) {
        let Some(step) = self.steps.pop_front() else { return };
        let (own, other) = (step.from, 1 - step.from);
        if !step.again && step.len > 0 {
            let offset = random.below((noise.len() - usize::from(step.len)) as u64) as usize;
            self.last[own] = (self.next[own], offset, step.len);
        }
        let (seq, payload) = if step.len > 0 {
            let (seq, offset, len) = self.last[own];
            (seq, &noise[offset..offset + usize::from(len)])
        } else {
            (self.next[own], &[][..])
        };
        // A clock of milliseconds for either end; the echo is of a moment ago.
        let clock = (at / 1000) as u32;
        let stamps = (clock, if step.flags & ACK == 0 { 0 } else { clock.wrapping_sub(10) });
        let (syn, later) = (syn_options(stamps), options(stamps));
        let options = match step.flags {
            flags if flags & SYN != 0 => &syn[..],
            flags if flags & RST != 0 => &[],
            _ => &later[..],
        };
        let segment = Segment {
            src: self.ends[own],
            dst: self.ends[other],
            seq,
            ack: if step.flags & ACK != 0 { self.next[other] } else { 0 },
            flags: step.flags,
            window: if step.flags & SYN != 0 { 64_240 } else { 502 },
            options,
            payload,
        };
        segment.write(at, record);
        if !step.again {
            let space = u32::from(step.len) + u32::from(step.flags & (SYN | FIN) != 0);
            self.next[own] = self.next[own].wrapping_add(space);
        }
    }
}

/// The packets of one connection: a handshake, some requests with their answers, and a close.
fn script(random: &mut Random) -> VecDeque<Step> {
    const CLIENT: usize = 0;
    const SERVER: usize = 1;
    let packet = |wait, from, flags, len| Step { wait, from, flags, len, again: false };
    let rtt = 2_000 + random.below(38_000) as u32;
    let mut steps = VecDeque::from([packet(0, CLIENT, SYN, 0)]);
    if random.below(50) == 0 {
        steps.push_back(packet(rtt, SERVER, RST | ACK, 0));
        return steps;
    }
    steps.extend([packet(rtt, SERVER, SYN | ACK, 0), packet(20, CLIENT, ACK, 0)]);
    for _ in 0..1 + random.below(3) {
        let request = 100 + random.below(800) as u16;
        steps.extend([packet(100, CLIENT, PSH | ACK, request), packet(rtt, SERVER, ACK, 0)]);
        for segment in 0..random.below(7) {
            steps.push_back(packet(if segment == 0 { 500 } else { 12 }, SERVER, ACK, MSS));
            if random.below(200) == 0 {
                // Lost behind the point of capture.
                steps.push_back(Step { again: true, ..packet(rtt, SERVER, ACK, MSS) });
            }
            if segment % 2 == 1 {
                steps.push_back(packet(8, CLIENT, ACK, 0));
            }
        }
        let rest = 1 + random.below(u64::from(MSS)) as u16;
        steps.extend([packet(10, SERVER, PSH | ACK, rest), packet(30, CLIENT, ACK, 0)]);
    }
    if random.below(32) == 0 {
        steps.push_back(packet(1_000, CLIENT, RST | ACK, 0));
    } else {
        let (first, second) = if random.below(3) == 0 { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
        steps.push_back(packet(1_000, first, FIN | ACK, 0));
        steps.extend([packet(rtt, second, FIN | ACK, 0), packet(20, first, ACK, 0)]);
    }
    steps
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_at_every_run() {
        let [first, second] = [(); 2].map(|()| {
            let mut out = Vec::new();
            let packets = generate(300, &mut out).expect("memory takes everything");
            (packets, out)
        });
        assert_eq!(first, second);
        assert!(first.0 > 300 * 15, "{} packets", first.0);
    }

    #[test]
    fn time_never_runs_backwards_and_connections_interleave() {
        let mut out = Vec::new();
        generate(300, &mut out).expect("memory takes everything");
        let mut rest = &out[24..];
        let (mut last, mut ports) = (0, Vec::new());
        while let Some((head, tail)) = rest.split_first_chunk::<16>() {
            let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let at = u64::from(word(0)) * 1_000_000 + u64::from(word(4));
            assert!(at >= last);
            last = at;
            let (frame, after) = tail.split_at(word(8) as usize);
            if frame[12] == 0x08 {
                ports.push([frame[34], frame[35]].max([frame[36], frame[37]]));
            }
            rest = after;
        }
        let changes = ports.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes * 2 > ports.len(), "{changes} of {}", ports.len());
    }
}
