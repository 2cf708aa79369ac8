//! JA3, JA3S (<https://github.com/salesforce/ja3>), JA4 and JA4S (<https://github.com/FoxIO-LLC/ja4>): what a hello looks
//! like, as a short text.

use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::super::text::hex;
use super::Carrier;
use super::hello::{ClientHello, ServerHello, extension, is_grease};

/// JA3 of a ClientHello: MD5 of version, cipher suites, extensions, groups and point formats.
pub(super) fn ja3(hello: &ClientHello) -> String {
    let formats: Vec<u16> = hello.point_formats.iter().map(|format| u16::from(*format)).collect();
    let lists = [&hello.ciphers, &hello.extensions, &hello.groups, &formats].map(|list| decimals(list));
    md5(&format!("{},{}", hello.legacy_version, lists.join(",")))
}

/// JA3S of a ServerHello: MD5 of version, cipher suite and extensions.
pub(super) fn ja3s(hello: &ServerHello) -> String {
    let extensions: Vec<_> = hello.extensions.iter().map(u16::to_string).collect();
    md5(&format!("{},{},{}", hello.legacy_version, hello.cipher, extensions.join("-")))
}

/// What a JA4 begins with: over what TLS is spoken.
const fn transport(carrier: Carrier) -> char {
    match carrier {
        Carrier::Tcp => 't',
        Carrier::Quic => 'q',
        Carrier::Dtls => 'd',
    }
}

/// JA4 of a ClientHello, whatever it goes over.
pub(super) fn ja4(hello: &ClientHello, carrier: Carrier) -> String {
    let real = |list: &[u16]| -> Vec<u16> { list.iter().copied().filter(|value| !is_grease(*value)).collect() };
    let (mut ciphers, mut extensions) = (real(&hello.ciphers), real(&hello.extensions));
    let offered = real(&hello.versions).into_iter();
    // DTLS counts down.
    let newest = if carrier == Carrier::Dtls { offered.min() } else { offered.max() };
    let version = newest.unwrap_or(hello.legacy_version);
    let name = if hello.has(extension::SERVER_NAME) { 'd' } else { 'i' };
    let counts = [ciphers.len(), extensions.len()].map(|count| count.min(99));
    let alpn = ends(hello.alpn.first().map(|name| &**name));
    let [suites, kinds] = counts;
    ciphers.sort_unstable();
    extensions.retain(|kind| ![extension::SERVER_NAME, extension::ALPN].contains(kind));
    extensions.sort_unstable();
    let mut signed = words(&extensions);
    if !hello.signature_algorithms.is_empty() {
        signed = format!("{signed}_{}", words(&hello.signature_algorithms));
    }
    let (ciphers, signed) = (short_hash(&words(&ciphers)), short_hash(&signed));
    let (transport, version) = (transport(carrier), version_digits(version));
    format!("{transport}{version}{name}{suites:02}{kinds:02}{alpn}_{ciphers}_{signed}")
}

/// JA4S of a ServerHello, likewise.
pub(super) fn ja4s(hello: &ServerHello, carrier: Carrier) -> String {
    let (version, count) = (version_digits(hello.chosen_version()), hello.extensions.len().min(99));
    let alpn = ends(hello.alpn.as_deref());
    let transport = transport(carrier);
    format!("{transport}{version}{count:02}{alpn}_{:04x}_{}", hello.cipher, short_hash(&words(&hello.extensions)))
}

const fn version_digits(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0200 | 0x0002 => "s2",
        0xfefc => "d3",
        0xfefd => "d2",
        0xfeff => "d1",
        _ => "00",
    }
}

/// The first and the last character of a protocol's name; digits of its hexadecimal form where those are no letters.
fn ends(name: Option<&[u8]>) -> String {
    let (Some(first), Some(last)) = (name.and_then(<[u8]>::first), name.and_then(<[u8]>::last)) else {
        return "00".to_string();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [*first, *last].map(char::from).iter().collect();
    }
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 0xf)].iter().collect()
}

fn decimals(list: &[u16]) -> String {
    let real = list.iter().filter(|value| !is_grease(**value));
    real.map(u16::to_string).collect::<Vec<_>>().join("-")
}

fn words(list: &[u16]) -> String {
    list.iter().map(|value| format!("{value:04x}")).collect::<Vec<_>>().join(",")
}

fn md5(text: &str) -> String {
    hex(&Md5::digest(text))
}

/// The first twelve digits of the SHA-256; zeros for nothing.
fn short_hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    let mut digits = hex(&Sha256::digest(text));
    digits.truncate(12);
    digits
}
