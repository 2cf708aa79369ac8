//! Sockets in columns, as `ss` prints them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use observer::packet::IpVersion;
use observer::record::{SocketProcess, SocketSummary};
use observer::socket::Diag;

use super::page::escape;

/// Which columns and fields are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    /// Timers.
    pub timers: bool,
    /// User, inode, cookie, cgroup and what was shut down.
    pub extended: bool,
    /// `struct tcp_info`.
    pub info: bool,
    /// Everything of a socket on one line.
    pub one_line: bool,
    /// No line with the names of the columns.
    pub no_header: bool,
}

/// What is known of a socket beside what the kernel's table shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The processes that have it open.
    pub processes: &'a [SocketProcess],
    /// The path of its cgroup.
    pub cgroup: Option<&'a str>,
    /// The name of the interface that it is bound to.
    pub interface: Option<&'a str>,
    /// The names of its ports.
    pub services: [Option<&'a str>; 2],
}

/// Lines in the making: the columns' widths are known only once all have been seen.
#[derive(Debug, Default)]
pub struct Sockets {
    fields: Fields,
    text: String,
    rows: Vec<Row>,
}

/// Where the columns of a line end in the text; each begins where the one before ends.
#[derive(Clone, Copy, Debug)]
struct Row {
    ends: [u32; COLUMNS],
    /// What stands behind the columns, on this line and on the next.
    rest: [u32; 2],
}

/// Netns, State, Recv-Q, Send-Q, and both ends' address and port.
const COLUMNS: usize = 8;

impl Sockets {
    /// No lines yet.
    pub fn new(fields: Fields) -> Self {
        Self { fields, ..Self::default() }
    }

    /// Adds a socket; `netns` is named where there are several namespaces.
    pub fn push(&mut self, diag: &Diag<'_>, netns: Option<u32>, known: Known<'_>) {
        // Writing to a String cannot fail.
        let _ = self.try_push(diag, netns, known);
    }

    fn try_push(&mut self, diag: &Diag<'_>, netns: Option<u32>, known: Known<'_>) -> std::fmt::Result {
        let socket = &diag.socket;
        let text = &mut self.text;
        let mut ends = [0; COLUMNS];
        if let Some(netns) = netns {
            write!(text, "{netns}")?;
        }
        ends[0] = text.len() as u32;
        text.push_str(socket.tcp_state().name());
        ends[1] = text.len() as u32;
        write!(text, "{}", socket.recv_queue)?;
        ends[2] = text.len() as u32;
        write!(text, "{}", socket.send_queue)?;
        ends[3] = text.len() as u32;
        // An IPv6 socket on any address takes IPv4 too, unless it says otherwise.
        let both = socket.family == IpVersion::V6 && diag.v6_only() == Some(false);
        let [own, other] = known.services;
        for (place, (ip, port), interface, service) in
            [(4, socket.local, known.interface, own), (6, socket.peer, None, other)]
        {
            address(text, ip, both)?;
            if let Some(interface) = interface {
                write!(text, "%{interface}")?;
            }
            ends[place] = text.len() as u32;
            match (port, service) {
                (0, _) => text.push('*'),
                (_, Some(service)) => text.push_str(service),
                (port, None) => write!(text, "{port}")?,
            }
            ends[place + 1] = text.len() as u32;
        }
        if !known.processes.is_empty() {
            text.push_str(" users:(");
            for (number, SocketProcess { name, pid, fd }) in known.processes.iter().enumerate() {
                let comma = if number > 0 { "," } else { "" };
                write!(text, "{comma}(\"{}\",pid={pid},fd={fd})", escape(name))?;
            }
            text.push(')');
        }
        self.extended(diag, known)?;
        let rest = self.text.len() as u32;
        self.more(diag)?;
        self.rows.push(Row { ends, rest: [rest, self.text.len() as u32] });
        Ok(())
    }

    fn extended(&mut self, diag: &Diag<'_>, known: Known<'_>) -> std::fmt::Result {
        let (socket, text) = (&diag.socket, &mut self.text);
        if let Some(timer) = socket.timer.filter(|_| self.fields.timers || self.fields.extended) {
            write!(text, " timer:({},", timer.kind.name())?;
            duration(text, timer.expires.0 / 1_000_000)?;
            write!(text, ",{})", timer.retransmits)?;
        }
        if !self.fields.extended {
            return Ok(());
        }
        if socket.uid != 0 {
            write!(text, " uid:{}", socket.uid)?;
        }
        write!(text, " ino:{} sk:{:x}", socket.inode, socket.cookie)?;
        if let Some(mark @ 1..) = diag.mark() {
            write!(text, " fwmark:{mark:#x}")?;
        }
        if let Some(cgroup) = known.cgroup {
            write!(text, " cgroup:{}", escape(cgroup))?;
        }
        if let Some(only) = diag.v6_only() {
            write!(text, " v6only:{}", u8::from(only))?;
        }
        if let Some(shut) = diag.shutdown() {
            // What is shut down loses its arrowhead.
            let (receives, sends) = (shut & 1 == 0, shut & 2 == 0);
            write!(text, " {}-{}", if receives { '<' } else { '-' }, if sends { '>' } else { '-' })?;
        }
        Ok(())
    }

    /// Memory and numbers: on a line of their own.
    fn more(&mut self, diag: &Diag<'_>) -> std::fmt::Result {
        let text = &mut self.text;
        if let Some(memory) = diag.memory() {
            write!(
                text,
                " skmem:(r{},rb{},t{},tb{},f{},w{},o{},bl{},d{})",
                memory.rmem_alloc,
                memory.rcvbuf,
                memory.wmem_alloc,
                memory.sndbuf,
                memory.fwd_alloc,
                memory.wmem_queued,
                memory.optmem,
                memory.backlog,
                memory.drops
            )?;
        }
        if let Some(info) = diag.info().filter(|_| self.fields.info) {
            let congestion = (diag.congestion(), diag.congestion_numbers());
            info.write(text, congestion, diag.socket.is_listener())?;
        }
        Ok(())
    }

    /// Writes every line.
    pub fn finish(&self, out: &mut String) {
        const NAMES: [&str; COLUMNS] =
            ["Netns", "State", "Recv-Q", "Send-Q", "Local Address", "Port", "Peer Address", "Port"];
        let has_netns = self.rows.first().is_some_and(|row| row.ends[0] > 0);
        let mut widths = NAMES.map(str::len);
        widths[0] = if has_netns { widths[0] } else { 0 };
        let mut begin = 0;
        for row in &self.rows {
            for (width, end) in widths.iter_mut().zip(row.ends) {
                *width = (*width).max((end - begin) as usize);
                begin = end;
            }
            begin = row.rest[1];
        }
        if !self.fields.no_header {
            columns(out, NAMES.map(|name| if name == "Netns" && !has_netns { "" } else { name }), widths);
            out.truncate(out.trim_end_matches(' ').len());
            out.push_str(" Process\n");
        }
        let mut begin = 0;
        let mut part = |end: u32| {
            let part = self.text.get(begin as usize..end as usize).unwrap_or_default();
            begin = end;
            part
        };
        for row in &self.rows {
            columns(out, row.ends.map(&mut part), widths);
            let (behind, more) = (part(row.rest[0]), part(row.rest[1]));
            if behind.is_empty() && (more.is_empty() || !self.fields.one_line) {
                out.truncate(out.trim_end_matches(' ').len());
            }
            // The columns end with a space.
            out.push_str(behind.trim_start_matches(' '));
            if !more.is_empty() {
                out.push_str(if self.fields.one_line { "" } else { "\n\t" });
                out.push_str(more);
            }
            out.push('\n');
        }
    }
}

/// One line's columns: addresses to the right, so that the colons stand below each other, everything else to the left.
fn columns(out: &mut String, parts: [&str; COLUMNS], widths: [usize; COLUMNS]) {
    const ADDRESSES: [usize; 2] = [4, 6];
    for (place, (part, width)) in parts.into_iter().zip(widths).enumerate() {
        let gap = width.saturating_sub(part.len());
        if ADDRESSES.contains(&place) {
            out.extend(std::iter::repeat_n(' ', gap));
            out.push_str(part);
            out.push(':');
        } else if width > 0 {
            out.push_str(part);
            out.extend(std::iter::repeat_n(' ', gap + 1));
        }
    }
}

/// An address as `ss` shows it: `*` for any address of both families, IPv6 in brackets.
fn address(text: &mut String, ip: IpAddr, both: bool) -> std::fmt::Result {
    match ip {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if both => {
            text.push('*');
            Ok(())
        }
        IpAddr::V4(ip) => write!(text, "{ip}"),
        IpAddr::V6(ip) => write!(text, "[{ip}]"),
    }
}

/// A time as `ss` prints those of timers: `200ms`, `2.500sec`, `59sec`, `1min39sec`.
fn duration(text: &mut String, millis: u64) -> std::fmt::Result {
    match (millis / 1000, millis % 1000) {
        (0, rest) => write!(text, "{rest}ms"),
        (secs @ 0..10, rest) => write!(text, "{secs}.{rest:03}sec"),
        (secs @ 0..60, _) => write!(text, "{secs}sec"),
        (secs, _) if secs % 60 == 0 => write!(text, "{}min", secs / 60),
        (secs, _) => write!(text, "{}min{}sec", secs / 60, secs % 60),
    }
}

/// Writes a summary as `ss -s` does, and the states below it.
pub fn summary(out: &mut String, summary: &SocketSummary) {
    let shown = |number: Option<u64>| number.map_or("-".to_string(), |number| number.to_string());
    let in_use: u64 = summary.transports.iter().filter(|one| one.name == "TCP").map(|one| one.ip + one.ipv6).sum();
    let total = summary.allocated.zip(summary.time_wait).map(|(sockets, remains)| sockets + remains);
    // As ss counts, those in TIME-WAIT are among the closed. What is allocated the kernel counts for the whole host: in a
    // namespace that is more than what is here.
    let closed = total.map(|sockets| sockets.saturating_sub(in_use));
    let _ = writeln!(out, "Total: {}", shown(summary.used));
    let _ = writeln!(
        out,
        "TCP:   {} (estab {}, closed {}, orphaned {}, timewait {})",
        shown(total),
        shown(summary.established),
        shown(closed),
        shown(summary.orphaned),
        shown(summary.time_wait)
    );
    let _ = writeln!(out, "\n{:<9} {:<9} {:<9} IPv6", "Transport", "Total", "IP");
    let mut inet = [0, 0];
    for one in &summary.transports {
        if one.name == "FRAG" {
            let _ = writeln!(out, "{:<9} {:<9} {:<9} {}", "INET", inet[0] + inet[1], inet[0], inet[1]);
        }
        inet = [inet[0] + one.ip, inet[1] + one.ipv6];
        let _ = writeln!(out, "{:<9} {:<9} {:<9} {}", one.name, one.ip + one.ipv6, one.ip, one.ipv6);
    }
    let Some(states) = &summary.states else { return };
    let _ = writeln!(out, "\nTCP by state");
    for (state, count) in states {
        let _ = writeln!(out, "{state:<10} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of the kernel for a socket of IPv4 between 10.0.0.1:1000 and the given end.
    fn message(state: u8, peer: ([u8; 4], u16)) -> Vec<u8> {
        let mut bytes = vec![2, state, if state == 6 { 3 } else { 0 }, 0];
        bytes.extend(1000_u16.to_be_bytes());
        bytes.extend(peer.1.to_be_bytes());
        for octets in [[10, 0, 0, 1], peer.0] {
            bytes.extend(octets);
            bytes.extend([0; 12]);
        }
        let numbers = [0, 0xab, 0, 59_900, 1, 128, 33, 4711].map(u32::to_ne_bytes);
        bytes.extend(numbers.concat());
        bytes
    }

    #[test]
    fn what_is_in_time_wait_counts_as_closed() {
        // As ss printed it of 30 in TIME-WAIT, 7 in use, and 9 allocated.
        let v4 = "TCP: inuse 7 orphan 1 tw 30 alloc 9 mem 29\n";
        let counted = SocketSummary::new(1, v4, "", "Tcp: CurrEstab\nTcp: 6\n");
        let mut out = String::new();
        summary(&mut out, &counted);
        assert!(out.contains("TCP:   39 (estab 6, closed 32, orphaned 1, timewait 30)\n"), "{out}");
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let mut sockets = Sockets::new(Fields { extended: true, ..Fields::default() });
        let users =
            [("nc \"x", 7, 3), ("sh", 8, 4)].map(|(name, pid, fd)| SocketProcess { name: name.to_string(), pid, fd });
        let known = Known { processes: &users, services: [Some("ham"), None], cgroup: Some("/a"), interface: None };
        for (state, peer, known) in [(10, ([0; 4], 0), known), (6, ([10, 0, 0, 200], 443), Known::default())] {
            let bytes = message(state, peer);
            sockets.push(&Diag::parse(&bytes).expect("it is one"), None, known);
        }
        let mut out = String::new();
        sockets.finish(&mut out);
        let expected = "\
State     Recv-Q Send-Q Local Address:Port Peer Address:Port Process
LISTEN    1      128         10.0.0.1:ham       0.0.0.0:*    users:((\"nc \"x\",pid=7,fd=3),(\"sh\",pid=8,fd=4)) uid:33 ino:4711 sk:ab cgroup:/a
TIME-WAIT 1      128         10.0.0.1:1000   10.0.0.200:443  timer:(timewait,59sec,0) uid:33 ino:4711 sk:ab
";
        assert_eq!(out, expected);
    }

    #[test]
    fn timers_read_as_with_ss() {
        let shown = [1, 200, 2_500, 59_900, 60_000, 99_000, 7_200_000].map(|millis| {
            let mut text = String::new();
            duration(&mut text, millis).map(|()| text)
        });
        let expected = ["1ms", "200ms", "2.500sec", "59sec", "1min", "1min39sec", "120min"];
        assert_eq!(shown, expected.map(|text| Ok(text.to_string())));
    }
}
