//! The texts of /proc that count things: `GROUP: NAME VALUE …` on one line (sockstat), or names and values on two (snmp,
//! netstat).

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
