//! What a live source saw besides packets, as custom blocks of a pcapng file: a *recording*.
//!
//! A recording is a pcapng capture of the packets that were seen, with *marks* in between: sockets, events of the kernel,
//! what was lost, what time it was. Replaying packets and marks in their order does what was done live, so it gives the
//! same records. `docs/recording.md` describes the format.

mod wire;

use crate::kernel::{SocketInput, StrayInput};
use crate::record::{HookRecord, InterfaceRecord};
use crate::time::{Nanos, Timestamp};

/// The private enterprise number of the blocks. It is the one that RFC 5612 sets aside for examples: observer has none of
/// its own, and [`MAGIC`] tells its blocks from other examples.
pub const ENTERPRISE: u32 = 32_473;

/// What a block begins with, behind the enterprise number.
pub const MAGIC: [u8; 8] = *b"observer";

/// The version of what follows the magic. It changes with every change of the encoding in `wire.rs`.
pub const VERSION: u16 = 2;

/// The largest block that is read as observer's: what one holds takes some forty times as much memory.
pub const MOST_OCTETS: usize = 1 << 20;

/// A block that has as many is closed. One mark takes far less than the rest of [`MOST_OCTETS`].
const ENOUGH_OCTETS: usize = MOST_OCTETS / 4;

/// Octets before the marks: magic, version, two octets of 0, and the octets of the marks.
const HEAD: usize = 16;

/// Something in a recording that is no packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// The beginning, once, before everything else.
    Begin(Begin),
    /// Packets of a pcapng interface were seen in a network namespace.
    Interface {
        /// The interface's place among those of the file, from 0.
        interface: u16,
        /// Inode of the namespace.
        netns: u32,
    },
    /// A socket, in the namespace with this inode.
    Socket(u32, Box<SocketInput>),
    /// An event without a socket, likewise.
    Stray(u32, Box<StrayInput>),
    /// Records were lost.
    Lost {
        /// How many up to now, all together; `None` where that cannot be known.
        records: Option<u64>,
        /// After when those were lost that are new.
        since: Timestamp,
        /// Now.
        at: Timestamp,
    },
    /// Everything before it was taken in, and it was this late: what is over is given out.
    Now(Timestamp),
    /// The end: what the source says of itself.
    End(End),
    /// Connections without a socket are over: see [`crate::input::Input::Socketless`].
    Socketless(Timestamp),
}

/// How it was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// When.
    pub at: Timestamp,
    /// The source passes on a part of the packets (the kernel's filter): see [`crate::tracker::Config::sampled`].
    pub sampled: bool,
    /// [`crate::tracker::Config::max_connections`].
    pub max_connections: u64,
    /// [`crate::tracker::Config::linger`].
    pub linger: Nanos,
    /// [`crate::tracker::Config::linger_half`].
    pub linger_half: Nanos,
}

/// What a source says of itself in the end: see the fields of [`crate::record::CaptureRecord`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    /// Records or packets that were lost.
    pub dropped: Option<u64>,
    /// What the source does not show.
    pub unseen: Vec<String>,
    /// The hooks.
    pub hooks: Vec<HookRecord>,
    /// The interfaces that were captured on.
    pub interfaces: Vec<InterfaceRecord>,
}

/// A mark and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// How many of the capture's packets come before it.
    pub after: u64,
    /// The mark.
    pub mark: Mark,
}

/// Marks cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another version wrote them.
    #[error("a recording of version {0}, and this observer reads version {VERSION}")]
    Version(u16),
    /// They are damaged.
    #[error("damaged: {0} in a block of the recording")]
    Damaged(&'static str),
}

/// Appends the data of a custom block that holds as many of these marks as one should, without the enterprise number.
/// Gives their number, at least 1 where there are any.
pub fn encode(marks: &[Placed], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let mut taken = 0;
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend([0; 6]);
    for placed in marks {
        wire::encode(placed, out);
        taken += 1;
        if out.len() - start > ENOUGH_OCTETS {
            break;
        }
    }
    let length = ((out.len() - start - HEAD) as u32).to_le_bytes();
    if let Some(place) = out.get_mut(start + HEAD - 4..start + HEAD) {
        place.copy_from_slice(&length);
    }
    taken
}

/// The marks in the data of a custom block with observer's enterprise number; `None` where it is not observer's.
///
/// # Errors
/// When it is, and cannot be read.
pub fn decode(data: &[u8]) -> Option<Result<Vec<Placed>, Error>> {
    let data = data.strip_prefix(&MAGIC)?;
    Some(marks(data))
}

fn marks(data: &[u8]) -> Result<Vec<Placed>, Error> {
    let ([v0, v1, _, _, l0, l1, l2, l3], rest) = data.split_first_chunk().ok_or(Error::Damaged("no length"))?;
    let version = u16::from_le_bytes([*v0, *v1]);
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
    let mut rest = rest.get(..length).ok_or(Error::Damaged("a length beyond the end"))?;
    let mut marks = Vec::new();
    while !rest.is_empty() {
        let (placed, left) = wire::decode(rest)?;
        marks.push(placed);
        rest = left;
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kernel::KernelEvent;
    use crate::packet::{Address, Flags, IpVersion, Tuple};
    use crate::record::{EntryKind, OwnerHow, ProcessRecord, Source, TcpInfo, TcpState};

    const TUPLE: Tuple = Tuple {
        src: Address::v4([10, 0, 0, 1]),
        dst: Address::v4([10, 0, 0, 2]),
        sport: 40_000,
        dport: 443,
        version: IpVersion::V4,
    };

    fn event(at: u64, kind: EntryKind, source: Source, detail: Option<&str>) -> KernelEvent {
        let states = (TcpState::SynSent, TcpState::Estab);
        KernelEvent { at: Timestamp::from_nanos(at), kind, states, detail: detail.map(str::to_string), source }
    }

    /// One of each, with something in every field.
    fn samples() -> Vec<Placed> {
        let at = Timestamp::from_nanos(1_700_000_000_000_000_000);
        let process = ProcessRecord {
            pid: Some(4711),
            name: Some("curl".to_string()),
            command: Some("/usr/bin/curl".to_string()),
            args: Some("-s https://example.org".to_string()),
            uid: Some(1000),
            parent_pid: Some(1),
            ancestors: Vec::new(),
            container: Some("docker/0123456789ab".to_string()),
            container_id: Some("0123456789ab".to_string()),
            pod: Some("p".to_string()),
            namespace: Some("n".to_string()),
            cgroup: Some("/system.slice".to_string()),
            unit: Some("x.service".to_string()),
            how: Some(OwnerHow::Connect),
            side: None,
        };
        let socket = SocketInput {
            key: 0xffff_8880_0000_0001,
            at,
            tuple: TUPLE,
            cookie: Some(7),
            first_seen: at,
            passive: Some(false),
            existed: true,
            polled: false,
            looked_at: true,
            gone: true,
            state: TcpState::Closed,
            processes: vec![Arc::new(process)],
            info: Some(TcpInfo { rtt: Some(12_000), bytes_sent: Some(1 << 40), ..TcpInfo::default() }),
            first_event: 3,
            events: vec![
                event(1_700_000_000_000_000_001, EntryKind::State, Source::State, None),
                event(1_700_000_000_000_000_002, EntryKind::Error, Source::Error, Some("ECONNREFUSED")),
            ],
        };
        let stray = StrayInput {
            tuple: TUPLE.reversed(),
            flags: Flags::SYN,
            event: event(1_700_000_000_000_000_003, EntryKind::Drop, Source::Drop, Some("NO_SOCKET @ tcp_v4_rcv")),
        };
        let end = End {
            dropped: Some(3),
            unseen: vec!["nothing".to_string()],
            hooks: vec![HookRecord {
                name: "state",
                attached: true,
                why: None,
                lacks: vec!["reason"],
                lost: vec![1, 2],
                missed: 3,
            }],
            interfaces: vec![InterfaceRecord {
                name: Some("lo".to_string()),
                link_type: 1,
                ..InterfaceRecord::default()
            }],
        };
        let begin = Begin {
            at,
            sampled: true,
            max_connections: 1_000_000,
            linger: Nanos::from_millis(150),
            linger_half: Nanos::from_millis(2_500),
        };
        let marks = [
            Mark::Begin(begin),
            Mark::Interface { interface: 0, netns: 4_026_531_840 },
            Mark::Socket(4_026_531_840, Box::new(socket)),
            Mark::Stray(4_026_531_840, Box::new(stray)),
            Mark::Lost { records: Some(12), since: at, at },
            Mark::Lost { records: None, since: at, at },
            Mark::Now(at),
            Mark::End(end),
            Mark::Socketless(at),
        ];
        marks.into_iter().enumerate().map(|(number, mark)| Placed { after: number as u64, mark }).collect()
    }

    #[test]
    fn marks_come_back_as_they_were() {
        let samples = samples();
        let mut data = Vec::new();
        assert_eq!(encode(&samples, &mut data), samples.len());
        assert_eq!(decode(&data), Some(Ok(samples.clone())));
        data.extend([0; 3]);
        assert_eq!(decode(&data), Some(Ok(samples)), "blocks are padded");
        assert_eq!(decode(b"another example"), None);
    }

    #[test]
    fn every_kind_of_event_has_a_number() {
        let kinds = [
            EntryKind::State,
            EntryKind::Retransmit,
            EntryKind::SynAckRetransmit,
            EntryKind::ResetSent,
            EntryKind::ResetReceived,
            EntryKind::Drop,
            EntryKind::Error,
            EntryKind::NotRetransmitted,
            EntryKind::Congestion,
        ];
        for kind in kinds {
            let stray = StrayInput { tuple: TUPLE, flags: Flags::empty(), event: event(1, kind, Source::Drop, None) };
            let placed = [Placed { after: 0, mark: Mark::Stray(1, Box::new(stray)) }];
            let mut data = Vec::new();
            encode(&placed, &mut data);
            assert_eq!(decode(&data), Some(Ok(placed.to_vec())));
        }
    }

    /// The encoding of version 2, octet by octet. Where this fails, old recordings could not be read any more: give the
    /// change a version of its own.
    #[test]
    fn the_encoding_is_that_of_its_version() {
        let mut data = Vec::new();
        encode(&samples(), &mut data);
        let hex: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, include_str!("version-2.hex").trim_end());
    }

    #[test]
    fn damage_is_told_and_takes_no_room() {
        let mut data = Vec::new();
        encode(&samples(), &mut data);
        let mut newer = data.clone();
        newer[8] = 3;
        assert_eq!(decode(&newer), Some(Err(Error::Version(3))));
        for end in 8..data.len() {
            assert!(matches!(decode(&data[..end]), Some(Err(Error::Damaged(_)))), "cut at {end}");
        }
        for place in HEAD..data.len() {
            let mut flipped = data.clone();
            flipped[place] ^= 0xff;
            let _ = decode(&flipped);
        }
    }
}
