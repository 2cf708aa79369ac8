//! Reading the book of sockets whole: the seats, and the map of those that have none.
//!
//! Of a map, going from key to key begins anew whenever a key goes away in between, which on a busy host is always; the kernel's
//! batched look-up (Linux 5.6) goes from bucket to bucket.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use observer_ebpf::Socket;

use super::seats::Seats;

/// Sockets that one call brings.
const AT_ONCE: usize = 512;

/// `BPF_MAP_LOOKUP_BATCH` of include/uapi/linux/bpf.h.
const LOOKUP_BATCH: libc::c_long = 24;

/// `BPF_MAP_DELETE_ELEM`.
const DELETE_ELEMENT: libc::c_long = 3;

/// The seats and the map of sockets.
#[derive(Debug)]
pub struct Book {
    seats: Seats,
    map: MapData,
}

/// The part of `union bpf_attr` that batched calls use.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The part that calls for one element use.
#[repr(C)]
#[derive(Default)]
struct ElementAttributes {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Book {
    /// The book in seats, and in a map whose keys are 8 octets and whose values are [`Socket`]s.
    pub fn new(seats: Seats, map: MapData) -> Self {
        Self { seats, map }
    }

    /// Takes a socket out, if it is in it.
    pub fn remove(&self, key: u64) -> Result<()> {
        if self.seats.remove(key) {
            return Ok(());
        }
        let fd = self.map.fd().as_fd().as_raw_fd();
        let mut attributes = ElementAttributes {
            map_fd: fd.cast_unsigned(),
            key: std::ptr::from_ref(&key) as u64,
            ..Default::default()
        };
        // SAFETY: the key is of the map's type, and outlives the call.
        let result = unsafe {
            let attributes = std::ptr::from_mut(&mut attributes);
            libc::syscall(libc::SYS_bpf, DELETE_ELEMENT, attributes, size_of::<ElementAttributes>())
        };
        match io::Error::last_os_error() {
            _ if result == 0 => Ok(()),
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            error => Err(error).context("taking a socket out of the map"),
        }
    }

    /// Every socket in it.
    pub fn read(&self) -> Result<Vec<Socket>> {
        let fd = self.map.fd().as_fd().as_raw_fd();
        let mut all = Vec::new();
        self.seats.read(&mut all);
        let mut room = AT_ONCE;
        let mut place: Option<u32> = None;
        loop {
            let mut keys = vec![0_u64; room];
            let mut values = vec![Socket::NONE; room];
            let mut next = 0_u32;
            let mut attributes = BatchAttributes {
                in_batch: place.as_ref().map_or(0, |place| std::ptr::from_ref(place) as u64),
                out_batch: std::ptr::from_mut(&mut next) as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: room as u32,
                map_fd: fd.cast_unsigned(),
                ..BatchAttributes::default()
            };
            // SAFETY: the attributes say where each array is, and how many elements it has room for; the map's keys and
            // values are of these types, which any octets make; all outlive the call.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_bpf,
                    LOOKUP_BATCH,
                    std::ptr::from_mut(&mut attributes),
                    size_of::<BatchAttributes>(),
                )
            };
            let error = io::Error::last_os_error();
            let filled = (attributes.count as usize).min(room);
            match (result, error.raw_os_error()) {
                (0, _) => all.extend(values.into_iter().take(filled)),
                // That was the last bucket.
                (_, Some(libc::ENOENT)) => {
                    all.extend(values.into_iter().take(filled));
                    return Ok(all);
                }
                // One bucket alone takes more room.
                (_, Some(libc::ENOSPC)) if room < 1 << 20 => {
                    room *= 2;
                    continue;
                }
                _ => return Err(error).context("reading the map of sockets (this takes Linux 5.6)"),
            }
            place = Some(next);
        }
    }
}
