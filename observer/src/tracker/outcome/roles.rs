//! Who opened a connection whose opening was not seen, by its ports.

use crate::packet::{Flags, Tuple};
use crate::tracker::Timeouts;

/// Whether Zeek takes the sender of a connection's first packet for the responder: the packet is no bare SYN, the sender
/// uses a port that servers likely use, and its peer does not. Where both do, the lower port wins, but not for a SYN-ACK:
/// that may be a scan.
///
/// Zeek's set of ports depends on the scripts that are loaded; this is that of its default configuration.
///
/// Where Zeek is not followed to the letter, a SYN-ACK makes its sender the responder whatever the ports.
pub fn flips_at_start(tuple: &Tuple, flags: Flags, rule: Timeouts) -> bool {
    if rule == Timeouts::Never && flags.is_syn_ack() {
        return true;
    }
    if flags.is_bare_syn() || !is_likely_server(tuple.sport) {
        return false;
    }
    !is_likely_server(tuple.dport) || (!flags.contains(Flags::SYN) && tuple.sport < tuple.dport)
}

/// Zeek's `likely_server_ports` for TCP, as `base/protocols` fills it.
const LIKELY_SERVERS: &[u16] = &[
    21, 22, 25, 53, 80, 81, 88, 135, 139, 389, 443, 445, 502, 563, 585, 587, 614, 631, 636, 989, 990, 992, 993, 995,
    1080, 2811, 3128, 3268, 3389, 5222, 5223, 5269, 6379, 6666, 6667, 6668, 6669, 8000, 8080, 8888, 20000,
];

fn is_likely_server(port: u16) -> bool {
    LIKELY_SERVERS.binary_search(&port).is_ok()
}

/// Ports of `Conn::port_inactivity_timeouts`: interactive services, whose connections Zeek lets be idle for an hour.
pub fn is_interactive(port: u16) -> bool {
    matches!(port, 21 | 22 | 23 | 513)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Address, IpVersion};

    #[test]
    fn likely_servers_are_sorted() {
        assert!(LIKELY_SERVERS.is_sorted());
    }

    #[test]
    fn the_likely_server_becomes_the_responder() {
        let tuple = |sport, dport| Tuple {
            src: Address::v4([10, 0, 0, 1]),
            dst: Address::v4([10, 0, 0, 2]),
            sport,
            dport,
            version: IpVersion::V4,
        };
        let syn_ack = Flags::SYN | Flags::ACK;
        for (sport, dport, flags, flips) in [
            (80, 40_000, Flags::SYN, false),
            (80, 40_000, syn_ack, true),
            (80, 40_000, Flags::ACK, true),
            (40_000, 80, Flags::ACK, false),
            (40_000, 40_001, syn_ack, false),
            (80, 443, Flags::ACK, true),
            (443, 80, Flags::ACK, false),
            (80, 443, syn_ack, false),
            (80, 80, Flags::ACK, false),
        ] {
            let never = flips || flags == syn_ack;
            assert_eq!(
                flips_at_start(&tuple(sport, dport), flags, Timeouts::Never),
                never,
                "{sport} > {dport} {flags}"
            );
            assert_eq!(flips_at_start(&tuple(sport, dport), flags, Timeouts::Zeek), flips, "{sport} > {dport} {flags}");
        }
    }
}
