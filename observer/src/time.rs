//! Points in time and lengths of time, in nanoseconds.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

/// A point in time: nanoseconds since 1970-01-01 00:00:00 UTC.
///
/// Capture files give it for packets; live sources put the kernel's clock on this scale. The library never asks a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The given number of nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, and the nanoseconds beyond them.
    pub const fn split(self) -> (u64, u32) {
        (self.0 / 1_000_000_000, (self.0 % 1_000_000_000) as u32)
    }

    /// How long after `earlier` this is; zero where the clock ran backwards between the two.
    pub const fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long after `earlier` this is; `None` where the clock ran backwards between the two.
    pub const fn checked_since(self, earlier: Self) -> Option<Nanos> {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => Some(Nanos(nanos)),
            None => None,
        }
    }

    /// This point in time moved back by `length`.
    pub const fn before(self, length: Nanos) -> Self {
        Self(self.0.saturating_sub(length.0))
    }

    /// This point in time moved on by `length`.
    pub const fn plus(self, length: Nanos) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

/// RFC 3339 in UTC with nine decimals: `2026-11-20T12:00:00.000000001Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).map_err(|_| fmt::Error)?)
    }
}

impl Timestamp {
    /// [`Self`]'s text; a record holds up to a dozen of them, and `write!` takes as long as all the rest of it.
    fn text(self) -> [u8; 30] {
        let (seconds, nanos) = self.split();
        let (year, month, day) = civil_from_days(seconds / 86_400 + EPOCH);
        let of_day = seconds % 86_400;
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let fields = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, of_day / 3600),
            (14..16, of_day / 60 % 60),
            (17..19, of_day % 60),
            (20..29, nanos.into()),
        ];
        for (place, mut value) in fields {
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        text
    }
}

/// RFC 3339 in UTC, to the second, of seconds since 1970; `None` outside of the years 0 to 9999, which are all it can name.
pub fn date_time(seconds: i64) -> Option<String> {
    const DAY: i64 = 86_400;
    let days = u64::try_from(seconds.div_euclid(DAY) + EPOCH as i64).ok()?;
    let (year, month, day) = civil_from_days(days);
    let of_day = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    (year <= 9999).then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

/// Days between 0000-03-01 and 1970-01-01.
const EPOCH: u64 = 719_468;

/// Year, month and day of the proleptic Gregorian calendar, from days since 0000-03-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Years are counted from March, so that the leap day is the last of its year; 146,097 days make 400 years.
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.text();
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339 in UTC with nanoseconds.",
        })
    }
}

/// A length of time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// A whole number of seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// A whole number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// A whole number of microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// Seconds as a floating-point number, for rates.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339() {
        let show = |secs: u64, nanos: u64| Timestamp::from_nanos(secs * 1_000_000_000 + nanos).to_string();
        assert_eq!(show(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(show(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(show(1_735_689_599, 999_999_999), "2024-12-31T23:59:59.999999999Z");
        assert_eq!(show(4_294_967_295, 0), "2106-02-07T06:28:15.000000000Z");
    }

    #[test]
    fn a_clock_that_runs_backwards_gives_no_length() {
        let (early, late) = (Timestamp::from_nanos(5), Timestamp::from_nanos(9));
        assert_eq!(late.since(early), Nanos(4));
        assert_eq!(early.since(late), Nanos(0));
        assert_eq!(early.checked_since(late), None);
    }

    #[test]
    fn dates_by_the_second() {
        for (seconds, text) in [
            (0, Some("1970-01-01T00:00:00Z")),
            (-1, Some("1969-12-31T23:59:59Z")),
            (951_868_799, Some("2000-02-29T23:59:59Z")),
            (-2_208_988_800, Some("1900-01-01T00:00:00Z")),
            (253_402_300_799, Some("9999-12-31T23:59:59Z")),
            (253_402_300_800, None),
            (i64::MIN, None),
            (i64::MAX, None),
        ] {
            assert_eq!(date_time(seconds).as_deref(), text);
        }
    }
}
