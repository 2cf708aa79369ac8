//! From the records of the programs to what the tracker takes in.

use std::iter::repeat_n;
use std::sync::Arc;

use observer::kernel::{self, KernelEvent, SocketInput, StrayInput};
use observer::packet::{Address, Flags, IpVersion, Tuple};
use observer::record::{EntryKind, ProcessRecord, Source, TcpInfo};
use observer_ebpf::{Counters, Event, How, Kind, Socket, Stray, Task, tag};

use super::super::clock::WallClock;
use super::super::owner::Owners;
use super::names::Names;

/// What it takes to translate.
#[derive(Debug)]
pub struct Translator {
    pub clock: WallClock,
    pub names: Names,
    pub owners: Owners,
}

/// Why the kernel says something of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// It has gone away.
    Gone,
    /// Its log of events was full.
    Chapter,
    /// It was looked at.
    Look,
}

impl Translator {
    /// A socket of which something is said at `at`. `listener` is who listens on its port.
    pub fn socket(
        &mut self,
        socket: &Socket,
        at: u64,
        occasion: Occasion,
        listener: Option<&Arc<ProcessRecord>>,
    ) -> SocketInput {
        // Where it was not then that it was made, its owner was seen at some time since.
        let during = |how| socket.born..=if matches!(how, How::Connect | How::Listen) { socket.born } else { at };
        let mut processes = Vec::new();
        if let Some(how) = How::from_number(socket.owner_how)
            && is_process(&socket.owner)
        {
            processes.push(self.owners.record(&socket.owner, how, socket.cgroup, during(how)));
        }
        if let Some(how) = How::from_number(socket.closer_how)
            && (socket.owner_how == 0 || socket.closer.pid != socket.owner.pid)
            && is_process(&socket.closer)
        {
            processes.push(self.owners.record(&socket.closer, how, 0, during(how)));
        }
        // Who listens has most likely accepted it, where that was not seen; who has closed it, too, is known already.
        if socket.owner_how == 0
            && let Some(listener) = listener
            && !processes.iter().any(|process| process.pid == listener.pid)
        {
            processes.push(Arc::clone(listener));
        }
        let passive = socket.marks & Socket::PASSIVE != 0;
        let existed = socket.marks & Socket::EXISTED != 0;
        let events = socket.events.iter().take(socket.filled as usize);
        SocketInput {
            key: socket.key,
            at: self.clock.at(at),
            tuple: ends(socket),
            cookie: (socket.cookie != 0).then_some(socket.cookie),
            first_seen: self.clock.at(socket.born),
            passive: match (passive, existed) {
                (true, _) => Some(true),
                // Which of the two ends listens tells who was called.
                (false, true) => listener.map(|_| true),
                (false, false) => Some(false),
            },
            existed,
            polled: false,
            looked_at: occasion == Occasion::Look,
            gone: occasion == Occasion::Gone,
            state: kernel::state(socket.state),
            processes,
            info: (socket.marks & Socket::COUNTED != 0).then(|| info(&socket.counters)),
            first_event: socket.sent,
            events: events.flat_map(|event| self.events(event)).collect(),
        }
    }

    /// An event without a socket.
    pub fn stray(&mut self, stray: &Stray) -> Option<StrayInput> {
        let tuple = Tuple {
            src: Address(stray.source),
            dst: Address(stray.destination),
            sport: stray.source_port,
            dport: stray.destination_port,
            version: if stray.version == 6 && !is_mapped(&stray.source) { IpVersion::V6 } else { IpVersion::V4 },
        };
        let event = self.event(&stray.event, stray.location)?;
        Some(StrayInput { tuple, flags: Flags::from_bits_truncate(stray.flags.into()), event })
    }

    /// What happened several times at once is as many events.
    fn events(&mut self, event: &Event) -> impl Iterator<Item = KernelEvent> + use<> {
        let times = event.times.into();
        self.event(event, 0).into_iter().flat_map(move |told| repeat_n(told, times))
    }

    fn event(&mut self, event: &Event, location: u64) -> Option<KernelEvent> {
        let (kind, source, detail) = match Kind::from_number(event.kind)? {
            Kind::State => (EntryKind::State, Source::State, None),
            Kind::Retransmit => (EntryKind::Retransmit, Source::Retransmit, Names::transmission(event.value)),
            Kind::NotRetransmitted => {
                (EntryKind::NotRetransmitted, Source::Retransmit, Names::transmission(event.value))
            }
            Kind::SynAckRetransmit => (EntryKind::SynAckRetransmit, Source::SynAck, None),
            Kind::ResetSent => (EntryKind::ResetSent, Source::ResetSent, self.names.reset(event.value)),
            Kind::ResetReceived => (EntryKind::ResetReceived, Source::ResetReceived, None),
            Kind::Drop => (EntryKind::Drop, Source::Drop, self.names.drop(event.value, location)),
            Kind::Error => (EntryKind::Error, Source::Error, Names::error(event.value)),
            Kind::Congestion => (EntryKind::Congestion, Source::Congestion, Some(Names::congestion(event.value))),
        };
        let states = (kernel::state(event.from), kernel::state(event.to));
        Some(KernelEvent { at: self.clock.at(event.at), kind, states, detail, source })
    }
}

/// Whether a task is no thread of the kernel: those are children of kthreadd, which is the second process. The one that
/// works for MPTCP opens and closes subflows of others.
const fn is_process(task: &Task) -> bool {
    const KTHREADD: u32 = 2;
    task.parent != KTHREADD
}

/// What a record in the ring buffer begins with.
pub fn tag_of(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |tag| u32::from_ne_bytes(*tag))
}

/// Why a socket's record came through the ring buffer.
pub const fn occasion(socket: &Socket) -> Occasion {
    if socket.tag == tag::GONE { Occasion::Gone } else { Occasion::Chapter }
}

/// The ends of a socket, its own as source.
pub fn ends(socket: &Socket) -> Tuple {
    let mapped = is_mapped(&socket.local) && is_mapped(&socket.remote);
    Tuple {
        src: Address(socket.local),
        dst: Address(socket.remote),
        sport: socket.local_port,
        dport: socket.remote_port,
        version: if mapped { IpVersion::V4 } else { IpVersion::V6 },
    }
}

/// Whether an address is an IPv4 one (`::ffff:a.b.c.d`).
fn is_mapped(address: &[u8; 16]) -> bool {
    address.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
}

/// The kernel's numbers, in the units of `struct tcp_info`.
fn info(counters: &Counters) -> TcpInfo {
    let small = |value: u32| (value != u32::MAX).then_some(value);
    let large = |value: u64| (value != u64::MAX).then_some(value);
    /// TCP_INFINITE_SSTHRESH
    const NO_THRESHOLD: u32 = 0x7fff_ffff;
    TcpInfo {
        rtt: small(counters.srtt_us).map(|rtt| rtt / 8),
        rttvar: small(counters.mdev_us).map(|deviation| deviation / 4),
        minrtt: small(counters.rtt_min),
        cwnd: small(counters.snd_cwnd),
        ssthresh: small(counters.snd_ssthresh).filter(|threshold| *threshold < NO_THRESHOLD),
        mss: small(counters.mss_cache),
        advmss: small(counters.advmss),
        bytes_sent: large(counters.bytes_sent),
        bytes_retrans: large(counters.bytes_retrans),
        bytes_acked: large(counters.bytes_acked),
        bytes_received: large(counters.bytes_received),
        segs_out: small(counters.segs_out),
        segs_in: small(counters.segs_in),
        data_segs_out: small(counters.data_segs_out),
        data_segs_in: small(counters.data_segs_in),
        total_retrans: small(counters.total_retrans),
        lost: small(counters.lost),
        delivered: small(counters.delivered),
        delivered_ce: small(counters.delivered_ce),
        reord_seen: small(counters.reord_seen),
        dsack_dups: small(counters.dsack_dups),
        rcv_ooopack: small(counters.rcv_ooopack),
        snd_wnd: small(counters.snd_wnd),
        rcv_wnd: small(counters.rcv_wnd),
    }
}
