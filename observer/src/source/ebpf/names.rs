//! The kernel's numbers by name: reasons, errors, places in its code.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use super::btf::Btf;

/// Names of this kernel.
#[derive(Debug)]
pub struct Names {
    drops: HashMap<i64, Box<str>>,
    resets: HashMap<i64, Box<str>>,
    symbols: Option<Vec<(u64, Box<str>)>>,
}

/// Errors that TCP sockets are told, by `include/uapi/asm-generic/errno.h`.
const ERRORS: [(i32, &str); 17] = [
    (1, "EPERM"),
    (13, "EACCES"),
    (32, "EPIPE"),
    (71, "EPROTO"),
    (90, "EMSGSIZE"),
    (92, "ENOPROTOOPT"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (122, "EDQUOT"),
];

impl Names {
    /// Asks the kernel's types.
    pub fn new(btf: &Btf) -> Self {
        let of = |name, prefix| {
            let named = btf.enumerators(name).into_iter();
            named.map(|(name, number)| (number, name.strip_prefix(prefix).unwrap_or(name).into())).collect()
        };
        Self {
            drops: of("skb_drop_reason", "SKB_DROP_REASON_"),
            resets: of("sk_rst_reason", "SK_RST_REASON_"),
            symbols: None,
        }
    }

    /// Why a packet was dropped, and where: `NO_SOCKET @ tcp_v4_rcv`.
    pub fn drop(&mut self, reason: i32, location: u64) -> Option<String> {
        let reason = named(&self.drops, reason);
        match (reason, self.symbol(location)) {
            (Some(reason), Some(symbol)) => Some(format!("{reason} @ {symbol}")),
            (reason, symbol) => reason.or_else(|| symbol.map(str::to_string)),
        }
    }

    /// Why a RST was sent.
    pub fn reset(&self, reason: i32) -> Option<String> {
        named(&self.resets, reason)
    }

    /// An error.
    pub fn error(number: i32) -> Option<String> {
        let number = number.wrapping_abs();
        if number == 0 {
            return None;
        }
        let known = ERRORS.iter().find(|(known, _)| *known == number);
        Some(known.map_or_else(|| format!("errno {number}"), |(_, name)| (*name).to_string()))
    }

    /// What became of a segment that was sent again: the value that the layer below gave back.
    pub fn transmission(result: i32) -> Option<String> {
        match result {
            0 => None,
            1 => Some("dropped by the queueing discipline".to_string()),
            -1 => Some("dropped by the firewall".to_string()),
            -16 => Some("no neighbour to send it to".to_string()),
            other => Self::error(other),
        }
    }

    /// The function that an address lies in.
    fn symbol(&mut self, address: u64) -> Option<&str> {
        if address == 0 {
            return None;
        }
        let symbols = self.symbols.get_or_insert_with(read_symbols);
        let place = symbols.partition_point(|(start, _)| *start <= address);
        symbols.get(place.checked_sub(1)?).map(|(_, name)| &**name)
    }
}

fn named(names: &HashMap<i64, Box<str>>, number: i32) -> Option<String> {
    if number < 0 {
        return None;
    }
    // Subsystems number their reasons apart (`reason >> 16`) and do not name them in the enum.
    Some(names.get(&number.into()).map_or_else(|| format!("reason {number:#x}"), |name| name.to_string()))
}

/// Functions by address; none where the kernel hides them.
fn read_symbols() -> Vec<(u64, Box<str>)> {
    let Ok(file) = File::open("/proc/kallsyms") else { return Vec::new() };
    let mut symbols = Vec::new();
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        let mut words = line.split_ascii_whitespace();
        if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) = (words.next(), words.next(), words.next())
            && let Ok(address @ 1..) = u64::from_str_radix(address, 16)
        {
            symbols.push((address, name.into()));
        }
    }
    symbols.sort_unstable_by_key(|(address, _)| *address);
    symbols
}
