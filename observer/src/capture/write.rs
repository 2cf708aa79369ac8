use std::collections::HashMap;

use super::pcapng::{self, block, option};
use super::{Comment, Direction, Frame};
use crate::record::InterfaceRecord;
use crate::recording::{self, Placed};
use crate::time::Timestamp;

/// Writes frames, of one capture or of several, as one pcapng capture: little-endian, times in nanoseconds.
///
/// Every call appends to the caller's buffer, which is the capture's next bytes.
#[derive(Debug, Default)]
pub struct Writer {
    /// The interfaces described so far, by the file and the interface their frames are of.
    interfaces: HashMap<(u16, u16), u32>,
}

impl Writer {
    /// Appends the head of a capture, with a comment on the whole of it unless that is empty.
    pub fn new(comment: &str, out: &mut Vec<u8>) -> Self {
        block(out, block::SECTION, |out| {
            out.extend(pcapng::BYTE_ORDER.to_le_bytes());
            out.extend([1, 0, 0, 0]);
            // The section's length is not known.
            out.extend([0xff; 8]);
            options(out, [(option::COMMENT, comment.as_bytes())]);
        });
        Self::default()
    }

    /// Appends a frame with its captured octets and the comments on it (see [`Chunk::comments_on`]). `interface` is asked
    /// for what is known of [`Frame::interface`] when the first of its frames is written.
    ///
    /// [`Chunk::comments_on`]: super::Chunk::comments_on
    pub fn frame<'a>(
        &mut self,
        frame: &Frame,
        data: &[u8],
        comments: impl IntoIterator<Item = (&'a Comment, &'a [u8])> + Clone,
        interface: impl FnOnce() -> InterfaceRecord,
        out: &mut Vec<u8>,
    ) {
        let described = self.interfaces.len() as u32;
        let number = *self.interfaces.entry((frame.id.file, frame.interface)).or_insert_with(|| {
            describe(&interface(), frame, out);
            described
        });
        block(out, block::ENHANCED_PACKET, |out| {
            let time = frame.at.as_nanos();
            for field in [number, (time >> 32) as u32, time as u32, data.len() as u32, frame.wire_len] {
                out.extend(field.to_le_bytes());
            }
            out.extend_from_slice(data);
            pad(out, data.len());
            // A comment may be about the process at either end.
            let direction = comments.clone().into_iter().find_map(|(comment, _)| comment.direction).or(frame.direction);
            let flags = direction.map(|direction| match direction {
                Direction::Inbound => 1_u32.to_le_bytes(),
                Direction::Outbound => 2_u32.to_le_bytes(),
                Direction::Asking => 5_u32.to_le_bytes(),
            });
            let flags = flags.iter().map(|flags| (option::EPB_FLAGS, &flags[..]));
            let comments = comments.into_iter().map(|(_, text)| (option::COMMENT, text));
            options(out, comments.chain(flags));
        });
    }

    /// Appends secrets that open what comes behind: lines of a key log of TLS.
    pub fn secrets(&self, key_log: &[u8], out: &mut Vec<u8>) {
        block(out, block::SECRETS, |out| {
            out.extend(pcapng::TLS_KEY_LOG.to_le_bytes());
            out.extend((key_log.len() as u32).to_le_bytes());
            out.extend_from_slice(key_log);
            pad(out, key_log.len());
        });
    }

    /// Appends what a live source saw besides packets.
    pub fn marks(&self, mut marks: &[Placed], out: &mut Vec<u8>) {
        while !marks.is_empty() {
            block(out, block::CUSTOM_HERE, |out| {
                out.extend(recording::ENTERPRISE.to_le_bytes());
                let start = out.len();
                let taken = recording::encode(marks, out);
                let len = out.len() - start;
                pad(out, len);
                marks = marks.get(taken..).unwrap_or_default();
            });
        }
    }

    /// Appends how many frames an interface received and dropped, as of `at`, where the record of it says so; `interface`
    /// is the file and the interface of its frames. Nothing is said of an interface without frames.
    pub fn statistics(&self, interface: (u16, u16), record: &InterfaceRecord, at: Timestamp, out: &mut Vec<u8>) {
        let Some(number) = self.interfaces.get(&interface) else { return };
        block(out, block::STATISTICS, |out| {
            let time = at.as_nanos();
            for field in [*number, (time >> 32) as u32, time as u32] {
                out.extend(field.to_le_bytes());
            }
            let count = |count: Option<u64>| count.map(|count| count.to_le_bytes().to_vec()).unwrap_or_default();
            let (received, dropped) = (count(record.received), count(record.dropped));
            options(out, [(option::ISB_IFRECV, &received[..]), (option::ISB_IFDROP, &dropped)]);
        });
    }
}

fn describe(interface: &InterfaceRecord, frame: &Frame, out: &mut Vec<u8>) {
    block(out, block::INTERFACE, |out| {
        out.extend(frame.link.0.to_le_bytes());
        out.extend([0; 2]);
        // No snapshot length: libpcap reads no capture of interfaces with different ones, and none with a frame beyond.
        out.extend([0; 4]);
        let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
        let (name, description) = (text(&interface.name), text(&interface.description));
        // The octet before a filter says that it is in libpcap's language.
        let filter = interface.filter.as_ref().map(|filter| [&[0], filter.as_bytes()].concat()).unwrap_or_default();
        let options_of = [
            (option::IF_NAME, &name[..]),
            (option::IF_DESCRIPTION, &description),
            (option::IF_FILTER, &filter),
            (option::IF_TSRESOL, &[9]),
        ];
        options(out, options_of);
    });
}

/// Appends a block whose body `body` appends.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out.extend(length);
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&length);
    }
}

/// Appends those options that are not empty, and the end of options where there were any.
fn options<'a>(out: &mut Vec<u8>, options: impl IntoIterator<Item = (u16, &'a [u8])>) {
    let start = out.len();
    for (code, value) in options {
        let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
        if !value.is_empty() {
            out.extend(code.to_le_bytes());
            out.extend((value.len() as u16).to_le_bytes());
            out.extend_from_slice(value);
            pad(out, value.len());
        }
    }
    if out.len() > start {
        out.extend([0; 4]);
    }
}

/// Appends zeros behind `len` octets up to the next 32-bit boundary.
fn pad(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len.next_multiple_of(4) - len, 0);
}
