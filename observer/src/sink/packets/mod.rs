//! One line per TCP segment, as `tcpdump -n` 4.99 prints it.

mod mptcp;
mod options;
mod relative;
mod stamp;
mod text;

use jiff::tz::TimeZone;
use observer::packet::{Flags, IpVersion, Notes, Packet, Segment};
use observer::record::Sides;
use observer::tracker::Effect;

use self::options::Options;
use self::relative::{Conversations, Relative};
use self::stamp::Stamps;
pub use self::stamp::{Precision, Style};
use self::text::{address, decimal, padded};

/// How lines look.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// How times are written.
    pub style: Style,
    /// With how many decimals.
    pub precision: Precision,
    /// Whether each line starts with its frame's number.
    pub numbered: bool,
    /// Whether sequence numbers are printed as they stand in the header.
    pub absolute: bool,
}

/// A segment, and what of its octets a line shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// Its segment.
    pub segment: &'a Segment,
    /// The fixed part of its TCP header; `None` where the capture ends inside of it.
    pub header: Option<&'a [u8; 20]>,
    /// Its TCP options, as far as captured.
    pub options: &'a [u8],
    /// See [`observer::capture::Frame::carried`].
    pub carried: u16,
}

/// Writes lines.
#[derive(Debug)]
pub struct Lines {
    stamps: Stamps,
    conversations: Conversations,
    numbered: bool,
    absolute: bool,
}

impl Lines {
    /// Lines of the given look, in the system's time zone (`TZ`, where it is set).
    pub fn new(look: Look) -> Self {
        Self {
            stamps: Stamps::new(look.style, look.precision, TimeZone::system()),
            conversations: Conversations::default(),
            numbered: look.numbered,
            absolute: look.absolute,
        }
    }

    /// Appends the line of a segment without the line break.
    pub fn write(&mut self, out: &mut Vec<u8>, shown: Shown<'_>) {
        let Shown { packet, segment, header, options, carried } = shown;
        if self.numbered {
            padded(out, packet.frame.number, 5, b' ');
            out.extend_from_slice(b"  ");
        }
        self.stamps.write(out, packet.at, carried);
        ends(out, packet);
        let Some(header) = header else { return out.extend_from_slice(b":  [|tcp]") };

        let relative = self.relative(packet, segment);
        out.extend_from_slice(b": Flags [");
        flags(out, segment.flags);
        out.push(b']');
        let header_len = usize::from(header[12] >> 4) * 4;
        let declared = header_len.saturating_sub(header.len());
        let options_len = if packet.notes.contains(Notes::BAD_HEADER_LENGTH) { options.len() } else { declared };
        // By the IP header, even where the frame ends before.
        let whole = header.len() + options_len + segment.len as usize + usize::from(packet.missing);
        let Some(len) = whole.checked_sub(header_len) else {
            out.extend_from_slice(b" [bad hdr length ");
            decimal(out, header_len);
            out.extend_from_slice(b" - too long, > ");
            decimal(out, whole);
            out.push(b']');
            return;
        };
        let len = len as u32;
        numbers(out, segment, relative, len);
        if declared > 0 {
            let options = Options {
                declared,
                octets: options,
                flags: segment.flags,
                sack_base: relative.sack_base,
                payload: len,
                payload_captured: packet.tail.payload,
            };
            if !options.write(out) {
                return;
            }
        }
        out.extend_from_slice(b", length ");
        decimal(out, len);
    }

    fn relative(&mut self, packet: &Packet, segment: &Segment) -> Relative {
        if self.absolute {
            return Relative { seq: segment.seq, ack: segment.ack, ..Relative::default() };
        }
        // tcpdump does not read beyond an IPv4 length of 0, so it never counts from such a segment.
        let counts = packet.tuple.version == IpVersion::V6 || !packet.notes.contains(Notes::LENGTH_ZERO);
        self.conversations.relative(&packet.tuple, segment, counts)
    }
}

/// Appends what a segment did to its connection: ` | client ESTAB, server CLOSE-WAIT | retransmission`.
pub fn write_effect(out: &mut Vec<u8>, effect: &Effect) {
    let Sides { client, server } = effect.state;
    for (label, state) in [(" | client ", client), (", server ", server)] {
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(state.name().as_bytes());
    }
    let mut before = " | ";
    for (name, _) in effect.analysis.iter_names() {
        out.extend_from_slice(before.as_bytes());
        out.extend(name.bytes().map(|letter| letter.to_ascii_lowercase()));
        before = ", ";
    }
    if effect.duplicate {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(b"duplicate");
    }
}

fn ends(out: &mut Vec<u8>, packet: &Packet) {
    let tuple = &packet.tuple;
    let (family, name, after): (&[u8], &[u8], &[u8]) = match tuple.version {
        IpVersion::V4 => (b"IP ", b"truncated-ip - ", b" bytes missing! "),
        IpVersion::V6 => (b"IP6 ", b"truncated-ip6 - ", b" bytes missing!"),
    };
    out.extend_from_slice(family);
    if packet.missing > 0 {
        out.extend_from_slice(name);
        decimal(out, packet.missing);
        out.extend_from_slice(after);
    }
    address(out, &tuple.src, tuple.version);
    out.push(b'.');
    decimal(out, tuple.sport);
    out.extend_from_slice(b" > ");
    address(out, &tuple.dst, tuple.version);
    out.push(b'.');
    decimal(out, tuple.dport);
}

/// The eight flags that tcpdump 4.99 knows; AE is younger.
fn flags(out: &mut Vec<u8>, flags: Flags) {
    let [_, low] = flags.bits().to_be_bytes();
    if low == 0 {
        return out.extend_from_slice(b"none");
    }
    out.extend(b"FSRP.UEW".iter().enumerate().filter(|(bit, _)| low >> bit & 1 == 1).map(|(_, letter)| letter));
}

fn numbers(out: &mut Vec<u8>, segment: &Segment, relative: Relative, len: u32) {
    if len > 0 || segment.flags.syn_fin_rst() {
        out.extend_from_slice(b", seq ");
        decimal(out, relative.seq.0);
        if len > 0 {
            out.push(b':');
            decimal(out, relative.seq.plus(len).0);
        }
    }
    if segment.flags.contains(Flags::ACK) {
        out.extend_from_slice(b", ack ");
        decimal(out, relative.ack.0);
    }
    out.extend_from_slice(b", win ");
    decimal(out, segment.window);
    if segment.flags.contains(Flags::URG) {
        out.extend_from_slice(b", urg ");
        decimal(out, segment.urgent);
    }
}
