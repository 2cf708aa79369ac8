//! One TCP segment in every link layer and tunnel that is decoded, each against tshark where tshark knows it.

mod decode_against;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use decode_against::{Seen, decoder, tshark, tshark_is_there};
use observer::capture::{Chunk, Reader};
use observer::decode::{Checksums, Decoder};
use observer::packet::{Body, Decoded, Notes};
use proptest::prelude::*;

/// A frame, and what is to be seen in it.
struct Case {
    name: &'static str,
    link: u32,
    octets: Vec<u8>,
    /// Whether the segment in it goes over IPv6.
    v6: bool,
    /// Whether tshark 4.0 finds it too without being told more than the file says.
    tshark: bool,
}

const ETHERNET: u32 = 1;

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, link, v6, octets| cases.push(Case { name, link, octets, v6, tshark: true });
    link_layers(&mut add);
    tags(&mut add);
    extension_headers(&mut add);
    ip_tunnels(&mut add);
    udp_tunnels(&mut add);
    for case in &mut cases {
        case.tshark = !matches!(
            case.name,
            // A port that tshark has to be told, though it is Linux's default.
            "vxlan of linux"
            // Address families that Wireshark does not list; link types that it does not read.
            | "null, ipv6 of linux" | "null, ipv6 of windows" | "mpls" | "mpacket" | "broadcom tag" | "broadcom tag in front" | "marvell tag"
            | "marvell tag with an ethertype"
            // It takes every access point to swap the octets of the frame control field, as Cisco's do.
            | "capwap"
            // Its header has to be right in fields that say nothing of the frame.
            | "netanalyzer"
        );
    }
    cases
}

type Add<'a> = &'a mut dyn FnMut(&'static str, u32, bool, Vec<u8>);

fn link_layers(add: Add) {
    let (v4, v6) = (&packet4()[..], &packet6()[..]);
    add("ethernet, ipv4", ETHERNET, false, ethernet(0x0800, v4));
    add("ethernet, ipv6", ETHERNET, true, ethernet(0x86dd, v6));
    add("802.3 with snap", ETHERNET, false, ethernet((v4.len() + 8) as u16, &snap(0x0800, v4)));
    add("802.3 with llc of its own for ip", ETHERNET, false, {
        ethernet((v4.len() + 3) as u16, &[&[6, 6, 3][..], v4].concat())
    });
    add("padded ethernet", ETHERNET, false, [&ethernet(0x0800, v4)[..], &[0; 9]].concat());
    add("null, little endian", 0, false, [&[2, 0, 0, 0][..], v4].concat());
    add("null, big endian", 0, false, [&[0, 0, 0, 2][..], v4].concat());
    for (name, family) in [
        ("null, ipv6 of linux", 10),
        ("null, ipv6 of windows", 23),
        ("null, ipv6 of netbsd", 24),
        ("null, ipv6 of freebsd", 28),
        ("null, ipv6 of macos", 30),
    ] {
        add(name, 0, true, [&[family, 0, 0, 0][..], v6].concat());
    }
    add("loop", 108, true, [&[0, 0, 0, 24][..], v6].concat());
    add("raw", 101, false, v4.to_vec());
    add("raw, ipv6", 101, true, v6.to_vec());
    add("raw, by bsd's number", 12, false, v4.to_vec());
    add("ipv4", 228, false, v4.to_vec());
    add("ipv6", 229, true, v6.to_vec());
    let cooked = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    add("cooked", 113, false, [&cooked[..], &[8, 0], v4].concat());
    add("cooked, vlan", 113, false, [&cooked[..], &[0x81, 0, 0, 7, 8, 0], v4].concat());
    add("cooked, version 2", 276, true, {
        [&[0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], v6].concat()
    });
    add("ppp", 9, false, [&[0xff, 3, 0, 0x21][..], v4].concat());
    add("ppp without address and control", 9, true, [&[0, 0x57][..], v6].concat());
    add("ppp, compressed protocol", 9, false, [&[0xff, 3, 0x21][..], v4].concat());
    add("ppp over a serial line", 50, false, [&[0xff, 3, 0, 0x21][..], v4].concat());
    add("cisco hdlc over a serial line", 50, false, [&[0x0f, 0, 8, 0][..], v4].concat());
    add("cisco hdlc", 104, true, [&[0x8f, 0, 0x86, 0xdd][..], v6].concat());
    add("ppp with a direction", 204, false, [&[1, 0xff, 3, 0, 0x21][..], v4].concat());
    add("pppoe", 51, false, pppoe(v4));
    add("802.11 data", 105, false, wifi(0x08, 0x01, &[], &snap(0x0800, v4)));
    add("802.11 with four addresses", 105, false, wifi(0x08, 0x03, &[2; 6], &snap(0x0800, v4)));
    add("802.11 qos data", 105, true, wifi(0x88, 0x02, &[0, 0], &snap(0x86dd, v6)));
    add("802.11 qos data with ht control", 105, false, wifi(0x88, 0x82, &[0, 0, 1, 2, 3, 4], &snap(0x0800, v4)));
    let radiotap = [0, 0, 18, 0, 0x2e, 0x48, 0, 0, 0x10, 2, 0x6c, 9, 0xa0, 0, 0xc6, 7, 0, 0];
    let with_fcs = [&wifi(0x08, 0x01, &[], &snap(0x0800, v4))[..], &[1, 2, 3, 4]].concat();
    add("radiotap", 127, false, [&radiotap[..], &with_fcs].concat());
    add("prism", 119, false, [&prism()[..], &with_fcs].concat());
    add("avs", 163, false, [&avs()[..], &wifi(0x08, 0x01, &[], &snap(0x0800, v4))].concat());
    add("ppi", 192, false, [&[0, 0, 8, 0, 105, 0, 0, 0][..], &wifi(0x08, 0x01, &[], &snap(0x0800, v4))].concat());
    add("fddi", 10, false, [&[0x57][..], &[2; 12], &snap(0x0800, v4)].concat());
    add("token ring", 6, false, [&[0x10, 0x40][..], &[2; 12], &snap(0x0800, v4)].concat());
    add("atm", 100, false, snap(0x0800, v4));
    add("frame relay", 107, false, [&[0x18, 0x41, 3, 0xcc][..], v4].concat());
    add("ip over fibre channel", 122, false, [&[0; 16][..], &snap(0x0800, v4)].concat());
    add("ip over firewire", 138, false, [&[2; 16][..], &[8, 0], v4].concat());
    add("openbsd's encapsulating interface", 109, false, [&[2, 0, 0, 0][..], &[0; 8], v4].concat());
    add("mpls", 219, false, [&mpls(&[16])[..], v4].concat());
    add("nflog", 239, false, {
        let payload = (v4.len() as u16 + 4).to_le_bytes();
        [&[2, 0, 0, 0, 8, 0, 1, 0, 8, 0, 0, 0, 5, 0, 10, 0, 0, 0, 0, 0][..], &payload, &[9, 0], v4].concat()
    });
    add("juniper, ethernet", 178, false, [&b"MGC\x01"[..], &ethernet(0x0800, v4)].concat());
    add("juniper with extensions", 179, false, [&b"MGC\x80\0\x06\x01\x04\0\0\0\0\xff\x03\0\x21"[..], v4].concat());
    add("juniper without link layer", 178, false, [&b"MGC\x02\x02\0\0\0"[..], v4].concat());
    add("arcnet by rfc 1051", 7, false, [&[1, 2, 240][..], v4].concat());
    add("arcnet of linux", 129, false, [&[1, 2, 0, 0, 212, 0, 0, 1][..], v4].concat());
    add("mpacket", 274, false, [&[0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0xd5][..], &ethernet(0x0800, v4)].concat());
    add("broadcom tag", 281, false, [&[2; 12][..], &[0, 0, 0, 1, 8, 0], v4].concat());
    add("broadcom tag in front", 282, false, [&[0, 0, 0, 1][..], &ethernet(0x0800, v4)].concat());
    add("marvell tag", 284, false, [&[2; 12][..], &[0, 0, 0, 1, 8, 0], v4].concat());
    add(
        "marvell tag with an ethertype",
        285,
        false,
        [&[2; 12][..], &[0xda, 0xda, 0, 0, 0, 0, 0, 1, 8, 0], v4].concat(),
    );
    add("netanalyzer", 240, false, [&[0, 0, 0, 0][..], &ethernet(0x0800, v4), &[0; 4]].concat());
}

fn tags(add: Add) {
    let (v4, v6) = (&packet4()[..], &packet6()[..]);
    add("vlan", ETHERNET, false, ethernet(0x8100, &[&[0, 5, 8, 0][..], v4].concat()));
    add("priority tag", ETHERNET, true, ethernet(0x8100, &[&[0xe0, 0, 0x86, 0xdd][..], v6].concat()));
    add("qinq", ETHERNET, false, ethernet(0x88a8, &[&[0, 5, 0x81, 0, 0, 6, 8, 0][..], v4].concat()));
    add("old qinq", ETHERNET, false, ethernet(0x9100, &[&[0, 5, 0x81, 0, 0, 6, 8, 0][..], v4].concat()));
    add("vlan with snap", ETHERNET, false, {
        let llc = snap(0x0800, v4);
        ethernet(0x8100, &[&[0, 5][..], &(llc.len() as u16).to_be_bytes(), &llc].concat())
    });
    add("pppoe on ethernet", ETHERNET, false, ethernet(0x8864, &pppoe(v4)));
    add("mpls, ipv4", ETHERNET, false, ethernet(0x8847, &[&mpls(&[16, 17])[..], v4].concat()));
    add("mpls, ipv6", ETHERNET, true, ethernet(0x8847, &[&mpls(&[2])[..], v6].concat()));
    // Wireshark tells a control word by whether known makers' numbers come without it.
    let frame = [&[0, 0x0c, 0x29, 7, 7, 2, 0, 0x50, 0x56, 7, 7, 1, 8, 0][..], v4].concat();
    add("mpls pseudowire with control word", ETHERNET, false, {
        ethernet(0x8847, &[&mpls(&[16])[..], &[0; 4], &frame].concat())
    });
    add("mpls pseudowire", ETHERNET, false, ethernet(0x8847, &[&mpls(&[16])[..], &frame].concat()));
    add("provider backbone", ETHERNET, false, ethernet(0x88e7, &[&[0, 0, 1, 2][..], &ethernet(0x0800, v4)].concat()));
    add("macsec, not encrypted", ETHERNET, false, {
        ethernet(0x88e5, &[&[0x20, 0, 0, 0, 0, 1][..], &[2; 8], &[8, 0], v4, &[7; 16]].concat())
    });
    add("nsh", ETHERNET, false, ethernet(0x894f, &[&[0, 2, 2, 1, 0, 0, 1, 0xff][..], v4].concat()));
    add("trill", ETHERNET, false, ethernet(0x22f3, &[&[0, 0x3f, 0, 1, 0, 2][..], &ethernet(0x0800, v4)].concat()));
    add("vn-tag", ETHERNET, false, ethernet(0x8926, &[&[0, 0, 0, 1, 8, 0][..], v4].concat()));
    add("redundancy tag", ETHERNET, false, ethernet(0xf1c1, &[&[0, 0, 0, 9, 8, 0][..], v4].concat()));
    add("arista's time stamp", ETHERNET, false, {
        ethernet(0xd28b, &[&[0, 1, 1, 0x10, 1, 2, 3, 4, 5, 6, 7, 8, 8, 0][..], v4].concat())
    });
    add("batman", ETHERNET, false, {
        ethernet(0x4305, &[&[0x40, 15, 50, 1, 2, 2, 2, 2, 2, 2][..], &ethernet(0x0800, v4)].concat())
    });
    add("fabric path, with its fcs", ETHERNET, false, {
        ethernet(0x8903, &[&[0, 0x41][..], &ethernet(0x0800, v4), &[0; 4]].concat())
    });
    add("bridged ppp", ETHERNET, false, {
        let frame = [&[0, 0x31, 0, 1][..], &ethernet(0x0800, v4)].concat();
        ethernet(0x8864, &[&[0x11, 0, 0, 7][..], &(frame.len() as u16).to_be_bytes(), &frame].concat())
    });
    add("hsr", ETHERNET, false, ethernet(0x892f, &[&[0, 60, 0, 9, 8, 0][..], v4].concat()));
}

fn extension_headers(add: Add) {
    let tcp = &segment()[..];
    let options = [60, 0, 1, 4, 0, 0, 0, 0];
    add("hop-by-hop and destination options", ETHERNET, true, {
        ethernet(0x86dd, &ip6(0, &[&options[..], &[6, 0, 1, 4, 0, 0, 0, 0], tcp].concat()))
    });
    add("routing header", ETHERNET, true, {
        ethernet(0x86dd, &ip6(43, &[&[6, 2, 0, 0, 0, 0, 0, 0][..], &[1; 16], tcp].concat()))
    });
    add("atomic fragment", ETHERNET, true, ethernet(0x86dd, &ip6(44, &[&[6, 0, 0, 0, 0, 0, 0, 9][..], tcp].concat())));
    let authentication = [6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    add("authentication header", ETHERNET, false, ethernet(0x0800, &ip4(51, &[&authentication[..], tcp].concat())));
    add(
        "authentication header, ipv6",
        ETHERNET,
        true,
        ethernet(0x86dd, &ip6(51, &[&authentication[..], tcp].concat())),
    );
    add("ip options", ETHERNET, false, {
        let mut packet = ip4(6, &[&[1, 1, 1, 0][..], tcp].concat());
        packet[0] = 0x46;
        ethernet(0x0800, &packet)
    });
}

fn ip_tunnels(add: Add) {
    let (v4, v6) = (&packet4()[..], &packet6()[..]);
    let gre = |flags: u16, kind: u16, rest: &[u8]| [&flags.to_be_bytes()[..], &kind.to_be_bytes(), rest].concat();
    add("ip in ip", 101, false, ip4(4, v4));
    add("6in4", 101, true, ip4(41, v6));
    add("4in6", 101, false, ip6(4, v4));
    add("6in6", 101, true, ip6(41, v6));
    add("gre", 101, false, ip4(47, &gre(0, 0x0800, v4)));
    add("gre, ipv6 in ipv6", 101, true, ip6(47, &gre(0, 0x86dd, v6)));
    add("gre with checksum, key and sequence", 101, false, {
        ip4(47, &gre(0xb000, 0x0800, &[&[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1][..], v4].concat()))
    });
    add("gre with routing", 101, false, {
        ip4(47, &gre(0x4000, 0x0800, &[&[0, 0, 0, 0, 8, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0][..], v4].concat()))
    });
    add("transparent bridging", 101, false, ip4(47, &gre(0, 0x6558, &ethernet(0x0800, v4))));
    add("nvgre", 101, false, ip4(47, &gre(0x2000, 0x6558, &[&[0, 0, 9, 1][..], &ethernet(0x0800, v4)].concat())));
    add("mpls in gre", 101, false, ip4(47, &gre(0, 0x8847, &[&mpls(&[16])[..], v4].concat())));
    add("pptp", 101, false, {
        let ppp = [&[0xff, 3, 0, 0x21][..], v4].concat();
        let length = (ppp.len() as u16).to_be_bytes();
        ip4(47, &gre(0x3081, 0x880b, &[&length[..], &[0, 9, 0, 0, 0, 1, 0, 0, 0, 2], &ppp].concat()))
    });
    add("erspan, type 1", 101, false, ip4(47, &gre(0, 0x88be, &ethernet(0x0800, v4))));
    add("erspan, type 2", 101, false, {
        ip4(47, &gre(0x1000, 0x88be, &[&[0, 0, 0, 1, 0x10, 5, 0, 9, 0, 0, 0, 0][..], &ethernet(0x0800, v4)].concat()))
    });
    for (name, flags, more) in [("erspan, type 3", 0, 0), ("erspan, type 3 with platform header", 1, 8)] {
        let header = [&[0, 0, 0, 1, 0x20, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, flags][..], &vec![0; more]].concat();
        add(name, 101, false, ip4(47, &gre(0x1000, 0x22eb, &[&header[..], &ethernet(0x0800, v4)].concat())));
    }
    add("wccp, version 2", 101, false, ip4(47, &gre(0, 0x883e, &[&[0, 0, 0, 0][..], v4].concat())));
    add("aruba", 101, false, ip4(47, &gre(0, 0x8200, &wifi(0x08, 0x01, &[], &snap(0x0800, v4)))));
    add("eoip", 101, false, {
        let frame = ethernet(0x0800, v4);
        let length = (frame.len() as u16).to_be_bytes();
        ip4(47, &gre(0x2001, 0x6400, &[&length[..], &[7, 0], &frame].concat()))
    });
    add("ethernet in ip", 101, false, ip4(97, &[&[0x30, 0][..], &ethernet(0x0800, v4)].concat()));
    add("mpls in ip", 101, false, ip4(137, &[&mpls(&[16])[..], v4].concat()));
}

fn udp_tunnels(add: Add) {
    let (v4, v6) = (&packet4()[..], &packet6()[..]);
    let over = |port: u16, rest: &[&[u8]]| ip4(17, &udp(port, &rest.concat()));
    add("vxlan", 101, false, over(4789, &[&[8, 0, 0, 0, 0, 0, 7, 0], &ethernet(0x0800, v4)]));
    add("vxlan over ipv6", 101, true, {
        ip6(17, &udp(4789, &[&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet(0x86dd, v6)].concat()))
    });
    add("vxlan of linux", 101, false, over(8472, &[&[8, 0, 0, 0, 0, 0, 7, 0], &ethernet(0x0800, v4)]));
    add("vxlan-gpe", 101, false, over(4790, &[&[0x0c, 0, 0, 1, 0, 0, 7, 0], v4]));
    add("vxlan-gpe, ethernet", 101, false, over(4790, &[&[0x0c, 0, 0, 3, 0, 0, 7, 0], &ethernet(0x0800, v4)]));
    add("geneve", 101, false, over(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 7, 0], &ethernet(0x0800, v4)]));
    add("geneve with options", 101, false, {
        over(6081, &[&[2, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 1, 0, 0, 0, 0], &ethernet(0x0800, v4)])
    });
    add("geneve, ip", 101, true, over(6081, &[&[0, 0, 0x86, 0xdd, 0, 0, 7, 0], v6]));
    let length = |more: usize| ((v4.len() + more) as u16).to_be_bytes();
    add("gtp", 101, false, over(2152, &[&[0x30, 255], &length(0), &[0, 0, 0, 7], v4]));
    add("gtp with sequence", 101, false, over(2152, &[&[0x32, 255], &length(4), &[0, 0, 0, 7, 0, 1, 0, 0], v4]));
    add("gtp with extension headers", 101, false, {
        let extensions = [0, 0, 0, 0x85, 1, 0x10, 9, 0xc0, 1, 0, 0, 0];
        over(2152, &[&[0x34, 255], &length(12), &[0, 0, 0, 7], &extensions, v4])
    });
    add("teredo", 101, true, over(3544, &[v6]));
    add("teredo with origin", 101, true, over(3544, &[&[0, 0, 1, 2, 3, 4, 5, 6], v6]));
    add("teredo with authentication and origin", 101, true, {
        over(3544, &[&[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0], &[0, 0, 1, 2, 3, 4, 5, 6], v6])
    });
    add("ayiya", 101, true, over(5072, &[&[0x42, 0x52, 0x11, 41, 0, 0, 0, 0], &[1; 16], &[2; 20], v6]));
    add("gre over udp", 101, false, over(4754, &[&[0, 0, 8, 0], v4]));
    add("mpls over udp", 101, false, over(6635, &[&mpls(&[16]), v4]));
    add("lisp", 101, false, over(4341, &[&[0x80, 0, 0, 1, 0, 0, 0, 1], v4]));
    let ppp = [&[0xff, 3, 0, 0x21][..], v4].concat();
    add("l2tp", 101, false, {
        over(1701, &[&[0x48, 2], &(ppp.len() as u16 + 12).to_be_bytes(), &[0, 1, 0, 2, 0, 3, 0, 4], &ppp])
    });
    add("l2tp without options", 101, false, over(1701, &[&[0, 2, 0, 1, 0, 2], &ppp]));
    add("tzsp", 101, false, over(37008, &[&[1, 0, 0, 1, 0, 10, 1, 0xc0, 1], &ethernet(0x0800, v4)]));
    for (name, control, flags) in [("capwap", 0x08, 0x01), ("capwap, frame control swapped", 0x01, 0x08)] {
        add(name, 101, false, {
            over(5247, &[&[0, 0x10, 0x43, 0, 0, 0, 0, 0], &wifi(control, flags, &[], &snap(0x0800, v4))])
        });
    }
}

#[test]
fn the_segment_is_found_in_every_encapsulation() {
    for case in cases() {
        let file = capture(&format!("one-{}", case.link), case.link, &[&case.octets]);
        let found = decoder(&file).segments.remove(&1).unwrap_or_default();
        assert_eq!(found, [wanted(&case)], "{}", case.name);
    }
}

#[test]
fn tshark_finds_the_same() {
    if !tshark_is_there() {
        eprintln!("SKIPPED: no tshark 4, encapsulations are not compared with its reading");
        return;
    }
    let cases = cases();
    let mut links: Vec<u32> = cases.iter().map(|case| case.link).collect();
    links.sort_unstable();
    links.dedup();
    let mut failures = Vec::new();
    for link in links {
        let cases: Vec<&Case> = cases.iter().filter(|case| case.link == link).collect();
        let frames: Vec<&[u8]> = cases.iter().map(|case| &case.octets[..]).collect();
        let theirs = tshark(&capture("all", link, &frames));
        for (case, number) in cases.iter().zip(1..) {
            let found = theirs.segments.get(&number).map_or(&[][..], |found| found);
            if (found == [wanted(case)]) != case.tshark {
                failures.push(format!("link type {link}, {}: tshark sees {found:?}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// What tells what a segment does is all up to its window: a capture may end behind that.
#[test]
fn a_header_that_is_cut_behind_its_window_is_a_segment() {
    const IPV4: usize = 14 + 20;
    const IPV6: usize = 14 + 40;
    let whole = [(IPV4, ethernet(0x0800, &packet4())), (IPV6, ethernet(0x86dd, &packet6()))];
    for (before, frame) in whole {
        for kept in 0..=20 {
            let octets = pcap(ETHERNET, &[(&frame[..before + kept], frame.len() as u32)]);
            let file = temporary(&format!("header-{before}-{kept}"), &octets);
            let wanted = if kept < 16 { Vec::new() } else { vec![wanted_over(before == IPV6)] };
            assert_eq!(decoder(&file).segments.remove(&1).unwrap_or_default(), wanted, "{kept} octets");
            if tshark_is_there() {
                let theirs = tshark(&file).segments.remove(&1).unwrap_or_default();
                assert_eq!(theirs, wanted, "{kept} octets, to tshark");
            }
        }
    }
}

/// A datagram in fragments that come in any order is the segment it was; so is one whose fragments come twice.
#[test]
fn fragments_are_put_together_as_tshark_does() {
    let payload: Vec<u8> = (0..100).collect();
    let whole = tcp(&payload);
    let piece4 = |from: usize, to: usize| {
        let mut packet = ip4(6, &whole[from..to]);
        let field = (from as u16 / 8) | if to < whole.len() { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        packet
    };
    let piece6 = |from: usize, to: usize| {
        let field = (from as u16) | u16::from(to < whole.len());
        ip6(44, &[&[6, 0][..], &field.to_be_bytes(), &[0, 0, 0, 9], &whole[from..to]].concat())
    };
    let end = whole.len();
    let frames = [
        // In order, the other way round, with a copy of each, and overlapping.
        vec![piece4(0, 40), piece4(40, 80), piece4(80, end)],
        vec![piece6(80, end), piece6(40, 80), piece6(0, 40)],
        vec![piece4(0, 40), piece4(0, 40), piece4(40, end)],
        vec![piece4(0, 48), piece4(40, end)],
        // A later fragment alone holds nothing that can be told.
        vec![piece6(40, end)],
    ];
    for (frames, number) in frames.iter().zip(0..) {
        let octets: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).collect();
        let file = capture(&format!("fragments-{number}"), 101, &octets);
        let ours = decoder(&file).segments;
        if number < 4 {
            let (frame, seen) = ours.first_key_value().expect("the fragments make a segment");
            assert_eq!((*frame, seen[0].len, ours.len()), (frames.len() as u64, 100, 1), "set {number}");
        } else {
            assert!(ours.is_empty(), "set {number}");
        }
        if tshark_is_there() {
            assert_eq!(ours, tshark(&file).segments, "set {number}");
        }
    }
}

fn wanted(case: &Case) -> Seen {
    wanted_over(case.v6)
}

fn wanted_over(v6: bool) -> Seen {
    let (src, dst) = if v6 { ("2001:db8::1 1234", "2001:db8::2 80") } else { ("10.1.1.1 1234", "10.2.2.2 80") };
    Seen { src: src.to_owned(), dst: dst.to_owned(), flags: 0x18, seq: 1000, len: 5 }
}

/// A frame that was damaged on its way, or of which the capture kept less than there was.
fn damaged(cases: &[Case]) -> impl Strategy<Value = (u32, Vec<u8>, u32)> {
    let frames: Vec<(u32, Vec<u8>)> = cases.iter().map(|case| (case.link, case.octets.clone())).collect();
    let flips = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5);
    (prop::sample::select(frames), flips, any::<prop::sample::Index>(), 0u32..3, any::<bool>()).prop_map(
        |((link, mut octets), flips, cut, lacking, cuts)| {
            for (at, octet) in flips {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
            let wire = octets.len() as u32 + lacking * 100;
            octets.truncate(if cuts { cut.index(octets.len()) } else { octets.len() });
            (link, octets, wire)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Whatever comes, each frame is counted once, and packets point at octets of their frame.
    #[test]
    fn damage_is_counted_and_nothing_else((link, octets, wire) in damaged(&cases())) {
        let mut chunk = Chunk { bytes: pcap(link, &[(&octets, wire)]), ..Chunk::default() };
        prop_assume!(Reader::new(0).read(&mut chunk).is_ok());
        let mut decoded = Decoded::default();
        let mut decoder = Decoder::new(Checksums::Count, 1);
        decoder.decode(&chunk, &mut decoded);
        let counts = decoder.counts();
        let told = counts.other + counts.malformed + counts.cut + counts.unknown_link;
        let waits = u64::from(counts.fragments > 0);
        let gave = u64::from(!decoded.packets.is_empty());
        prop_assert!(told + gave == 1 || (told + gave == 0 && waits == 1), "{counts:?}");
        prop_assert_eq!(decoded.packets.len() as u64, counts.segments + counts.icmp_errors);
        for packet in &decoded.packets {
            let (options, payload) = decoded.tail_of(packet, &chunk.bytes);
            prop_assert_eq!(options.len(), usize::from(packet.tail.options));
            prop_assert_eq!(payload.len(), packet.tail.payload as usize);
            if let Body::Tcp(segment) = packet.body {
                prop_assert!(packet.tail.payload <= segment.len && segment.len <= wire);
                let is_cut = packet.notes.contains(Notes::HEADER_CUT);
                prop_assert_eq!(decoded.header_of(packet, &chunk.bytes).is_none(), is_cut);
            }
        }
    }
}

/// Equal neighbours share their list of layers, and so do the two directions of a tunnel.
#[test]
fn layers_are_listed_once() {
    for case in cases() {
        let frames = vec![(&case.octets[..], case.octets.len() as u32); 100];
        let mut chunk = Chunk { bytes: pcap(case.link, &frames), ..Chunk::default() };
        Reader::new(0).read(&mut chunk).expect("the capture is whole");
        let mut decoded = Decoded::default();
        Decoder::new(Checksums::Count, 1).decode(&chunk, &mut decoded);
        assert_eq!(decoded.packets.len(), 100, "{}", case.name);
        assert!(decoded.layers.len() <= 1, "{}: {:?}", case.name, decoded.layers);
    }
}

/// Where the fuzzer starts from: frames of each link type, as `tests/fuzz` reads them. `UPDATE_SEEDS=1` writes them.
#[test]
fn the_fuzzer_knows_every_encapsulation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds/decode");
    let mut seeds: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for case in cases() {
        let byte = match case.link {
            258 => 254,
            276 => 255,
            link if link < 254 => link as u8,
            _ => continue,
        };
        let seed = seeds.entry(case.link).or_default();
        seed.extend([byte, 0]);
        seed.extend((case.octets.len() as u16).to_le_bytes());
        seed.extend(case.octets);
    }
    for (link, seed) in seeds {
        let path = folder.join(format!("link-{link}"));
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            fs::create_dir_all(&folder).expect("a folder can be made");
            fs::write(&path, &seed).expect("a seed can be written");
        }
        let there = fs::read(&path).unwrap_or_default();
        assert!(there == seed, "{} is not what is tested here: UPDATE_SEEDS=1 writes it", path.display());
    }
}

/// A pcap file of the given link type.
fn capture(name: &str, link: u32, frames: &[&[u8]]) -> PathBuf {
    let frames: Vec<(&[u8], u32)> = frames.iter().map(|frame| (*frame, frame.len() as u32)).collect();
    temporary(&format!("{name}-{link}"), &pcap(link, &frames))
}

fn temporary(name: &str, octets: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("encapsulations-{name}.pcap"));
    fs::write(&path, octets).expect("a capture can be written");
    path
}

/// The contents of a pcap file: frames with their length on the wire.
fn pcap(link: u32, frames: &[(&[u8], u32)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, link] {
        file.extend(word.to_le_bytes());
    }
    for (frame, wire) in frames {
        for word in [1_700_000_000, 0, frame.len() as u32, *wire] {
            file.extend(word.to_le_bytes());
        }
        file.extend_from_slice(frame);
    }
    file
}

fn segment() -> Vec<u8> {
    tcp(b"hello")
}

fn packet4() -> Vec<u8> {
    ip4(6, &segment())
}

fn packet6() -> Vec<u8> {
    ip6(6, &segment())
}

fn tcp(payload: &[u8]) -> Vec<u8> {
    let header = [0x04, 0xd2, 0, 80, 0, 0, 3, 0xe8, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0];
    [&header[..], payload].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16 + 8).to_be_bytes();
    [&[0xc0, 0][..], &port.to_be_bytes(), &length, &[0, 0], payload].concat()
}

fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16 + 20).to_be_bytes();
    let ends = [10, 1, 1, 1, 10, 2, 2, 2];
    [&[0x45, 0][..], &length, &[0, 9, 0, 0, 64, protocol, 0, 0], &ends, payload].concat()
}

fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    let end = |last| [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&[0x60, 0, 0, 0][..], &length, &[next, 64], &end(1), &end(2), payload].concat()
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &kind.to_be_bytes(), payload].concat()
}

fn snap(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xaa, 0xaa, 3, 0, 0, 0][..], &kind.to_be_bytes(), payload].concat()
}

fn pppoe(packet: &[u8]) -> Vec<u8> {
    let length = (packet.len() as u16 + 2).to_be_bytes();
    [&[0x11, 0, 0, 7][..], &length, &[0, 0x21], packet].concat()
}

fn mpls(labels: &[u32]) -> Vec<u8> {
    let entry = |(at, label): (usize, &u32)| {
        let bottom = u32::from(at + 1 == labels.len());
        (label << 12 | bottom << 8 | 64).to_be_bytes()
    };
    labels.iter().enumerate().flat_map(entry).collect()
}

/// A MAC frame; `more` is what follows the third address and the sequence number.
fn wifi(control: u8, flags: u8, more: &[u8], body: &[u8]) -> Vec<u8> {
    [&[control, flags, 0, 0][..], &[2; 18], &[0, 0], more, body].concat()
}

fn prism() -> Vec<u8> {
    [&[0x44, 0, 0, 0, 144, 0, 0, 0][..], &[0; 136]].concat()
}

fn avs() -> Vec<u8> {
    [&[0x80, 0x21, 0x10, 1, 0, 0, 0, 64][..], &[0; 56]].concat()
}
