//! Numbers as people read them. A no-break space holds a number and its unit together.

use crate::record::Endpoint;
use crate::time::{Nanos, Timestamp};

/// A length of time to three digits: `850 ns`, `41.2 ms`, `5.03 s`, `2 min 3 s`, `3 h 20 min`, `2 d 4 h`.
pub fn time(length: Nanos) -> String {
    let ns = length.0;
    let secs = ns / 1_000_000_000;
    match ns {
        0..1_000 => format!("{ns}\u{a0}ns"),
        1_000..999_500 => format!("{}\u{a0}µs", three(ns as f64 / 1e3)),
        999_500..999_500_000 => format!("{}\u{a0}ms", three(ns as f64 / 1e6)),
        999_500_000..60_000_000_000 => format!("{}\u{a0}s", three(ns as f64 / 1e9)),
        _ if secs < 3600 => format!("{}\u{a0}min\u{a0}{}\u{a0}s", secs / 60, secs % 60),
        _ if secs < 86_400 => format!("{}\u{a0}h\u{a0}{}\u{a0}min", secs / 3600, secs / 60 % 60),
        _ => format!("{}\u{a0}d\u{a0}{}\u{a0}h", secs / 86_400, secs / 3600 % 24),
    }
}

/// Octets to three digits, in powers of 1000: `517 B`, `14.5 kB`, `1.3 GB`.
pub fn bytes(octets: u64) -> String {
    if octets < 1000 {
        return format!("{octets}\u{a0}B");
    }
    scaled(octets as f64, &["kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Bits per second to three digits: `84.2 Mbit/s`.
pub fn rate(bits_per_second: u64) -> String {
    if bits_per_second < 1000 {
        return format!("{bits_per_second}\u{a0}bit/s");
    }
    scaled(bits_per_second as f64, &["kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"])
}

/// A count with its thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and what it counts: `1 segment`, `12 segments`.
pub fn number_of(number: u64, one: &str) -> String {
    let plural = match number {
        1 => "",
        _ if one.ends_with('s') => "es",
        _ => "s",
    };
    format!("{}\u{a0}{one}{plural}", count(number))
}

/// A share of a whole: `31.7 %`, `0.042 %`; `-` where there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_string();
    }
    let share = part as f64 * 100.0 / whole as f64;
    match part {
        0 => "0\u{a0}%".to_string(),
        _ if part == whole => "100\u{a0}%".to_string(),
        _ if share < 0.001 => "<\u{a0}0.001\u{a0}%".to_string(),
        _ if share < 1.0 => format!("{share:.*}\u{a0}%", if share < 0.1 { 3 } else { 2 }),
        _ => format!("{share:.1}\u{a0}%"),
    }
}

/// A point in time to the second: `2026-11-20 12:00:00 UTC`.
pub fn date(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} UTC", text.get(..19).unwrap_or(&text).replace('T', " "))
}

/// Address and port: `10.0.0.1:443`, `[2001:db8::1]:443`.
pub fn end(end: Endpoint) -> String {
    std::net::SocketAddr::new(end.ip, end.port).to_string()
}

fn scaled(number: f64, units: &[&str]) -> String {
    let mut number = number / 1000.0;
    let mut units = units.iter();
    let mut unit = units.next();
    for next in units {
        if number < 999.5 {
            break;
        }
        number /= 1000.0;
        unit = Some(next);
    }
    format!("{}\u{a0}{}", three(number), unit.unwrap_or(&""))
}

/// Three digits, no zeros behind the point.
fn three(number: f64) -> String {
    let decimals = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let table = [
            (0, "0 ns"),
            (850, "850 ns"),
            (1_000, "1 µs"),
            (999_499, "999 µs"),
            (999_500, "1 ms"),
            (41_234_000, "41.2 ms"),
            (999_500_000, "1 s"),
            (5_031_000_000, "5.03 s"),
            (59_960_000_000, "60 s"),
            (123_000_000_000, "2 min 3 s"),
            (12_000_000_000_000, "3 h 20 min"),
            (187_200_000_000_000, "2 d 4 h"),
        ];
        for (ns, text) in table {
            assert_eq!(time(Nanos(ns)).replace('\u{a0}', " "), text, "{ns}");
        }
    }

    #[test]
    fn sizes() {
        let bytes = |octets| bytes(octets).replace('\u{a0}', " ");
        let rate = |bits| rate(bits).replace('\u{a0}', " ");
        let percent = |part, whole| percent(part, whole).replace('\u{a0}', " ");
        assert_eq!(
            [bytes(517), bytes(14_480), bytes(999_999), bytes(1_300_000_000)],
            ["517 B", "14.5 kB", "1 MB", "1.3 GB"]
        );
        assert_eq!([rate(12), rate(84_210_000)], ["12 bit/s", "84.2 Mbit/s"]);
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([percent(1, 3), percent(0, 3), percent(3, 3), percent(1, 0)], ["33.3 %", "0 %", "100 %", "-"]);
        assert_eq!(
            [percent(1, 1000), percent(42, 100_000), percent(1, 10_000_000)],
            ["0.10 %", "0.042 %", "< 0.001 %"]
        );
    }
}
