//! The texts of /proc that gauges read, and the forms they have.

use std::collections::BTreeMap;

/// A file of /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Text {
    /// SNMP's counters (RFC 4022).
    Snmp,
    /// Linux's own counters.
    Netstat,
    /// Sockets and memory in use.
    Sockstat,
    /// The ports that connect(2) chooses from.
    PortRange,
    /// Those of them that it leaves alone.
    ReservedPorts,
    /// Whether a port in TIME-WAIT may be used again for a new connection: 0 no, 1 yes, 2 on loopback.
    TwReuse,
    /// The most sockets in TIME-WAIT.
    MaxTwBuckets,
    /// How long the end of FIN-WAIT-2 is waited for when no process has the socket any more, in seconds.
    FinTimeout,
    /// Whether SYNs are answered with cookies: 0 no, 1 where a backlog is full, 2 always.
    SynCookies,
    /// The most sockets that no process has any more.
    MaxOrphans,
    /// Pages of memory for TCP: below the first all is well, above the second there is pressure, the third is the limit.
    TcpMem,
    /// Entries of connection tracking.
    ConntrackCount,
    /// The most of them.
    ConntrackMax,
    /// Buckets of its hash table.
    ConntrackBuckets,
    /// Its counters, by processor.
    ConntrackStat,
}

impl Text {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::Snmp,
        Self::Netstat,
        Self::Sockstat,
        Self::PortRange,
        Self::ReservedPorts,
        Self::TwReuse,
        Self::MaxTwBuckets,
        Self::FinTimeout,
        Self::SynCookies,
        Self::MaxOrphans,
        Self::TcpMem,
        Self::ConntrackCount,
        Self::ConntrackMax,
        Self::ConntrackBuckets,
        Self::ConntrackStat,
    ];

    /// Its path.
    pub const fn source(self) -> &'static str {
        match self {
            Self::Snmp => "/proc/net/snmp",
            Self::Netstat => "/proc/net/netstat",
            Self::Sockstat => "/proc/net/sockstat",
            Self::PortRange => "/proc/sys/net/ipv4/ip_local_port_range",
            Self::ReservedPorts => "/proc/sys/net/ipv4/ip_local_reserved_ports",
            Self::TwReuse => "/proc/sys/net/ipv4/tcp_tw_reuse",
            Self::MaxTwBuckets => "/proc/sys/net/ipv4/tcp_max_tw_buckets",
            Self::FinTimeout => "/proc/sys/net/ipv4/tcp_fin_timeout",
            Self::SynCookies => "/proc/sys/net/ipv4/tcp_syncookies",
            Self::MaxOrphans => "/proc/sys/net/ipv4/tcp_max_orphans",
            Self::TcpMem => "/proc/sys/net/ipv4/tcp_mem",
            Self::ConntrackCount => "/proc/sys/net/netfilter/nf_conntrack_count",
            Self::ConntrackMax => "/proc/sys/net/netfilter/nf_conntrack_max",
            Self::ConntrackBuckets => "/proc/sys/net/netfilter/nf_conntrack_buckets",
            Self::ConntrackStat => "/proc/net/stat/nf_conntrack",
        }
    }

    /// Whether the host has it once: other network namespaces than the first do not show it.
    pub const fn is_of_host(self) -> bool {
        matches!(self, Self::TcpMem | Self::MaxOrphans)
    }
}

/// What the files held that could be read.
#[derive(Clone, Debug, Default)]
pub struct Texts(pub BTreeMap<Text, String>);

impl Texts {
    /// What one held.
    pub fn get(&self, text: Text) -> Option<&str> {
        self.0.get(&text).map(String::as_str)
    }

    /// Of one that holds a number, the number.
    pub fn number(&self, text: Text) -> Option<u64> {
        self.get(text)?.trim().parse().ok()
    }

    /// Of one that holds several, the numbers.
    pub fn numbers(&self, text: Text) -> Vec<u64> {
        self.get(text).unwrap_or_default().split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
    }
}

/// A column of `/proc/net/stat/nf_conntrack`, whose lines are the processors'; its numbers are of base 16.
pub fn processors(text: &str, column: &str) -> Option<Vec<u64>> {
    let mut lines = text.lines();
    let place = lines.next()?.split_ascii_whitespace().position(|name| name == column)?;
    let numbers = lines.map(|line| u64::from_str_radix(line.split_ascii_whitespace().nth(place)?, 16).ok());
    numbers.collect()
}

/// The numbers of `/proc/net/sockstat` and `/proc/net/sockstat6`: group, name, value.
pub fn sockstat(text: &str) -> impl Iterator<Item = (&str, &str, u64)> {
    text.lines().filter_map(|line| line.split_once(':')).flat_map(|(group, rest)| {
        let mut words = rest.split_ascii_whitespace();
        std::iter::from_fn(move || Some((words.next()?, words.next()?)))
            .filter_map(move |(name, value)| Some((group, name, value.parse().ok()?)))
    })
}

/// The numbers of `/proc/net/snmp` and `/proc/net/netstat`: group, name, value. Values below zero (`MaxConn`) are left out.
pub fn snmp(text: &str) -> impl Iterator<Item = (&str, &str, u64)> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        loop {
            let (group, names) = lines.next()?.split_once(':')?;
            let (of, values) = lines.next()?.split_once(':')?;
            if of == group {
                return Some((group, names, values));
            }
        }
    })
    .flat_map(|(group, names, values)| {
        let pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        pairs.filter_map(move |(name, value)| Some((group, name, value.parse().ok()?)))
    })
}

/// The value of one name; `None` where the kernel does not have it.
pub fn find<'a>(mut all: impl Iterator<Item = (&'a str, &'a str, u64)>, group: &str, name: &str) -> Option<u64> {
    all.find(|(of, what, _)| *of == group && *what == name).map(|(_, _, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_a_number_for_each_processor() {
        let text = "entries  clashres drop\n0000000a  00000000 00000001\n0000000a  00000002 000000ff\n";
        assert_eq!((processors(text, "drop"), processors(text, "clashres")), (Some(vec![1, 255]), Some(vec![0, 2])));
        assert_eq!(
            (processors(text, "found"), processors("drop\nx\n", "drop"), processors("", "drop")),
            (None, None, None)
        );
    }

    #[test]
    fn both_forms_are_read() {
        let text = "sockets: used 2\nTCP: inuse 3 orphan 0 tw 4 alloc 1 mem 29\nFRAG: inuse 0 memory 0\n";
        assert_eq!(find(sockstat(text), "TCP", "tw"), Some(4));
        assert_eq!(find(sockstat(text), "sockets", "used"), Some(2));
        assert_eq!(find(sockstat(text), "TCP", "mew"), None);
        let text = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn CurrEstab OutRsts\nTcp: -1 7 9\n";
        assert_eq!(find(snmp(text), "Tcp", "CurrEstab"), Some(7));
        assert_eq!(find(snmp(text), "Tcp", "OutRsts"), Some(9));
        assert_eq!(find(snmp(text), "Tcp", "MaxConn"), None);
        assert_eq!(find(snmp(text), "Ip", "DefaultTTL"), Some(64));
        assert_eq!(snmp("nonsense\n\nTcp: A\nUdp: 1").count(), 0);
    }
}
