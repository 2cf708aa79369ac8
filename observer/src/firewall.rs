//! Rules of nf_tables as the kernel lists them (include/uapi/linux/netfilter/nf_tables.h), handed in as bytes: those that drop
//! or reject, and count what they do. `iptables` has its rules there too, where it is `iptables-nft`, and each of them counts.

use crate::record::{FirewallRule, FirewallVerdict};
use crate::socket::attributes;

/// A rule that lets nothing through, and how often it has been met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The rule.
    pub rule: FirewallRule,
    /// Packets that came to its counter (`NFTA_COUNTER_PACKETS`).
    pub packets: u64,
}

/// Octets of `struct nfgenmsg`, before the attributes.
pub const HEADER: usize = 4;

/// Characters of a name that are kept (`NFT_NAME_MAXLEN` is 256).
const LONGEST: usize = 64;

/// Address families of tables (`NFPROTO_*`), as nft(8) calls them.
const FAMILIES: [(u8, &str); 6] = [(1, "inet"), (2, "ip"), (3, "arp"), (5, "netdev"), (7, "bridge"), (10, "ip6")];

/// `NFTA_RULE_*`.
mod of_rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const HANDLE: u16 = 3;
    pub const EXPRESSIONS: u16 = 4;
}

/// `NFTA_LIST_ELEM`, and `NFTA_EXPR_*` in it.
const ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;

/// `NFTA_COUNTER_PACKETS`.
const PACKETS: u16 = 2;

/// `NFTA_IMMEDIATE_DATA`, in it `NFTA_DATA_VERDICT`, in that `NFTA_VERDICT_CODE`: `NF_DROP` is 0.
const IMMEDIATE_DATA: u16 = 2;
const VERDICT: u16 = 2;
const CODE: u16 = 1;
const DROP: u32 = 0;

/// `NFTA_TARGET_NAME` of what comes from `iptables-nft`.
const TARGET_NAME: u16 = 1;

impl Counted {
    /// Reads the payload of one `NFT_MSG_NEWRULE`; `None` where it is no rule that stops packets and counts them.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let (head, rest) = message.split_at_checked(HEADER)?;
        let family = FAMILIES.iter().find(|(number, _)| Some(number) == head.first())?.1;
        let find = |wanted| find(rest, wanted);
        let (mut packets, mut verdict) = (None, None);
        for (_, element) in attributes(find(of_rule::EXPRESSIONS)?).filter(|(kind, _)| *kind == ELEMENT) {
            let (name, data) = (text(self::find(element, NAME)?), self::find(element, DATA).unwrap_or_default());
            match name.as_str() {
                "counter" => packets = self::find(data, PACKETS)?.first_chunk().map(|count| u64::from_be_bytes(*count)),
                "immediate" if drops(data) => verdict = Some(FirewallVerdict::Drop),
                "reject" => verdict = Some(FirewallVerdict::Reject),
                "target" => match self::find(data, TARGET_NAME).map(text).as_deref() {
                    Some("REJECT") => verdict = Some(FirewallVerdict::Reject),
                    Some("DROP") => verdict = Some(FirewallVerdict::Drop),
                    _ => {}
                },
                _ => {}
            }
        }
        let handle = find(of_rule::HANDLE)?.first_chunk().map(|handle| u64::from_be_bytes(*handle))?;
        let (table, chain) = (text(find(of_rule::TABLE)?), text(find(of_rule::CHAIN)?));
        Some(Self { rule: FirewallRule { family, table, chain, handle, verdict: verdict? }, packets: packets? })
    }
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// Whether what is put into a register is a verdict, and that is to drop.
fn drops(immediate: &[u8]) -> bool {
    let code = || find(find(find(immediate, IMMEDIATE_DATA)?, VERDICT)?, CODE)?.first_chunk();
    code().is_some_and(|code| u32::from_be_bytes(*code) == DROP)
}

/// A name, up to the octet that ends it.
fn text(octets: &[u8]) -> String {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    String::from_utf8_lossy(octets.get(..end).unwrap_or_default()).chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conntrack::tests::attribute;

    fn expression(name: &str, data: &[u8]) -> Vec<u8> {
        let name = [name.as_bytes(), &[0]].concat();
        attribute(0x8001, &[attribute(NAME, &name), attribute(0x8002, data)].concat())
    }

    fn verdict(code: u32) -> Vec<u8> {
        let verdict = attribute(0x8002, &attribute(CODE, &code.to_be_bytes()));
        expression("immediate", &[attribute(1, &[0; 4]), attribute(0x8002, &verdict)].concat())
    }

    fn counter(packets: u64) -> Vec<u8> {
        expression("counter", &[attribute(1, &[0; 8]), attribute(PACKETS, &packets.to_be_bytes())].concat())
    }

    fn rule(expressions: &[Vec<u8>]) -> Vec<u8> {
        let parts = [
            attribute(of_rule::TABLE, b"filter\0"),
            attribute(of_rule::CHAIN, b"input\0"),
            attribute(of_rule::HANDLE, &7_u64.to_be_bytes()),
            attribute(0x8004, &expressions.concat()),
        ];
        [vec![1, 0, 0, 0], parts.concat()].concat()
    }

    #[test]
    fn what_stops_packets_and_counts_them_is_read() {
        let read = |expressions: &[Vec<u8>]| Counted::parse(&rule(expressions));
        let dropped = read(&[expression("meta", &[]), counter(3), verdict(DROP)]).expect("it is one");
        assert_eq!((dropped.packets, dropped.rule.to_string().as_str()), (3, "inet filter input handle 7 (drop)"));
        let rejected = read(&[counter(4), expression("reject", &[])]).expect("it is one");
        assert_eq!((rejected.packets, rejected.rule.verdict), (4, FirewallVerdict::Reject));
        let target = attribute(TARGET_NAME, b"REJECT\0");
        assert!(read(&[counter(5), expression("target", &target)]).is_some());
        assert_eq!(read(&[counter(5), verdict(1)]), None, "it accepts");
        assert_eq!(read(&[verdict(DROP)]), None, "it does not count");
        assert_eq!(read(&[counter(5)]), None, "it only counts");
    }

    #[test]
    fn what_is_cut_short_is_none() {
        let whole = rule(&[counter(3), verdict(DROP)]);
        for len in 0..whole.len() {
            assert_eq!(Counted::parse(&whole[..len]), None, "{len}");
        }
    }
}
