//! Numbers and addresses as tcpdump writes them, appended to a buffer: no formatting machinery, nothing allocated.

use std::net::Ipv4Addr;

use observer::packet::{Address, IpVersion};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A decimal number.
pub fn decimal(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A decimal number of at least `width` places, filled up on the left with `fill`.
pub fn padded(out: &mut Vec<u8>, number: impl itoa::Integer, width: usize, fill: u8) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    out.extend((digits.len()..width).map(|_| fill));
    out.extend_from_slice(digits);
}

/// A hexadecimal number without leading zeros.
pub fn hex(out: &mut Vec<u8>, number: u64) {
    let places = (u64::BITS - (number | 1).leading_zeros()).div_ceil(4);
    out.extend((0..places).rev().map(|place| nibble(number >> (4 * place))));
}

/// Octets, two hexadecimal digits each.
pub fn hex_octets(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend(octets.iter().flat_map(|&octet| [nibble(u64::from(octet >> 4)), nibble(u64::from(octet))]));
}

/// An address.
pub fn address(out: &mut Vec<u8>, address: &Address, version: IpVersion) {
    let [.., a, b, c, d] = address.0;
    match version {
        IpVersion::V4 => v4(out, Ipv4Addr::new(a, b, c, d)),
        IpVersion::V6 => v6(out, &address.0),
    }
}

/// An IPv4 address.
pub fn v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let [a, b, c, d] = address.octets();
    decimal(out, a);
    for octet in [b, c, d] {
        out.push(b'.');
        decimal(out, octet);
    }
}

/// An IPv6 address: the first of the longest runs of two or more zero groups is `::`, and the last 32 bits of
/// `::a.b.c.d` and `::ffff:a.b.c.d` are written as an IPv4 address.
pub fn v6(out: &mut Vec<u8>, octets: &[u8; 16]) {
    let mut groups = [0u16; 8];
    for (group, pair) in groups.iter_mut().zip(octets.as_chunks().0) {
        *group = u16::from_be_bytes(*pair);
    }
    let (start, length) = longest_zeros(&groups);
    let [.., a, b, c, d] = *octets;
    let holds_v4 = start == 0 && (length == 6 || (length == 5 && groups[5] == 0xffff));
    let shown = if holds_v4 { 6 } else { groups.len() };
    for (i, &group) in groups.iter().enumerate().take(shown) {
        if (start..start + length).contains(&i) {
            if i == start {
                out.push(b':');
            }
            continue;
        }
        if i != 0 {
            out.push(b':');
        }
        hex(out, u64::from(group));
    }
    if holds_v4 {
        out.push(b':');
        v4(out, Ipv4Addr::new(a, b, c, d));
    } else if length > 0 && start + length == groups.len() {
        out.push(b':');
    }
}

/// Where the first of the longest runs of zeros starts, and its length; 0 where none is longer than one.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut run) = ((0, 0), (0, 0));
    for (i, &group) in groups.iter().enumerate() {
        run = if group == 0 { (run.0, run.1 + 1) } else { (i + 1, 0) };
        if run.1 > best.1.max(1) {
            best = run;
        }
    }
    best
}

fn nibble(number: u64) -> u8 {
    HEX[(number & 0xf) as usize]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn addresses_as_tcpdump_writes_them() {
        // Given, and what tcpdump 4.99.3 made of it.
        for (given, want) in [
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("fe80::1:0:0:2", "fe80::1:0:0:2"),
            ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
            ("1:0:0:2:3:0:0:4", "1::2:3:0:0:4"),
            ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"),
            ("0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"),
            ("::ffff:10.1.2.3", "::ffff:10.1.2.3"),
            ("::10.1.2.3", "::10.1.2.3"),
            ("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ff0f", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ff0f"),
        ] {
            let mut out = Vec::new();
            v6(&mut out, &given.parse::<Ipv6Addr>().expect("an address").octets());
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }

    #[test]
    fn numbers() {
        let mut out = Vec::new();
        hex(&mut out, 0);
        out.push(b' ');
        hex(&mut out, 0x10);
        out.push(b' ');
        hex(&mut out, u64::MAX);
        out.push(b' ');
        padded(&mut out, 7u32, 3, b'0');
        padded(&mut out, 1234u32, 3, b' ');
        out.push(b' ');
        hex_octets(&mut out, &[0, 0xaf]);
        assert_eq!(String::from_utf8_lossy(&out), "0 10 ffffffffffffffff 0071234 00af");
    }
}
