//! The kernel's numbers by name: reasons, errors, places in its code.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use super::btf::Btf;

/// Names of this kernel.
#[derive(Debug)]
pub struct Names {
    drops: HashMap<i64, Box<str>>,
    resets: HashMap<i64, Box<str>>,
    symbols: Symbols,
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
    /// Asks the kernel's types, and where its functions lie if places in its code are to be named: that takes CAP_SYSLOG,
    /// which is laid down later.
    pub fn new(btf: &Btf, with_places: bool) -> Self {
        let of = |name, prefix| {
            let named = btf.enumerators(name).into_iter();
            named.map(|(name, number)| (number, name.strip_prefix(prefix).unwrap_or(name).into())).collect()
        };
        Self {
            drops: of("skb_drop_reason", "SKB_DROP_REASON_"),
            resets: of("sk_rst_reason", "SK_RST_REASON_"),
            symbols: if with_places { Symbols::open() } else { Symbols::default() },
        }
    }

    /// Why a packet was dropped, and where: `NO_SOCKET @ tcp_v4_rcv`.
    pub fn drop(&self, reason: i32, location: u64) -> Option<String> {
        let reason = named(&self.drops, reason);
        match (reason, self.symbols.at(location)) {
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

    /// A state of congestion control, as `enum tcp_ca_state` has them.
    pub fn congestion(state: i32) -> String {
        match state {
            0 => "Open".to_string(),
            1 => "Disorder".to_string(),
            2 => "CWR".to_string(),
            3 => "Recovery".to_string(),
            4 => "Loss".to_string(),
            other => format!("state {other}"),
        }
    }

    /// What became of a segment that was sent again: the value that the layer below gave back.
    pub fn transmission(result: i32) -> Option<String> {
        match result {
            0 => None,
            1 => Some("dropped by the queueing discipline".to_string()),
            -1 => Some("dropped by the firewall".to_string()),
            // EBUSY
            -16 => Some("the last copy has not left this host yet".to_string()),
            // EAGAIN
            -11 => Some("the receiver's window is closed".to_string()),
            other => Self::error(other),
        }
    }
}

fn named(names: &HashMap<i64, Box<str>>, number: i32) -> Option<String> {
    if number < 0 {
        return None;
    }
    // Subsystems number their reasons apart (`reason >> 16`) and do not name them in the enum.
    Some(names.get(&number.into()).map_or_else(|| format!("reason {number:#x}"), |name| name.to_string()))
}

/// The kernel's functions by address; none where it hides them. To read them all takes a tenth of a second, and most watches
/// see nothing dropped: they are read when the first is asked for. Whether they are hidden was decided when the file was
/// opened (kallsyms_open of kernel/kallsyms.c).
#[derive(Debug, Default)]
struct Symbols {
    file: Option<File>,
    read: OnceCell<Places>,
}

/// Functions, in order of their places.
#[derive(Debug, Default)]
struct Places {
    /// Where each begins, in order, and where its name ends in `names`.
    places: Vec<(u64, u32)>,
    names: String,
}

impl Symbols {
    fn open() -> Self {
        Self { file: File::open("/proc/kallsyms").ok(), ..Self::default() }
    }

    /// The function that an address lies in.
    fn at(&self, address: u64) -> Option<&str> {
        self.read.get_or_init(|| self.file.as_ref().map(Places::read).unwrap_or_default()).at(address)
    }
}

impl Places {
    fn read(file: &File) -> Self {
        let mut found: Vec<(u64, Box<str>)> = Vec::new();
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            let mut words = line.split_ascii_whitespace();
            if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) = (words.next(), words.next(), words.next())
                && let Ok(address @ 1..) = u64::from_str_radix(address, 16)
            {
                found.push((address, name.into()));
            }
        }
        found.sort_unstable();
        let mut all = Self::default();
        for (address, name) in found {
            all.names.push_str(&name);
            all.places.push((address, all.names.len() as u32));
        }
        all
    }

    fn at(&self, address: u64) -> Option<&str> {
        let place = self.places.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        let (_, end) = self.places.get(place)?;
        let start = place.checked_sub(1).and_then(|before| self.places.get(before)).map_or(0, |(_, end)| *end);
        self.names.get(start as usize..*end as usize)
    }
}
