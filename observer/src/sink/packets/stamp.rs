//! Time stamps in tcpdump's six styles.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use observer::time::Timestamp;

use super::text::{decimal, padded};

/// How a packet's time is written: tcpdump's default, `-t`, `-tt` and so on to `-ttttt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Local time of day.
    #[default]
    Clock,
    /// Nothing.
    Absent,
    /// Seconds since 1970.
    Epoch,
    /// Since the line before.
    SincePrevious,
    /// Local date and time of day.
    Date,
    /// Since the first line.
    SinceFirst,
}

/// How many decimals a second has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// Six, cut off: what tcpdump prints, for nanosecond files too.
    #[default]
    Micro,
    /// Nine.
    Nano,
}

/// Writes time stamps.
#[derive(Debug)]
pub struct Stamps {
    style: Style,
    precision: Precision,
    zone: TimeZone,
    /// The second that `text` stands for.
    second: Option<u64>,
    /// Date and time of day of that second: most lines differ from the one before in the decimals only.
    text: Vec<u8>,
    /// What the next difference is taken to, in units of the precision.
    reference: Option<u64>,
}

impl Stamps {
    /// Stamps in local time of `zone`.
    pub fn new(style: Style, precision: Precision, zone: TimeZone) -> Self {
        Self { style, precision, zone, second: None, text: Vec::new(), reference: None }
    }

    /// Appends the stamp of a packet and the space after it; `carried` seconds of it are written as decimals.
    pub fn write(&mut self, out: &mut Vec<u8>, at: Timestamp, carried: u16) {
        let (second, nanos) = at.split();
        let (second, nanos) = (second - u64::from(carried), u64::from(nanos) + u64::from(carried) * 1_000_000_000);
        match self.style {
            Style::Absent => return,
            Style::Epoch => decimal(out, second),
            Style::Clock | Style::Date => self.local(out, second),
            Style::SincePrevious | Style::SinceFirst => return self.difference(out, at),
        }
        self.decimals(out, nanos);
    }

    fn local(&mut self, out: &mut Vec<u8>, second: u64) {
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            let time = self.civil(second);
            if self.style == Style::Date {
                padded(&mut self.text, time.year(), 4, b'0');
                for part in [time.month(), time.day()] {
                    self.text.push(b'-');
                    padded(&mut self.text, part, 2, b'0');
                }
                self.text.push(b' ');
            }
            time_of_day(&mut self.text, [time.hour(), time.minute(), time.second()]);
        }
        out.extend_from_slice(&self.text);
    }

    fn civil(&self, second: u64) -> DateTime {
        // A time stamp counts nanoseconds in 64 bits, so its seconds end in 2554, which jiff has room for.
        let at = i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        self.zone.to_datetime(at.unwrap_or(jiff::Timestamp::MAX))
    }

    fn difference(&mut self, out: &mut Vec<u8>, at: Timestamp) {
        let unit = match self.precision {
            Precision::Micro => 1_000,
            Precision::Nano => 1,
        };
        let now = at.as_nanos() / unit;
        let reference = *self.reference.get_or_insert(now);
        out.push(if now < reference { b'-' } else { b' ' });
        let (second, nanos) = Timestamp::from_nanos(now.abs_diff(reference) * unit).split();
        // Like a clock, it begins anew after a day.
        time_of_day(out, [second / 3600 % 24, second / 60 % 60, second % 60]);
        self.decimals(out, nanos.into());
        if self.style == Style::SincePrevious {
            self.reference = Some(now);
        }
    }

    fn decimals(&self, out: &mut Vec<u8>, nanos: u64) {
        out.push(b'.');
        match self.precision {
            Precision::Micro => padded(out, nanos / 1000, 6, b'0'),
            Precision::Nano => padded(out, nanos, 9, b'0'),
        }
        out.push(b' ');
    }
}

fn time_of_day(out: &mut Vec<u8>, [hour, minute, second]: [impl itoa::Integer; 3]) {
    padded(out, hour, 2, b'0');
    for part in [minute, second] {
        out.push(b':');
        padded(out, part, 2, b'0');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(style: Style, precision: Precision, zone: TimeZone, times: &[u64]) -> String {
        let (mut stamps, mut out) = (Stamps::new(style, precision, zone), Vec::new());
        for &nanos in times {
            stamps.write(&mut out, Timestamp::from_nanos(nanos), 0);
            out.push(b'|');
        }
        String::from_utf8(out).expect("a stamp is ASCII")
    }

    #[test]
    fn six_styles() {
        let times = [1_700_000_000_123_456_789, 1_700_000_001_000_001_000, 1_700_000_000_999_999_999];
        let show = |style| lines(style, Precision::Micro, TimeZone::UTC, &times);
        assert_eq!(show(Style::Clock), "22:13:20.123456 |22:13:21.000001 |22:13:20.999999 |");
        assert_eq!(show(Style::Absent), "|||");
        assert_eq!(show(Style::Epoch), "1700000000.123456 |1700000001.000001 |1700000000.999999 |");
        assert_eq!(show(Style::SincePrevious), " 00:00:00.000000 | 00:00:00.876545 |-00:00:00.000002 |");
        assert_eq!(
            show(Style::Date),
            "2023-11-14 22:13:20.123456 |2023-11-14 22:13:21.000001 |2023-11-14 22:13:20.999999 |"
        );
        assert_eq!(show(Style::SinceFirst), " 00:00:00.000000 | 00:00:00.876545 | 00:00:00.876543 |");
        let nano = lines(Style::SinceFirst, Precision::Nano, TimeZone::UTC, &times);
        assert_eq!(nano, " 00:00:00.000000000 | 00:00:00.876544211 | 00:00:00.876543210 |");
    }

    #[test]
    fn seconds_that_a_file_gives_as_decimals() {
        let mut out = Vec::new();
        let mut stamps = Stamps::new(Style::Epoch, Precision::Micro, TimeZone::UTC);
        stamps.write(&mut out, Timestamp::from_nanos(1_701_999_732_011_041_000), 1);
        assert_eq!(out, b"1701999731.1011041 ");
    }

    #[test]
    fn local_time_follows_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        assert_eq!(lines(Style::Date, Precision::Nano, zone, &[3_600_000_000_007]), "1969-12-31 20:00:00.000000007 |");
    }
}
