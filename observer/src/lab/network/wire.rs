//! The wire between two hosts: frames leave one tap interface and enter the other after a while, unless a fault says
//! otherwise. The kernel's own emulator (netem) is not needed, and what is lost is what the scenario names.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use observer::packet::Flags;
use observer::sequence::Seq;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::capture::{Capture, Interface};
use super::fault::{Fate, Fault};
use super::sighting::Sighting;

/// One of the two ends of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The host that was named first: in most scenarios the client.
    Near,
    /// The other one.
    Far,
}

/// How a wire behaves. Frames to multicast addresses are not carried: neighbours are configured, and what would still
/// be said to all (MLD) comes at times of its own.
pub struct Wire {
    /// How long a frame is on its way.
    pub delay: Duration,
    /// Where it is captured.
    pub captured: Vec<End>,
    /// The wire is a trunk between two switches, which tag it so (802.1Q).
    pub vlan: Option<u16>,
    /// What goes wrong on it.
    pub faults: Vec<Fault>,
    /// Who waits for something to pass on it.
    pub watches: Vec<Watch>,
    /// What the capture misses, though it was on the wire.
    pub missed: Option<Missed>,
}

/// Looks at every frame that leaves a host, whatever becomes of it.
pub type Watch = Box<dyn FnMut(&Passing<'_>) + Send>;

/// Whether the capture misses a frame.
pub type Missed = Box<dyn FnMut(&Passing<'_>) -> bool + Send>;

/// A frame on its way.
#[derive(Debug)]
pub struct Passing<'a> {
    /// Where it comes from.
    pub from: End,
    /// Its octets, from the Ethernet header on.
    pub frame: &'a [u8],
    /// The segment in it, innermost where it is in no tunnel.
    pub tcp: Option<Segment>,
}

/// What faults ask of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window field, not scaled.
    pub window: u16,
    /// Octets of payload.
    pub len: usize,
}

impl End {
    /// The one across the wire.
    pub const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

impl Wire {
    /// A wire without faults, captured at its near end.
    pub fn new(delay: Duration) -> Self {
        Self { delay, captured: vec![End::Near], vlan: None, faults: Vec::new(), watches: Vec::new(), missed: None }
    }

    /// The same, captured elsewhere.
    pub fn captured_at(mut self, ends: &[End]) -> Self {
        self.captured = ends.to_vec();
        self
    }

    /// The same as a trunk that carries VLAN `id`.
    pub fn with_vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// The same with one more fault.
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The same, captured with gaps.
    pub fn with_missed(mut self, missed: impl FnMut(&Passing<'_>) -> bool + Send + 'static) -> Self {
        self.missed = Some(Box::new(missed));
        self
    }

    /// The same, watched: `sighting` counts the frames that leave a host and for which `wanted` holds.
    pub fn watched(mut self, sighting: &Sighting, wanted: impl FnMut(&Passing<'_>) -> bool + Send + 'static) -> Self {
        self.watches.push(sighting.watch(wanted));
        self
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("delay", &self.delay).field("captured", &self.captured).finish_non_exhaustive()
    }
}

impl Passing<'_> {
    /// A look at `frame`.
    pub fn new(from: End, frame: &[u8]) -> Passing<'_> {
        Passing { from, frame, tcp: Segment::of(frame) }
    }

    /// Whether this is a segment with payload from `end`.
    pub fn is_data_from(&self, end: End) -> bool {
        self.from == end && self.tcp.is_some_and(|tcp| tcp.len > 0)
    }
}

impl Segment {
    fn of(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
        let bits = u16::from_be_bytes([tcp.slice().get(12)? & 1, *tcp.slice().get(13)?]);
        matches!(packet.net, Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_))).then(|| Self {
            sport: tcp.source_port(),
            dport: tcp.destination_port(),
            seq: Seq(tcp.sequence_number()),
            ack: Seq(tcp.acknowledgment_number()),
            flags: Flags::from_bits_truncate(bits),
            window: tcp.window_size(),
            len: tcp.payload().len(),
        })
    }
}

/// What can be seen of a wire from outside while it works.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Frames on their way.
    pub in_flight: AtomicUsize,
    /// Frames read so far.
    pub read: AtomicU64,
}

/// A wire at work: carries frames until its `stop` pipe is closed.
pub struct Mover {
    pub near: Terminal,
    pub far: Terminal,
    pub wire: Wire,
    pub capture: Arc<Capture>,
    pub gauge: Arc<Gauge>,
    pub stop: PipeReader,
}

/// One end of a wire at work.
#[derive(Debug)]
pub struct Terminal {
    pub tap: File,
    /// `None` where nothing is captured at this end.
    pub interface: Option<Interface>,
}

/// Frames on their way, the next to arrive on top.
#[derive(Debug, Default)]
struct Queue {
    waiting: BinaryHeap<Reverse<Waiting>>,
    overtaken: Vec<Overtaken>,
    number: u64,
}

/// A frame that waits for its time; ordered by it, and by its place in the queue.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    number: u64,
    to: End,
    frame: Vec<u8>,
}

/// A frame that waits for others to overtake it.
#[derive(Debug)]
struct Overtaken {
    to: End,
    left: usize,
    at_latest: Instant,
    frame: Vec<u8>,
}

impl Queue {
    fn push(&mut self, due: Instant, to: End, frame: Vec<u8>) {
        self.number += 1;
        self.waiting.push(Reverse(Waiting { due, number: self.number, to, frame }));
    }

    /// A frame towards `to` passes and will arrive at `due`: those that waited for it arrive right after it.
    fn release(&mut self, due: Instant, to: End) {
        for held in self.overtaken.iter_mut().filter(|held| held.to == to) {
            held.left = held.left.saturating_sub(1);
        }
        for held in self.overtaken.extract_if(.., |held| held.left == 0).collect::<Vec<_>>() {
            self.push(due, held.to, held.frame);
        }
    }

    /// The next frame that has arrived at `now`.
    fn pop(&mut self, now: Instant) -> Option<Waiting> {
        for held in self.overtaken.extract_if(.., |held| held.at_latest <= now).collect::<Vec<_>>() {
            self.push(now, held.to, held.frame);
        }
        let arrived = self.waiting.peek().is_some_and(|Reverse(next)| next.due <= now);
        if arrived { self.waiting.pop().map(|Reverse(next)| next) } else { None }
    }

    fn next_due(&self) -> Option<Instant> {
        let overtaken = self.overtaken.iter().map(|held| held.at_latest);
        self.waiting.peek().map(|Reverse(next)| next.due).into_iter().chain(overtaken).min()
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.overtaken.len()
    }
}

impl Mover {
    /// Carries frames.
    pub fn run(mut self) -> io::Result<()> {
        let mut queue = Queue::default();
        loop {
            let now = Instant::now();
            while let Some(arrived) = queue.pop(now) {
                self.deliver(&arrived);
            }
            self.gauge.in_flight.store(queue.len(), Ordering::Release);
            let until = queue.next_due().map(|due| due.saturating_duration_since(now));
            let timeout = until.and_then(|until| Timespec::try_from(until).ok());
            let mut ready = [
                PollFd::from_borrowed_fd(self.near.tap.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.far.tap.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
            ];
            poll(&mut ready, timeout.as_ref())?;
            let [near, far, stop] = ready.map(|fd| !fd.revents().is_empty());
            if stop {
                return Ok(());
            }
            for (from, _) in [(End::Near, near), (End::Far, far)].into_iter().filter(|(_, readable)| *readable) {
                while let Some(frame) = self.read(from)? {
                    self.gauge.read.fetch_add(1, Ordering::AcqRel);
                    self.accept(from, frame, &mut queue);
                    self.gauge.in_flight.store(queue.len(), Ordering::Release);
                }
            }
        }
    }

    fn terminal(&mut self, end: End) -> &mut Terminal {
        match end {
            End::Near => &mut self.near,
            End::Far => &mut self.far,
        }
    }

    fn read(&mut self, from: End) -> io::Result<Option<Vec<u8>>> {
        const LONGEST: usize = 65_536;
        let mut buffer = [0; LONGEST];
        match self.terminal(from).tap.read(&mut buffer) {
            Ok(length) => Ok(buffer.get(..length).map(<[u8]>::to_vec)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Decides over a frame that left its host.
    fn accept(&mut self, from: End, frame: Vec<u8>, queue: &mut Queue) {
        const GROUP_BIT: u8 = 1;
        /// How long a frame waits for others to overtake it.
        const PATIENCE: Duration = Duration::from_millis(100);
        if frame.first().is_none_or(|octet| octet & GROUP_BIT != 0) {
            return;
        }
        let passing = Passing::new(from, &frame);
        let mut fates = self.wire.faults.iter_mut().map(|fault| (fault.decide)(&passing));
        let fate = fates.find(|fate| *fate != Fate::Pass).unwrap_or(Fate::Pass);
        let (frame, fate) = match fate {
            Fate::Replaced(other) => (other, Fate::Pass),
            fate => (frame, fate),
        };
        self.see(from, from, &frame);
        // Whoever waits for this frame may stop the capture next: it is in it by now.
        let passing = Passing::new(from, &frame);
        self.wire.watches.iter_mut().for_each(|watch| watch(&passing));
        let (to, due) = (from.other(), Instant::now() + self.wire.delay);
        match fate {
            Fate::Drop => {}
            Fate::Late(by) => queue.push(due + by, to, frame),
            Fate::Overtaken(left) => {
                queue.overtaken.push(Overtaken { to, left, at_latest: due + PATIENCE, frame });
            }
            Fate::Twice(by) => {
                queue.push(due, to, frame.clone());
                queue.push(due + by, to, frame);
            }
            Fate::Rewritten(frame) => {
                queue.push(due, to, frame);
                queue.release(due, to);
            }
            Fate::Pass | Fate::Replaced(_) => {
                queue.push(due, to, frame);
                queue.release(due, to);
            }
        }
    }

    fn deliver(&mut self, arrived: &Waiting) {
        self.see(arrived.to, arrived.to.other(), &arrived.frame);
        // A frame that its host does not take is lost, as on any network.
        let _ = self.terminal(arrived.to).tap.write(&arrived.frame);
    }

    /// Captures a frame from `from` at the end `at`, where that end is captured.
    fn see(&mut self, at: End, from: End, frame: &[u8]) {
        let Some(interface) = self.terminal(at).interface else { return };
        let missed = self.wire.missed.as_mut().is_some_and(|missed| missed(&Passing::new(from, frame)));
        if !missed {
            self.capture.frame(interface, frame, self.wire.vlan);
        }
    }
}
