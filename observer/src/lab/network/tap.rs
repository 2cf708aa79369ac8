//! Ethernet interfaces whose other end is this program (drivers/net/tun.c).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result};
use rustix::ioctl::{self, Updater, opcode};

use super::host::Host;

/// `struct ifreq` as TUNSETIFF takes it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Makes a tap interface on `host`. The kernel gives it no offloads, so what is read from the file are frames as they
/// would be on a wire: segmented, with full checksums.
pub fn open(host: &Host, name: &str) -> Result<File> {
    const TUNSETIFF: ioctl::Opcode = opcode::write::<i32>(b'T', 202);
    const IFF_TAP: i16 = 0x0002;
    const IFF_NO_PI: i16 = 0x1000;
    const LONGEST_NAME: usize = 15;
    let mut request = InterfaceRequest { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    for (to, from) in request.name.iter_mut().zip(name.bytes().take(LONGEST_NAME)) {
        *to = from;
    }
    host.enter(|| {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open("/dev/net/tun")?;
        // SAFETY: TUNSETIFF reads and writes a struct ifreq, which InterfaceRequest is, and keeps no pointer to it.
        unsafe { ioctl::ioctl(&file, Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request)) }?;
        Ok(file)
    })
    .with_context(|| format!("making the tap interface {name} on {} with /dev/net/tun", host.name()))
}
