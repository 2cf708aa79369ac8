//! A namespace's sockets in numbers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::gauge::text::{find, snmp, sockstat};

/// The sockets of one network namespace in numbers: `observer sockets --summary`. `null` is what the kernel does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SocketSummary {
    /// Inode of the network namespace.
    pub netns: u32,
    /// Sockets of every family. From `sockets: used` of /proc/net/sockstat.
    pub used: Option<u64>,
    /// TCP sockets in all, of the whole host, those in TIME-WAIT aside. From `TCP: alloc` of /proc/net/sockstat.
    pub allocated: Option<u64>,
    /// TCP sockets that no process has any more, of the whole host. From `TCP: orphan`.
    pub orphaned: Option<u64>,
    /// TCP sockets in TIME-WAIT. From `TCP: tw`.
    pub time_wait: Option<u64>,
    /// TCP connections in ESTAB or CLOSE-WAIT. From `Tcp: CurrEstab` of /proc/net/snmp.
    pub established: Option<u64>,
    /// TCP sockets in each state, by the tables of sock_diag; no state that none is in. `null` where it was not asked for
    /// (`--all`): to count them takes a walk through the tables.
    pub states: Option<BTreeMap<&'static str, u64>>,
    /// Sockets in use, by transport: TCP, UDP, RAW and fragments, over IPv4 and IPv6.
    pub transports: Vec<TransportSummary>,
}

/// Sockets in use of one transport. From /proc/net/sockstat and /proc/net/sockstat6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TransportSummary {
    /// Its name, as `ss -s` has it.
    pub name: &'static str,
    /// Over IPv4.
    pub ip: u64,
    /// Over IPv6.
    pub ipv6: u64,
}

impl SocketSummary {
    /// Reads `/proc/net/sockstat`, `/proc/net/sockstat6` and `/proc/net/snmp`.
    pub fn new(netns: u32, v4: &str, v6: &str, counters: &str) -> Self {
        let of = |group, name| find(sockstat(v4), group, name);
        let in_use = |text, group: &str| find(sockstat(text), group, "inuse").unwrap_or(0);
        let transport = |name: &'static str, more: Option<&str>| TransportSummary {
            name,
            ip: in_use(v4, name) + more.map_or(0, |more| in_use(v4, more)),
            ipv6: in_use(v6, &format!("{name}6")) + more.map_or(0, |more| in_use(v6, &format!("{more}6"))),
        };
        Self {
            netns,
            used: of("sockets", "used"),
            allocated: of("TCP", "alloc"),
            orphaned: of("TCP", "orphan"),
            time_wait: of("TCP", "tw"),
            established: find(snmp(counters), "Tcp", "CurrEstab"),
            states: None,
            transports: vec![
                transport("RAW", None),
                transport("UDP", Some("UDPLITE")),
                transport("TCP", None),
                transport("FRAG", None),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel_become_numbers() {
        let v4 = "sockets: used 9\nTCP: inuse 3 orphan 1 tw 4 alloc 7 mem 29\nUDP: inuse 2 mem 0\nUDPLITE: inuse 1\n\
                  RAW: inuse 0\nFRAG: inuse 0 memory 0\n";
        let v6 = "TCP6: inuse 2\nUDP6: inuse 0\n";
        let summary = SocketSummary::new(1, v4, v6, "Tcp: CurrEstab\nTcp: 5\n");
        assert_eq!((summary.used, summary.allocated, summary.orphaned), (Some(9), Some(7), Some(1)));
        assert_eq!((summary.time_wait, summary.established), (Some(4), Some(5)));
        let transports: Vec<_> = summary.transports.iter().map(|one| (one.name, one.ip, one.ipv6)).collect();
        assert_eq!(transports, [("RAW", 0, 0), ("UDP", 3, 0), ("TCP", 3, 2), ("FRAG", 0, 0)]);
    }
}
