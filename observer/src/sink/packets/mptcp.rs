//! Multipath TCP options (RFC 6824, RFC 8684) as tcpdump 4.99 prints them.

use std::net::Ipv4Addr;

use observer::packet::Flags;

use super::text::{decimal, hex, hex_octets, v4, v6};

/// Appends length, subtype and contents of an option, given what follows kind and length; false where it cannot be.
pub fn write(out: &mut Vec<u8>, data: &[u8], flags: Flags) -> bool {
    let Some(&first) = data.first() else { return false };
    out.push(b' ');
    decimal(out, data.len() + 2);
    let (name, write): (&[u8], Subtype) = match first >> 4 {
        0 => (b" capable", capable),
        1 => (b" join", join),
        2 => (b" dss", dss),
        3 => (b" add-addr", add_address),
        4 => (b" rem-addr", remove_address),
        5 => (b" prio", priority),
        6 => (b" fail", fail),
        7 => (b" fast-close", fast_close),
        // A reset (8) is younger than tcpdump 4.99.
        _ => (b" unknown", |_, _, _| Some(())),
    };
    out.extend_from_slice(name);
    write(out, data, flags).is_some()
}

/// Prints one subtype, given what follows kind and length; `None` where it cannot be.
type Subtype = fn(&mut Vec<u8>, &[u8], Flags) -> Option<()>;

fn capable(out: &mut Vec<u8>, data: &[u8], flags: Flags) -> Option<()> {
    let fits = match data.len() {
        2 | 10 => flags.contains(Flags::SYN),
        18 | 20 => flags.contains(Flags::ACK) && !flags.contains(Flags::SYN),
        _ => false,
    };
    let (&[first, flags], keys) = data.split_first_chunk().filter(|_| fits)?;
    match first & 0xf {
        version @ (0 | 1) => {
            out.extend_from_slice(b" v");
            decimal(out, version);
        }
        version => {
            out.extend_from_slice(b" Unknown Version (");
            decimal(out, version);
            out.push(b')');
            return Some(());
        }
    }
    if flags & 0x80 != 0 {
        out.extend_from_slice(b" csum");
    }
    // A length of 20 is both keys and the length of data that comes with them.
    for (key, before) in keys.as_chunks().0.iter().zip([&b" {0x"[..], b",0x"]) {
        out.extend_from_slice(before);
        hex(out, u64::from_be_bytes(*key));
    }
    if !keys.is_empty() {
        out.push(b'}');
    }
    Some(())
}

fn join(out: &mut Vec<u8>, data: &[u8], flags: Flags) -> Option<()> {
    let (&[first, id], rest) = data.split_first_chunk()?;
    let fits = match rest.len() {
        8 => flags.contains(Flags::SYN),
        12 => flags.is_syn_ack(),
        20 => flags.contains(Flags::ACK),
        _ => false,
    };
    if !fits {
        return None;
    }
    if rest.len() == 20 {
        out.extend_from_slice(b" hmac 0x");
        hex_octets(out, rest);
        return Some(());
    }
    if first & 1 != 0 {
        out.extend_from_slice(b" backup");
    }
    labelled(out, b" id ", id);
    let (proof, nonce) = rest.split_last_chunk()?;
    if let Ok(token) = proof.try_into() {
        out.extend_from_slice(b" token 0x");
        hex(out, u64::from(u32::from_be_bytes(token)));
    } else {
        let hmac = proof.try_into().ok()?;
        out.extend_from_slice(b" hmac 0x");
        hex(out, u64::from_be_bytes(hmac));
    }
    out.extend_from_slice(b" nonce 0x");
    hex(out, u64::from(u32::from_be_bytes(*nonce)));
    Some(())
}

fn dss(out: &mut Vec<u8>, data: &[u8], flags: Flags) -> Option<()> {
    let (&[_, contents], mut rest) = data.split_first_chunk()?;
    if flags.contains(Flags::SYN) {
        return None;
    }
    let has = |bit: u8| contents & bit != 0;
    if has(0x10) {
        out.extend_from_slice(b" fin");
    }
    if has(0x01) {
        out.extend_from_slice(b" ack ");
        decimal(out, take_number(&mut rest, has(0x02))?);
    }
    if has(0x04) {
        out.extend_from_slice(b" seq ");
        decimal(out, take_number(&mut rest, has(0x08))?);
        labelled(out, b" subseq ", u32::from_be_bytes(take(&mut rest)?));
        labelled(out, b" len ", u16::from_be_bytes(take(&mut rest)?));
        if let Some(checksum) = take(&mut rest) {
            out.extend_from_slice(b" csum 0x");
            hex(out, u64::from(u16::from_be_bytes(checksum)));
        }
    }
    rest.is_empty().then_some(())
}

fn add_address(out: &mut Vec<u8>, data: &[u8], _: Flags) -> Option<()> {
    let (&[first, id], mut rest) = data.split_first_chunk()?;
    // With or without a port (2 octets), with or without a truncated HMAC (8 octets).
    let (is_v4, rest_of_address) = match rest.len() {
        length @ (4 | 6 | 12 | 14) => (true, length - 4),
        length @ (16 | 18 | 24 | 26) => (false, length - 16),
        _ => return None,
    };
    out.extend_from_slice(match first & 0xf {
        0 => b" v1",
        1 => b" v1-echo",
        4 => b" v0-ip4",
        6 => b" v0-ip6",
        _ => b" [bad version/echo]",
    });
    labelled(out, b" id ", id);
    out.push(b' ');
    if is_v4 {
        v4(out, Ipv4Addr::from_octets(take(&mut rest)?));
    } else {
        v6(out, &take(&mut rest)?);
    }
    if rest_of_address % 8 == 2 {
        labelled(out, b":", u16::from_be_bytes(take(&mut rest)?));
    }
    if rest_of_address >= 8 {
        let hmac = take(&mut rest)?;
        out.extend_from_slice(b" hmac 0x");
        hex(out, u64::from_be_bytes(hmac));
    }
    Some(())
}

fn remove_address(out: &mut Vec<u8>, data: &[u8], _: Flags) -> Option<()> {
    let [_, ids @ ..] = data else { return None };
    if ids.is_empty() {
        return None;
    }
    out.extend_from_slice(b" id");
    for id in ids {
        labelled(out, b" ", *id);
    }
    Some(())
}

fn priority(out: &mut Vec<u8>, data: &[u8], _: Flags) -> Option<()> {
    let (&[first] | &[first, _]) = data else { return None };
    out.extend_from_slice(if first & 1 != 0 { b" backup" } else { b" non-backup" });
    if let Some(id) = data.get(1) {
        labelled(out, b" id ", *id);
    }
    Some(())
}

fn fail(out: &mut Vec<u8>, data: &[u8], _: Flags) -> Option<()> {
    let [_, _, seq @ ..] = data else { return None };
    labelled(out, b" seq ", u64::from_be_bytes(seq.try_into().ok()?));
    Some(())
}

fn fast_close(out: &mut Vec<u8>, data: &[u8], _: Flags) -> Option<()> {
    let [_, _, key @ ..] = data else { return None };
    let key = key.try_into().ok()?;
    out.extend_from_slice(b" key 0x");
    hex(out, u64::from_be_bytes(key));
    Some(())
}

/// The next `N` octets; nothing is taken where there are fewer.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

/// A number of 8 or 4 octets.
fn take_number(rest: &mut &[u8], long: bool) -> Option<u64> {
    if long { take(rest).map(u64::from_be_bytes) } else { take(rest).map(u32::from_be_bytes).map(u64::from) }
}

fn labelled(out: &mut Vec<u8>, label: &[u8], number: impl itoa::Integer) {
    out.extend_from_slice(label);
    decimal(out, number);
}
