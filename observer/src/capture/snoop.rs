//! The snoop format (RFC 1761).

use super::reader::{Output, RawFrame, Sink, Stop, max_captured, time};
use super::{ErrorKind, LinkType};

/// Octets of the file header.
const HEADER: usize = 16;
/// Octets of a record's header.
const RECORD_HEADER: usize = 24;

/// A snoop file after its header.
#[derive(Debug)]
pub(super) struct Snoop {
    link: LinkType,
}

impl Snoop {
    /// Reads the file header.
    pub(super) fn new(window: &[u8], out: &mut Output) -> Result<(Self, usize), Stop> {
        let Some(header) = window.first_chunk::<HEADER>() else {
            return Err(Stop::Need("file header", HEADER as u64));
        };
        let [b's', b'n', b'o', b'o', b'p', 0, 0, 0, v0, v1, v2, v3, d0, d1, d2, d3] = *header else {
            return Err(Stop::Bad(super::reader::unknown(window)));
        };
        let version = u32::from_be_bytes([v0, v1, v2, v3]);
        // 3 to 5 are those of Shomiti's Surveyor, whose records are the same with more padding.
        if !(2..=5).contains(&version) {
            return Err(Stop::Bad(ErrorKind::Version { format: "snoop", major: version, minor: 0 }));
        }
        let link = link_type(u32::from_be_bytes([d0, d1, d2, d3]));
        out.only_interface(link, 0);
        Ok((Self { link }, HEADER))
    }

    /// Reads every whole record of `window` from `done` on, and moves `done` behind it.
    pub(super) fn read(&mut self, window: &[u8], done: &mut usize, sink: &mut Sink<'_>) -> Stop {
        loop {
            let rest = window.get(*done..).unwrap_or(&[]);
            let Some((header, _)) = rest.split_first_chunk::<RECORD_HEADER>() else {
                return Stop::Need("packet header", RECORD_HEADER as u64);
            };
            let (fields, _) = header.as_chunks::<4>();
            let [wire_len, captured, size, drops, seconds, micros] = fields else {
                return Stop::Need("packet header", RECORD_HEADER as u64);
            };
            let [wire_len, captured, size, drops, seconds, micros] =
                [wire_len, captured, size, drops, seconds, micros].map(|field| u32::from_be_bytes(*field));
            let max = max_captured(self.link);
            if captured > max {
                return Stop::Bad(ErrorKind::PacketLength { length: captured, max });
            }
            let least = RECORD_HEADER as u32 + captured;
            // What is between the packet and the end of the record is padding; nobody pads by more than a packet.
            if size < least || size > least + max {
                return Stop::Bad(ErrorKind::Length { what: "record", length: size });
            }
            if rest.len() < size as usize {
                return Stop::Need("packet", size.into());
            }
            let (at, carried) = time(seconds, u64::from(micros) * 1000);
            sink.frame(RawFrame {
                at,
                carried,
                link: self.link,
                interface: 0,
                wire_len,
                start: *done + RECORD_HEADER,
                captured,
            });
            if let Some(interface) = sink.out.interfaces.first_mut() {
                interface.dropped = Some(drops.into());
            }
            *done += size as usize;
        }
    }
}

/// The LINKTYPE_ of a snoop datalink type: RFC 1761's list and the IANA registry behind it.
fn link_type(datalink: u32) -> LinkType {
    LinkType(match datalink {
        // IEEE 802.3, Ethernet
        0 | 4 => 1,
        // IEEE 802.5 token ring
        2 => 6,
        // FDDI
        8 => 10,
        // ATM classical IP, as SunATM gives it
        18 => 123,
        // "Other", software loopback
        9 | 14 => 0,
        // ipnet(7D)
        0x8000_0005 => 226,
        _ => u16::MAX,
    })
}
