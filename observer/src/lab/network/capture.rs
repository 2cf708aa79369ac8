//! What a lab's capture points saw, as a pcapng file (draft-ietf-opsawg-pcapng).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};

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
    /// Frames of each interface.
    frames: Vec<u64>,
    running: bool,
}

/// One of the capture's interfaces.
#[derive(Clone, Copy, Debug)]
pub struct Interface(usize);

impl Capture {
    /// A capture without interfaces, whose section is commented with `comment`.
    pub fn new(comment: &str) -> Result<Self> {
        const OPT_COMMENT: u16 = 1;
        const SHB_OS: u16 = 3;
        const SHB_USERAPPL: u16 = 4;
        let mut body = Vec::new();
        body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        option(&mut body, OPT_COMMENT, comment.as_bytes());
        option(&mut body, SHB_OS, format!("Linux {}", super::kernel()).as_bytes());
        option(&mut body, SHB_USERAPPL, concat!("observer ", env!("CARGO_PKG_VERSION")).as_bytes());
        end_of_options(&mut body);
        let mut bytes = Vec::new();
        block(&mut bytes, SECTION_HEADER, &body);
        let epoch = SystemTime::UNIX_EPOCH.elapsed().context("the clock stands before 1970")?;
        let content = Content { bytes, frames: Vec::new(), running: true };
        Ok(Self { epoch, start: Instant::now(), content: Mutex::new(content) })
    }

    /// One more Ethernet interface.
    pub fn interface(&self, name: &str, description: &str) -> Interface {
        const LINKTYPE_ETHERNET: u16 = 1;
        const IF_NAME: u16 = 2;
        const IF_DESCRIPTION: u16 = 3;
        const IF_TSRESOL: u16 = 9;
        const NANOSECONDS: u8 = 9;
        let mut body = Vec::new();
        body.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        body.extend_from_slice(&[0; 6]);
        option(&mut body, IF_NAME, name.as_bytes());
        option(&mut body, IF_DESCRIPTION, description.as_bytes());
        option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
        end_of_options(&mut body);
        let mut content = self.lock();
        block(&mut content.bytes, INTERFACE_DESCRIPTION, &body);
        content.frames.push(0);
        Interface(content.frames.len() - 1)
    }

    /// Takes a frame that `interface` sees now; `vlan` is the 802.1Q tag it has there.
    pub fn frame(&self, interface: Interface, frame: &[u8], vlan: Option<u16>) {
        const ADDRESSES: usize = 12;
        const TPID: [u8; 2] = [0x81, 0x00];
        // The clock is read under the lock, so that a later block never has an earlier time.
        let mut content = self.lock();
        if !content.running {
            return;
        }
        if let Some(count) = content.frames.get_mut(interface.0) {
            *count += 1;
        }
        let at = self.now();
        let (addresses, rest) = frame.split_at_checked(ADDRESSES).unwrap_or((frame, &[]));
        let tag = vlan.map(|id| [TPID, id.to_be_bytes()].concat()).unwrap_or_default();
        let length = (frame.len() + tag.len()) as u32;
        let mut body = Vec::with_capacity(frame.len() + 32);
        body.extend_from_slice(&(interface.0 as u32).to_le_bytes());
        body.extend_from_slice(&time(at));
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&[addresses, &tag, rest].concat());
        pad(&mut body);
        block(&mut content.bytes, ENHANCED_PACKET, &body);
    }

    /// What happens from now on is no part of the capture.
    pub fn stop(&self) {
        self.lock().running = false;
    }

    /// The whole file. Every interface says how many frames it saw, and that it missed none.
    pub fn finish(&self) -> Vec<u8> {
        const ISB_IFRECV: u16 = 4;
        const ISB_IFDROP: u16 = 5;
        let mut content = self.lock();
        content.running = false;
        let mut bytes = std::mem::take(&mut content.bytes);
        for (interface, frames) in content.frames.iter().enumerate() {
            let mut body = Vec::new();
            body.extend_from_slice(&(interface as u32).to_le_bytes());
            body.extend_from_slice(&time(self.now()));
            option(&mut body, ISB_IFRECV, &frames.to_le_bytes());
            option(&mut body, ISB_IFDROP, &0_u64.to_le_bytes());
            end_of_options(&mut body);
            block(&mut bytes, INTERFACE_STATISTICS, &body);
        }
        bytes
    }

    /// Nanoseconds since the epoch. The clock of the wall is read once: it may be set, and time must not run backwards.
    fn now(&self) -> u64 {
        (self.epoch + self.start.elapsed()).as_nanos() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    const AROUND: u32 = 12;
    let length = (body.len() as u32 + AROUND).to_le_bytes();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&length);
    out.extend_from_slice(body);
    out.extend_from_slice(&length);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend_from_slice(&[0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A timestamp is two halves, the upper one first, whatever the byte order.
fn time(nanos: u64) -> [u8; 8] {
    let mut halves = [0; 8];
    let (high, low) = halves.split_at_mut(4);
    high.copy_from_slice(&((nanos >> 32) as u32).to_le_bytes());
    low.copy_from_slice(&(nanos as u32).to_le_bytes());
    halves
}
