//! Events without a socket of their own.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use observer_ebpf::{ABSENT, Event, Hook, Kind, Stray, tag};

use crate::book;
use crate::kernel::{self, Struct};
use crate::maps::{self, field, setting};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;

/// Sends an event of a socket that has no entry: one that waits in TIME-WAIT, or half open at a listening one.
#[inline(always)]
pub fn of_sock(sk: Struct, kind: Kind, value: i32, hook: Hook) {
    if !book::is_wanted(sk) {
        return;
    }
    let (source, destination) = book::addresses(sk);
    let family: u16 = sk.load(field!(skc_family));
    let stray = Stray {
        tag: tag::STRAY,
        netns: kernel::netns(sk),
        location: 0,
        source,
        destination,
        source_port: sk.load(field!(skc_num)),
        destination_port: u16::from_be(sk.load(field!(skc_dport))),
        flags: 0,
        version: if family == 2 { 4 } else { 6 },
        padding: [0; 2],
        event: event(kind, value),
    };
    if !maps::wants_ports(stray.source_port, stray.destination_port) {
        return;
    }
    maps::send(&stray, hook);
}

/// Sends an event of a packet, if it is TCP's.
#[inline(always)]
pub fn of_packet(skb: Struct, kind: Kind, value: i32, location: u64, hook: Hook) {
    let protocol = u16::from_be(skb.load(field!(skb_protocol)));
    if protocol != ETH_P_IP && protocol != ETH_P_IPV6 {
        return;
    }
    let head: u64 = skb.load(field!(skb_head));
    let network = head + u64::from(skb.load::<u16>(field!(skb_network_header)));
    let mut stray = Stray {
        tag: tag::STRAY,
        netns: packet_netns(skb),
        location,
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        flags: 0,
        version: 4,
        padding: [0; 2],
        event: event(kind, value),
    };
    let wanted = setting!(netns);
    if wanted != 0 && stray.netns != wanted {
        return;
    }
    let transport = if protocol == ETH_P_IP {
        let Some(ip) = kernel::read::<[u8; 20]>(network) else { return };
        // Fragments but the first have no TCP header.
        if ip[9] != IPPROTO_TCP || ip[6] & 0x1f != 0 || ip[7] != 0 || ip[0] >> 4 != 4 {
            return;
        }
        (stray.source[10], stray.source[11]) = (0xff, 0xff);
        (stray.destination[10], stray.destination[11]) = (0xff, 0xff);
        stray.source[12..16].copy_from_slice(&ip[12..16]);
        stray.destination[12..16].copy_from_slice(&ip[16..20]);
        network + u64::from(ip[0] & 15) * 4
    } else {
        let Some(ip) = kernel::read::<[u8; 40]>(network) else { return };
        if ip[6] != IPPROTO_TCP || ip[0] >> 4 != 6 {
            return;
        }
        stray.source.copy_from_slice(&ip[8..24]);
        stray.destination.copy_from_slice(&ip[24..40]);
        stray.version = 6;
        network + 40
    };
    let Some(tcp) = kernel::read::<[u8; 14]>(transport) else { return };
    stray.source_port = u16::from_be_bytes([tcp[0], tcp[1]]);
    stray.destination_port = u16::from_be_bytes([tcp[2], tcp[3]]);
    stray.flags = tcp[13];
    if !maps::wants_ports(stray.source_port, stray.destination_port) {
        return;
    }
    maps::send(&stray, hook);
}

/// The namespace of the device that a packet is at, or of the socket that sends it.
#[inline(always)]
fn packet_netns(skb: Struct) -> u32 {
    let device = skb.follow(field!(skb_dev));
    if !device.is_null() {
        return device.follow(field!(dev_net)).load(field!(net_inum));
    }
    let sk = skb.follow(field!(skb_sk));
    if sk.is_null() || field!(skb_sk) == ABSENT { 0 } else { kernel::netns(sk) }
}

#[inline(always)]
fn event(kind: Kind, value: i32) -> Event {
    // SAFETY: the helper takes nothing.
    Event { at: unsafe { bpf_ktime_get_ns() }, kind: kind as u8, from: 0, to: 0, times: 1, value }
}
