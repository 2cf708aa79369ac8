//! Packets as they pass an interface, by libpcap.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use observer::capture::LinkType;
use observer::keylog::Keys;
use observer::record::{CaptureRecord, InterfaceRecord};
use observer::time::{Nanos, Timestamp};
use pcap::{Active, Capture, Device, IfFlags, Linktype, Packet, Precision, Stat};
use rustix::time::{ClockId, clock_gettime};

use super::live::{Batch, LiveSource, Seen, SeenPacket};
use super::namespace;
use crate::failure::WrongUsage;
use crate::keyring::GrowingLog;
use crate::privilege::{self, Needs};

/// The interface that stands for all of them.
pub const ANY: &str = "any";

/// How long the kernel fills a block of its buffer before it shows it. Of the two ways that libpcap has on Linux, the other
/// (immediate mode) keeps room for the longest packet in place of each one: a buffer for a few dozen.
const BLOCK_MS: i32 = 10;

/// Blocks of several interfaces come one after another: what is younger than this may still have company on the way.
const SETTLED: Nanos = Nanos::from_millis(50);

/// LINKTYPE_LINUX_SLL2: tells which interface a packet passed.
const COOKED: Linktype = Linktype(276);

/// How to capture.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interfaces, by name.
    pub interfaces: Vec<String>,
    /// The network namespace they are in, by its inode; `None` for this thread's.
    pub netns: Option<u32>,
    /// The most octets of each packet that are kept.
    pub snaplen: i32,
    /// Octets of the kernel's buffer for each interface.
    pub buffer: i32,
    /// Take what is for other hosts too.
    pub promiscuous: bool,
    /// An expression in libpcap's filter language; the kernel leaves out what it does not match.
    pub filter: Option<String>,
    /// Where programs log the secrets of their TLS sessions.
    pub keylog: Option<PathBuf>,
}

/// Interfaces that are captured on.
pub struct Interfaces {
    captures: Vec<Interface>,
    netns: u32,
    waiting: Batch,
    keylog: Option<GrowingLog>,
}

/// One of them.
struct Interface {
    capture: Capture<Active>,
    link: LinkType,
    record: InterfaceRecord,
}

impl Interfaces {
    /// Begins to capture.
    ///
    /// # Errors
    /// Where there is no such interface, no right to capture on it, or no sense in the filter.
    pub fn open(options: &Options) -> Result<Self> {
        let own = namespace::own()?;
        let netns = options.netns.unwrap_or(own);
        let open = || options.interfaces.iter().map(|name| Interface::open(name, options)).collect();
        let captures = if netns == own { open() } else { namespace::within(&namespace::path_of(netns)?, open) };
        let keylog = options.keylog.as_deref().map(GrowingLog::open).transpose()?;
        Ok(Self { captures: captures?, netns, waiting: Batch::default(), keylog })
    }

    /// Takes what the kernel holds ready.
    fn take(&mut self, batch: &mut Batch) -> Result<()> {
        for (number, interface) in (0..).zip(&mut self.captures) {
            interface.take(self.netns, number, batch)?;
        }
        Ok(())
    }
}

impl LiveSource for Interfaces {
    fn drain(&mut self, batch: &mut Batch) -> Result<()> {
        batch.clear();
        if let [interface] = self.captures.as_mut_slice() {
            return interface.take(self.netns, 0, batch);
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        self.take(&mut waiting)?;
        let until = Timestamp::from_nanos(self.now().as_nanos().saturating_sub(SETTLED.0));
        waiting.sort();
        self.waiting = waiting.split_off(until);
        *batch = waiting;
        Ok(())
    }

    fn drain_all(&mut self, batch: &mut Batch) -> Result<()> {
        *batch = std::mem::take(&mut self.waiting);
        self.take(batch)?;
        batch.sort();
        Ok(())
    }

    fn look(&mut self, batch: &mut Batch) -> Result<usize> {
        batch.clear();
        Ok(0)
    }

    fn count(&mut self) -> Result<()> {
        Ok(())
    }

    fn look_for_namespaces(&mut self) -> Result<()> {
        Ok(())
    }

    fn lost(&self) -> Result<Option<u64>> {
        Ok(Some(self.captures.iter().filter_map(|interface| interface.record.dropped).sum()))
    }

    /// What the kernel stamps packets with.
    fn now(&self) -> Timestamp {
        let now = clock_gettime(ClockId::Realtime);
        stamp(now.tv_sec, now.tv_nsec)
    }

    fn sees_every_packet(&self) -> bool {
        true
    }

    fn keys(&mut self) -> Result<Option<Arc<Keys>>> {
        self.keylog.as_mut().map_or(Ok(None), GrowingLog::news)
    }

    fn unseen(&self) -> Vec<String> {
        vec![
            "whose connections they are".to_string(),
            "what the kernel decides (drops, errors, reasons, its own counters)".to_string(),
            "what passes only interfaces of other network namespaces, or none that is captured on".to_string(),
        ]
    }

    fn needs(&self) -> Needs {
        privilege::PACKETS
    }

    fn describe(&self, record: &mut CaptureRecord) -> Result<()> {
        record.interfaces = self.captures.iter().map(|interface| interface.record.clone()).collect();
        Ok(())
    }
}

impl Interface {
    fn open(name: &str, options: &Options) -> Result<Self> {
        ensure!(
            !(options.promiscuous && name == ANY),
            "--promiscuous needs interfaces by name (-i): `{ANY}` cannot be made to take what is for other hosts"
        );
        let capturing = || format!("capturing on {name}");
        let inactive = Capture::from_device(name)
            .map_err(plain)
            .with_context(capturing)?
            .snaplen(options.snaplen)
            .buffer_size(options.buffer)
            .promisc(options.promiscuous)
            .precision(Precision::Nano)
            .timeout(BLOCK_MS);
        let mut capture = inactive.open().map_err(plain).with_context(capturing)?;
        if name == ANY && capture.list_datalinks().is_ok_and(|links| links.contains(&COOKED)) {
            capture.set_datalink(COOKED).map_err(plain).with_context(capturing)?;
        }
        if let Some(filter) = &options.filter {
            let complaint =
                |error| WrongUsage(format!("libpcap does not understand the filter `{filter}`: {}", plain(error)));
            capture.filter(filter, true).map_err(complaint).with_context(capturing)?;
        }
        let capture = capture.setnonblock().map_err(plain).with_context(capturing)?;
        let link = link_type(capture.get_datalink());
        let record = InterfaceRecord {
            name: Some(name.to_string()),
            filter: options.filter.clone(),
            link_type: link.0,
            snap_len: options.snaplen.unsigned_abs(),
            received: Some(0),
            dropped: Some(0),
            ..InterfaceRecord::default()
        };
        Ok(Self { capture, link, record })
    }

    /// Takes what the kernel holds ready of this interface, the source's interface of this `number`.
    fn take(&mut self, netns: u32, number: u16, batch: &mut Batch) -> Result<()> {
        let link = self.link;
        let name = self.record.name.as_deref().unwrap_or_default();
        loop {
            match self.capture.next_packet() {
                Ok(packet) => {
                    let packet = SeenPacket { interface: number, ..keep(&packet, link, &mut batch.bytes) };
                    batch.seen.push(Seen::Packet(netns, packet));
                }
                Err(pcap::Error::TimeoutExpired) => break,
                Err(error) => bail!(anyhow!(error).context(format!("capturing on {name}"))),
            }
        }
        let Stat { received, dropped, if_dropped } =
            self.capture.stats().map_err(plain).with_context(|| format!("asking for the counters of {name}"))?;
        self.record.received = Some(received.into());
        self.record.dropped = Some(u64::from(dropped) + u64::from(if_dropped));
        Ok(())
    }
}

/// Copies a packet out of libpcap's buffer.
fn keep(packet: &Packet<'_>, link: LinkType, bytes: &mut Vec<u8>) -> SeenPacket {
    let start = bytes.len() as u32;
    bytes.extend_from_slice(packet.data);
    let header = packet.header;
    // With `Precision::Nano` these are nanoseconds.
    let at = stamp(header.ts.tv_sec, header.ts.tv_usec);
    SeenPacket { at, interface: 0, link, start, captured: packet.data.len() as u32, len: header.len, direction: None }
}

fn stamp(seconds: i64, nanos: i64) -> Timestamp {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    Timestamp::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(nanos).unwrap_or(0)))
}

/// LINKTYPE_ of a DLT_: on Linux they differ for raw IP alone.
fn link_type(link: Linktype) -> LinkType {
    const DLT_RAW: i32 = 12;
    const RAW_IP: LinkType = LinkType(101);
    if link.0 == DLT_RAW { RAW_IP } else { LinkType(u16::try_from(link.0).unwrap_or(u16::MAX)) }
}

/// libpcap's own words, without the name of the library before them.
fn plain(error: pcap::Error) -> anyhow::Error {
    match error {
        pcap::Error::PcapError(message) => anyhow!(message),
        other => other.into(),
    }
}

impl Batch {
    /// Puts packets in the order of their times.
    fn sort(&mut self) {
        self.seen.sort_by_key(Seen::at);
    }

    /// Takes out the packets after `until`; those that stay are in order.
    fn split_off(&mut self, until: Timestamp) -> Self {
        let early = self.seen.partition_point(|seen| seen.at() <= until);
        let mut late = Self { seen: self.seen.split_off(early), bytes: Vec::new() };
        for seen in &mut late.seen {
            if let Seen::Packet(_, packet) = seen {
                let from = packet.start as usize;
                packet.start = late.bytes.len() as u32;
                let bytes = self.bytes.get(from..from + packet.captured as usize).unwrap_or_default();
                late.bytes.extend_from_slice(bytes);
            }
        }
        late
    }
}

/// The interfaces that can be captured on, a line each as `tcpdump -D` has them: number, name, description, flags.
///
/// # Errors
/// Where libpcap cannot list them.
pub fn list() -> Result<Vec<String>> {
    let devices = Device::list().map_err(plain).context("listing the interfaces")?;
    Ok(devices.iter().enumerate().map(|(at, device)| line(at + 1, device)).collect())
}

fn line(number: usize, device: &Device) -> String {
    const FLAGS: [(IfFlags, &str); 4] = [
        (IfFlags::UP, "Up"),
        (IfFlags::RUNNING, "Running"),
        (IfFlags::LOOPBACK, "Loopback"),
        (IfFlags::WIRELESS, "Wireless"),
    ];
    let flags: Vec<_> = FLAGS.iter().filter(|(flag, _)| device.flags.contains(*flag)).map(|(_, name)| *name).collect();
    let about = device.desc.as_ref().map(|about| format!(" ({about})")).unwrap_or_default();
    let flags = if flags.is_empty() { "none".to_string() } else { flags.join(", ") };
    format!("{number}.{}{about} [{flags}]", device.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(at: u64, bytes: &[u8], batch: &mut Batch) {
        let start = batch.bytes.len() as u32;
        batch.bytes.extend_from_slice(bytes);
        let (captured, len) = (bytes.len() as u32, bytes.len() as u32);
        let at = Timestamp::from_nanos(at);
        batch.seen.push(Seen::Packet(
            0,
            SeenPacket { at, interface: 0, link: LinkType::ETHERNET, start, captured, len, direction: None },
        ));
    }

    fn contents(batch: &Batch) -> Vec<&[u8]> {
        let packets = batch.seen.iter().filter_map(|seen| match seen {
            Seen::Packet(_, packet) => Some(packet),
            _ => None,
        });
        packets.map(|packet| &batch.bytes[packet.start as usize..][..packet.captured as usize]).collect()
    }

    #[test]
    fn packets_of_several_interfaces_are_told_in_the_order_of_time() {
        let mut batch = Batch::default();
        packet(3, b"three", &mut batch);
        packet(7, b"seven", &mut batch);
        packet(1, b"one", &mut batch);
        packet(5, b"five", &mut batch);
        batch.sort();
        let late = batch.split_off(Timestamp::from_nanos(4));
        assert_eq!(contents(&batch), [b"one".as_slice(), b"three"]);
        assert_eq!(contents(&late), [b"five".as_slice(), b"seven"]);
    }
}
