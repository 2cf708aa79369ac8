//! What a lab's capture points saw, as a pcapng capture.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use observer::capture::{Frame, LinkType, Writer};
use observer::packet::FrameId;
use observer::record::InterfaceRecord;
use observer::time::Timestamp;

/// A capture in the making, shared by all capture points: frames stand in it in the order of their timestamps.
#[derive(Debug)]
pub struct Capture {
    epoch: Duration,
    start: Instant,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    bytes: Vec<u8>,
    writer: Writer,
    interfaces: Vec<InterfaceRecord>,
    frames: u64,
    snap_length: usize,
    running: bool,
}

/// One of the capture's interfaces.
#[derive(Clone, Copy, Debug)]
pub struct Interface(u16);

const LINKTYPE_ETHERNET: u16 = 1;

impl Capture {
    /// A capture without interfaces, commented with `comment`.
    pub fn new(comment: &str) -> Result<Self> {
        let mut bytes = Vec::new();
        let writer = Writer::new(comment, &mut bytes);
        let epoch = SystemTime::UNIX_EPOCH.elapsed().context("the clock stands before 1970")?;
        let content =
            Content { bytes, writer, interfaces: Vec::new(), frames: 0, snap_length: usize::MAX, running: true };
        Ok(Self { epoch, start: Instant::now(), content: Mutex::new(content) })
    }

    /// One more Ethernet interface.
    pub fn interface(&self, name: &str, description: &str) -> Interface {
        let mut content = self.lock();
        let number = content.interfaces.len() as u16;
        let snap_len = u32::try_from(content.snap_length).unwrap_or_default();
        content.interfaces.push(InterfaceRecord {
            name: Some(name.to_owned()),
            description: Some(description.to_owned()),
            link_type: LINKTYPE_ETHERNET,
            snap_len,
            received: Some(0),
            dropped: Some(0),
            ..InterfaceRecord::default()
        });
        Interface(number)
    }

    /// Takes a frame that `interface` sees now; `vlan` is the 802.1Q tag it has there.
    pub fn frame(&self, interface: Interface, frame: &[u8], vlan: Option<u16>) {
        const ADDRESSES: usize = 12;
        const TPID: [u8; 2] = [0x81, 0x00];
        // The clock is read under the lock, so that a later frame never has an earlier time.
        let mut content = self.lock();
        let Content { bytes, writer, interfaces, frames, snap_length, running: true } = &mut *content else { return };
        let Some(record) = interfaces.get_mut(usize::from(interface.0)) else { return };
        let (addresses, rest) = frame.split_at_checked(ADDRESSES).unwrap_or((frame, &[]));
        let tag = vlan.map(|id| [TPID, id.to_be_bytes()].concat()).unwrap_or_default();
        let whole = [addresses, &tag, rest].concat();
        let (data, _) = whole.split_at_checked(*snap_length).unwrap_or((&whole, &[]));
        *frames += 1;
        record.received = record.received.map(|received| received + 1);
        let frame = Frame {
            at: self.now(),
            carried: 0,
            number: *frames,
            id: FrameId { file: 0, number: *frames },
            link: LinkType(LINKTYPE_ETHERNET),
            interface: interface.0,
            wire_len: whole.len() as u32,
            start: 0,
            captured: data.len() as u32,
            direction: None,
        };
        writer.frame(&frame, data, [], || record.clone(), bytes);
    }

    /// Of each frame from now on only the first `octets` are kept.
    pub fn cut_at(&self, octets: usize) {
        self.lock().snap_length = octets;
    }

    /// Takes secrets that open what comes behind: lines of a key log of TLS.
    pub fn secrets(&self, key_log: &str) {
        let mut content = self.lock();
        let Content { bytes, writer, running: true, .. } = &mut *content else { return };
        writer.secrets(key_log.as_bytes(), bytes);
    }

    /// What happens from now on is no part of the capture.
    pub fn stop(&self) {
        self.lock().running = false;
    }

    /// The whole capture. Every interface says how many frames it saw, and that it missed none.
    pub fn finish(&self) -> Vec<u8> {
        let mut content = self.lock();
        content.running = false;
        let Content { bytes, writer, interfaces, .. } = &mut *content;
        for (number, record) in (0..).zip(interfaces) {
            writer.statistics((0, number), record, self.now(), bytes);
        }
        std::mem::take(bytes)
    }

    /// The clock of the wall is read once: it may be set, and time must not run backwards.
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos((self.epoch + self.start.elapsed()).as_nanos() as u64)
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
