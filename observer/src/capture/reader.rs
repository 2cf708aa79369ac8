use super::{Chunk, Comment, Direction, Error, ErrorKind, Frame, LinkType, pcap, pcapng, snoop};
use crate::keylog::KeyLog;
use crate::packet::FrameId;
use crate::record::InterfaceRecord;
use crate::recording::Placed;
use crate::time::Timestamp;

/// Reads one capture of any format, given its bytes in order.
///
/// The caller hands the bytes it has to [`read`](Self::read), drops as many octets from their front as `read` says, puts
/// more behind the rest, and so on; at the end of the input it calls [`finish`](Self::finish). What is handed over has
/// to grow as long as it holds no whole record; records are bounded, so that ends.
#[derive(Debug)]
pub struct Reader {
    out: Output,
    format: Option<Format>,
    /// Octets of the capture before the window.
    offset: u64,
    /// What `read` stopped before, and how many octets that takes.
    pending: (&'static str, u64),
}

/// What is known of a capture's frames so far.
#[derive(Debug)]
pub(super) struct Output {
    file: u16,
    frames: u64,
    pub(super) interfaces: Vec<InterfaceRecord>,
    pub(super) comments: Vec<String>,
    /// There were marks.
    pub(super) recording: bool,
}

#[derive(Debug)]
enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
    Snoop(snoop::Snoop),
}

/// How a run of records ended.
pub(super) enum Stop {
    /// The next record is not all there: its name, and how many octets it takes at least.
    Need(&'static str, u64),
    /// It cannot be read.
    Bad(ErrorKind),
}

/// Where frames and comments go.
pub(super) struct Sink<'a> {
    pub(super) out: &'a mut Output,
    frames: &'a mut Vec<Frame>,
    comments: &'a mut Vec<Comment>,
    pub(super) marks: &'a mut Vec<Placed>,
    pub(super) keys: &'a mut KeyLog,
}

/// What a record says of its frame.
pub(super) struct RawFrame {
    pub(super) at: Timestamp,
    pub(super) carried: u16,
    pub(super) link: LinkType,
    pub(super) interface: u16,
    pub(super) wire_len: u32,
    pub(super) start: usize,
    pub(super) captured: u32,
}

/// The time of a header that gives whole seconds and nanoseconds beyond them, and how many whole seconds the
/// nanoseconds make (see [`Frame::carried`]).
pub(super) fn time(seconds: u32, nanos: u64) -> (Timestamp, u16) {
    let carried = nanos / 1_000_000_000;
    (Timestamp::from_nanos(u64::from(seconds) * 1_000_000_000 + nanos), carried as u16)
}

impl Reader {
    /// A reader at the start of a capture whose frames are to carry `file` in their [`FrameId`].
    pub fn new(file: u16) -> Self {
        let out = Output { file, frames: 0, interfaces: Vec::new(), comments: Vec::new(), recording: false };
        Self { out, format: None, offset: 0, pending: ("file header", 4) }
    }

    /// Reads every whole record of [`Chunk::bytes`]: appends their frames to the chunk, with [`Frame::number`] as in the
    /// file, and what else there is to say of them. Returns how many octets from the front are done with.
    ///
    /// # Errors
    /// When a record cannot be read; frames before it have been appended. Nothing more can be read after that.
    pub fn read(&mut self, chunk: &mut Chunk) -> Result<usize, Error> {
        let mut done = 0;
        let stop = self.run(chunk, &mut done);
        self.offset += done as u64;
        match stop {
            Stop::Need(what, octets) => {
                self.pending = (what, octets);
                Ok(done)
            }
            Stop::Bad(kind) => Err(Error { offset: self.offset, kind }),
        }
    }

    /// The capture ends after `left` octets that `read` was given and did not take.
    ///
    /// # Errors
    /// When those are a part of a record, or the capture ends before its header does.
    pub fn finish(&self, left: usize) -> Result<(), Error> {
        let (what, need) = self.pending;
        let kind = match &self.format {
            None if left == 0 => ErrorKind::Empty,
            Some(format) if left == 0 && !format.inside_block() => return Ok(()),
            _ => ErrorKind::Truncated { what, need, got: left as u64 },
        };
        Err(Error { offset: self.offset, kind })
    }

    /// The format's name; `None` until enough was read to know it.
    pub fn format(&self) -> Option<&'static str> {
        self.format.as_ref().map(|format| match format {
            Format::Pcap(_) => "pcap",
            Format::Pcapng(_) => "pcapng",
            Format::Snoop(_) => "snoop",
        })
    }

    /// Octets of the capture that [`read`](Self::read) is done with.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.out.frames
    }

    /// The interfaces described so far.
    pub fn interfaces(&self) -> &[InterfaceRecord] {
        &self.out.interfaces
    }

    /// Comments on the whole capture so far.
    pub fn comments(&self) -> &[String] {
        &self.out.comments
    }

    /// Whether it holds what a live source saw besides packets, as far as was read.
    pub fn is_recording(&self) -> bool {
        self.out.recording
    }

    fn run(&mut self, chunk: &mut Chunk, done: &mut usize) -> Stop {
        let Chunk { bytes: window, frames, comments, marks, keys } = chunk;
        let format = match &mut self.format {
            Some(format) => format,
            none => match Format::detect(window, &mut self.out) {
                Ok((format, octets)) => {
                    *done = octets;
                    none.insert(format)
                }
                Err(stop) => return stop,
            },
        };
        let mut sink = Sink { out: &mut self.out, frames, comments, marks, keys };
        match format {
            Format::Pcap(pcap) => pcap.read(window, done, &mut sink),
            Format::Pcapng(pcapng) => pcapng.read(window, done, &mut sink),
            Format::Snoop(snoop) => snoop.read(window, done, &mut sink),
        }
    }
}

impl Format {
    /// The format that `window` starts with, and the length of the header that was taken in.
    fn detect(window: &[u8], out: &mut Output) -> Result<(Self, usize), Stop> {
        let Some(magic) = window.first_chunk::<4>() else { return Err(Stop::Need("file header", 4)) };
        if *magic == pcapng::SECTION_HEADER {
            return Ok((Self::Pcapng(pcapng::Pcapng::default()), 0));
        }
        if magic == b"snoo" {
            return snoop::Snoop::new(window, out).map(|(snoop, octets)| (Self::Snoop(snoop), octets));
        }
        if let Some(variant) = pcap::Variant::of(*magic) {
            return pcap::Pcap::new(variant, window, out).map(|(pcap, octets)| (Self::Pcap(pcap), octets));
        }
        Err(Stop::Bad(unknown(window)))
    }

    fn inside_block(&self) -> bool {
        matches!(self, Self::Pcapng(pcapng) if pcapng.inside_block())
    }
}

impl Sink<'_> {
    /// Appends a frame.
    #[inline]
    pub(super) fn frame(&mut self, raw: RawFrame) {
        self.out.frames += 1;
        let number = self.out.frames;
        self.frames.push(Frame {
            at: raw.at,
            carried: raw.carried,
            number,
            id: FrameId { file: self.out.file, number },
            link: raw.link,
            interface: raw.interface,
            wire_len: raw.wire_len,
            start: raw.start as u32,
            captured: raw.captured,
            direction: None,
        });
    }

    /// Says which way the frame appended last went.
    pub(super) fn direction(&mut self, direction: Direction) {
        if let Some(frame) = self.frames.last_mut() {
            frame.direction = Some(direction);
        }
    }

    /// Appends a comment on the frame appended last.
    pub(super) fn comment(&mut self, start: usize, len: usize, direction: Option<Direction>) {
        self.comments.push(Comment { number: self.out.frames, start: start as u32, len: len as u32, direction });
    }
}

impl Output {
    /// Takes in the only interface of a format that does not number them.
    pub(super) fn only_interface(&mut self, link: LinkType, snap_len: u32) {
        self.interfaces.push(InterfaceRecord { link_type: link.0, snap_len, ..InterfaceRecord::default() });
    }
}

/// The most octets that a frame of the given link type may have captured; what claims more is damaged. libpcap's limits.
pub(super) fn max_captured(link: LinkType) -> u32 {
    const DBUS: LinkType = LinkType(231);
    const EBHSCR: LinkType = LinkType(279);
    const USB_LINUX: LinkType = LinkType(189);
    const USB_LINUX_MMAPPED: LinkType = LinkType(220);
    const USBPCAP: LinkType = LinkType(249);
    match link {
        DBUS | USB_LINUX | USB_LINUX_MMAPPED | USBPCAP => 128 << 20,
        EBHSCR => 8 << 20,
        _ => 256 << 10,
    }
}

/// What to say of a file of no known format.
pub(super) fn unknown(window: &[u8]) -> ErrorKind {
    let head: Vec<_> = window.iter().take(4).map(|octet| format!("{octet:02x}")).collect();
    ErrorKind::Unknown(head.join(" "))
}
