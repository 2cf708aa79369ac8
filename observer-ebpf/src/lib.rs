//! The records that cross from the kernel to user space: one contract for both sides.
//!
//! The programs write them in the layout of C, every gap named, and user space reads them back from the bytes of the
//! ring buffer.
#![no_std]

use core::fmt;

/// A TCP socket went from one state to another (tracepoint `sock:inet_sock_set_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct StateChange {
    /// When, in nanoseconds of `bpf_ktime_get_ns` (CLOCK_MONOTONIC).
    pub at: u64,
    /// From `bpf_get_socket_cookie`: names the socket for as long as the machine runs; 0 where it was not given out.
    pub cookie: u64,
    /// Local address; IPv4 as `::ffff:a.b.c.d`. From `skc_v6_rcv_saddr` or `skc_rcv_saddr`.
    pub local: [u8; 16],
    /// Remote address, likewise. From `skc_v6_daddr` or `skc_daddr`.
    pub remote: [u8; 16],
    /// Local port, in host order. From `skc_num`.
    pub local_port: u16,
    /// Remote port, in host order. From `skc_dport`.
    pub remote_port: u16,
    /// The state before, as the `TCP_*` constants of `include/net/tcp_states.h` number it.
    pub from: u8,
    /// The state after, likewise.
    pub to: u8,
    /// Always 0.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<StateChange>() == 56 && align_of::<StateChange>() == 8);

impl StateChange {
    /// Reads a record from the front of `bytes`, in the byte order of this machine.
    ///
    /// # Errors
    /// When `bytes` ends before the record does.
    pub fn parse(bytes: &[u8]) -> Result<Self, TooShort> {
        let too_short = TooShort { need: size_of::<Self>(), got: bytes.len() };
        let (at, rest) = take(bytes).ok_or(too_short)?;
        let (cookie, rest) = take(rest).ok_or(too_short)?;
        let (local, rest) = take(rest).ok_or(too_short)?;
        let (remote, rest) = take(rest).ok_or(too_short)?;
        let (local_port, rest) = take(rest).ok_or(too_short)?;
        let (remote_port, rest) = take(rest).ok_or(too_short)?;
        let ([from, to], rest) = take(rest).ok_or(too_short)?;
        let (padding, _) = take(rest).ok_or(too_short)?;
        Ok(Self {
            at: u64::from_ne_bytes(at),
            cookie: u64::from_ne_bytes(cookie),
            local,
            remote,
            local_port: u16::from_ne_bytes(local_port),
            remote_port: u16::from_ne_bytes(remote_port),
            from,
            to,
            padding,
        })
    }
}

/// A record was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort {
    /// Bytes that the record takes.
    pub need: usize,
    /// Bytes that there were.
    pub got: usize,
}

impl fmt::Display for TooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { need, got } = self;
        write!(f, "record needs {need} bytes, {got} left")
    }
}

impl core::error::Error for TooShort {}

fn take<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes.split_first_chunk().map(|(first, rest)| (*first, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's side writes: the struct's own bytes.
    fn bytes_of(record: StateChange) -> [u8; 56] {
        // SAFETY: both are 56 bytes of integers, none of them padding.
        unsafe { core::mem::transmute(record) }
    }

    #[test]
    fn reads_back_what_was_written() {
        let record = StateChange {
            at: 1 << 40,
            cookie: 7,
            local: [1; 16],
            remote: [2; 16],
            local_port: 443,
            remote_port: 51_000,
            from: 2,
            to: 1,
            padding: [0; 2],
        };
        let bytes = bytes_of(record);
        assert_eq!(StateChange::parse(&bytes), Ok(record));
        for cut in 0..bytes.len() {
            assert_eq!(StateChange::parse(&bytes[..cut]), Err(TooShort { need: 56, got: cut }));
        }
    }
}
