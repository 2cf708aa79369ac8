//! From where on something is wrong: every number that a rule compares with.

use crate::time::Nanos;

/// A threshold with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, as `--threshold` takes it.
    pub name: &'static str,
    /// What it decides.
    pub about: &'static str,
    /// Its value, as `--threshold` takes it.
    pub value: String,
}

/// Why a threshold cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// There is none of that name.
    #[error("there is no threshold {name}; `observer explain --thresholds` lists them")]
    Unknown {
        /// What was given.
        name: String,
    },
    /// It takes a length of time.
    #[error("{name} takes a length of time, such as 200ms, 1.5s or 2min, not {value:?}")]
    Time {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// It takes a number.
    #[error("{name} takes a whole number, not {value:?}")]
    Number {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// A setting is `NAME=VALUE`.
    #[error("{given:?} is not NAME=VALUE")]
    Form {
        /// What was given.
        given: String,
    },
}

/// A kind of value that a threshold has.
trait Value: Sized {
    fn parse(name: &'static str, text: &str) -> Result<Self, ThresholdError>;
    fn text(&self) -> String;
}

macro_rules! thresholds {
    ($($(#[doc = $about:literal])+ $name:ident: $kind:ty = $default:expr,)+) => {
        /// All thresholds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Thresholds {
            $($(#[doc = $about])+ pub $name: $kind,)+
        }

        impl Default for Thresholds {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Thresholds {
            /// Every threshold.
            pub fn settings(&self) -> Vec<Setting> {
                vec![$(Setting {
                    name: stringify!($name),
                    about: concat!($($about,)+).trim_start(),
                    value: self.$name.text(),
                },)+]
            }

            /// Sets the one that `NAME=VALUE` names.
            pub fn set(&mut self, given: &str) -> Result<(), ThresholdError> {
                let (name, value) =
                    given.split_once('=').ok_or_else(|| ThresholdError::Form { given: given.to_string() })?;
                match name.replace('-', "_").as_str() {
                    $(stringify!($name) => self.$name = Value::parse(stringify!($name), value)?,)+
                    _ => return Err(ThresholdError::Unknown { name: name.to_string() }),
                }
                Ok(())
            }
        }
    };
}

thresholds! {
    /// Least time that a SYN waits before it is called unanswered: RFC 6298's first retransmission timeout.
    unanswered_after: Nanos = Nanos::from_secs(1),
    /// Least time from the first SYN to the end of the handshake that is slow.
    slow_handshake: Nanos = Nanos::from_secs(1),
    /// Handshakes left open by clients at one listener, in one second, that are a flood.
    syn_flood_per_second: u64 = 50,
    /// Share of a listener's attempts that are left open in a flood, in percent.
    syn_flood_percent: u64 = 80,
    /// Ports of one server, or servers at one port, that one client tries in vain in a scan.
    port_scan_targets: u64 = 15,
    /// Share of segments with payload that were lost, in percent, from which on loss is a finding.
    packet_loss_percent: u64 = 1,
    /// Segments that were lost, at least.
    packet_loss_segments: u64 = 3,
    /// Packets of one end that this host dropped for one reason, at least.
    dropped_packets: u64 = 3,
    /// Least time that a window is closed.
    zero_window: Nanos = Nanos::from_millis(200),
    /// Least time that a window is closed from which on it is an error.
    zero_window_long: Nanos = Nanos::from_secs(10),
    /// Least time without a packet before a reset, for the reset to be one after an idle time.
    reset_after_idle: Nanos = Nanos::from_secs(30),
    /// Routers that a RST passed more or fewer than its sender's other packets.
    ttl_hops: u64 = 3,
    /// Segments that were sent again needlessly, at least.
    spurious_segments: u64 = 3,
    /// Share of segments that were sent again needlessly, in percent.
    spurious_percent: u64 = 1,
    /// Segments out of order, at least.
    reordered_segments: u64 = 3,
    /// Share of segments out of order, in percent.
    reordered_percent: u64 = 1,
    /// How often a large segment is sent again in vain before a black hole is suspected.
    mtu_black_hole_times: u64 = 3,
    /// How often the window is filled at least, for the window to be the limit.
    window_full_segments: u64 = 5,
    /// Octets of a transfer that is long enough to judge its speed.
    bulk_bytes: u64 = 100_000,
    /// Shortest round trip over which a window or a send buffer limits a transfer.
    window_limited_rtt: Nanos = Nanos::from_millis(5),
    /// How much longer a round trip takes under load, for a queue to be too long.
    bufferbloat: Nanos = Nanos::from_millis(100),
    /// How often a sender waits for a delayed ACK, at least.
    delayed_acks: u64 = 3,
    /// Senders that time out together, at least.
    incast_senders: u64 = 8,
    /// The time within which they do.
    incast_window: Nanos = Nanos::from_millis(50),
    /// Least time from a request to its response that is slow.
    slow_server: Nanos = Nanos::from_secs(1),
    /// Least time that a small request takes to be sent that is slow.
    slow_client: Nanos = Nanos::from_secs(1),
    /// Least time that a request waits for another one's response.
    head_of_line: Nanos = Nanos::from_millis(200),
    /// Short connections of one client to one server, at least, for it to be churn.
    churn_connections: u64 = 20,
    /// The longest that such a connection lasts.
    churn_duration: Nanos = Nanos::from_secs(2),
    /// Full TLS handshakes of one client with one server, at least, of which none resumes a session.
    full_handshakes: u64 = 5,
    /// Least time that a lookup waits before it is called unanswered.
    unanswered_dns: Nanos = Nanos::from_secs(5),
    /// Least time that a lookup takes that is slow.
    slow_dns: Nanos = Nanos::from_millis(500),
    /// Time after a lookup in which a connection that it was for would be tried.
    name_or_network: Nanos = Nanos::from_secs(5),
    /// Least time in CLOSE-WAIT, or in FIN-WAIT-2 with a process that may still read, that is too long.
    close_wait: Nanos = Nanos::from_secs(60),
    /// Least time in FIN-WAIT-2 that is too long for a socket that no process has any more: half of tcp_fin_timeout.
    fin_wait_2: Nanos = Nanos::from_secs(30),
    /// Least time that a FIN waits for its ACK that is too long.
    stuck_closing: Nanos = Nanos::from_secs(10),
    /// Keep-alives without an answer, at least.
    keep_alive_probes: u64 = 3,
    /// Sockets of one process in CLOSE-WAIT for longer than a minute that are a leak.
    close_wait_sockets: u64 = 10,
    /// Share of a process's file descriptors in use, in percent, from which on they run out.
    descriptors_percent: u64 = 80,
    /// Time until a process has no file descriptor left, at the rate at which it takes them, from which on they run out.
    descriptors_run_out_within: Nanos = Nanos::from_secs(600),
    /// Share of the ephemeral ports taken for one destination, in percent, from which on they run out.
    ports_percent: u64 = 80,
    /// Share of the entries of connection tracking in use, in percent, from which on its table is filling.
    conntrack_percent: u64 = 80,
    /// Time until the table of connection tracking is full, at the rate at which it grows, from which on it is filling.
    conntrack_fills_within: Nanos = Nanos::from_secs(600),
    /// Share of the segments sent that are sent again, in percent, from which on the host's rate is high.
    retransmission_percent: u64 = 3,
    /// Segments that the host sends a second, at least, for that rate to say something.
    retransmission_segments: u64 = 20,
}

impl Value for Nanos {
    fn parse(name: &'static str, text: &str) -> Result<Self, ThresholdError> {
        const UNITS: [(&str, f64); 6] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("min", 60e9), ("s", 1e9)];
        let wrong = || ThresholdError::Time { name, value: text.to_string() };
        let (number, unit) =
            UNITS.iter().find_map(|(unit, length)| Some((text.strip_suffix(unit)?, length))).ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let nanos = number * unit;
        if nanos.is_finite() && nanos >= 0.0 && nanos < u64::MAX as f64 { Ok(Self(nanos as u64)) } else { Err(wrong()) }
    }

    fn text(&self) -> String {
        const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
        let whole = UNITS.into_iter().find(|(length, _)| self.0.is_multiple_of(*length));
        whole.map_or_else(|| format!("{}ns", self.0), |(length, unit)| format!("{}{unit}", self.0 / length))
    }
}

impl Value for u64 {
    fn parse(name: &'static str, text: &str) -> Result<Self, ThresholdError> {
        text.parse().map_err(|_| ThresholdError::Number { name, value: text.to_string() })
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threshold_takes_the_value_that_it_shows() {
        for Setting { name, about, value } in Thresholds::default().settings() {
            let mut thresholds = Thresholds::default();
            assert_eq!(thresholds.set(&format!("{name}={value}")), Ok(()), "{name}={value}");
            assert_eq!(thresholds, Thresholds::default(), "{name}={value}");
            assert!(about.ends_with('.'), "{name}: {about}");
        }
    }

    #[test]
    fn what_is_wrong_says_so() {
        let mut thresholds = Thresholds::default();
        assert_eq!(thresholds.set("slow-handshake=1.5s"), Ok(()));
        assert_eq!(thresholds.slow_handshake, Nanos::from_millis(1500));
        let error = |given: &str| Thresholds::default().set(given).map_err(|error| error.to_string());
        assert_eq!(error("slow"), Err("\"slow\" is not NAME=VALUE".to_string()));
        for given in ["slow_handshake=1", "slow_handshake=-1s", "slow_handshake=s", "slow_handshake=infs"] {
            assert!(error(given).is_err_and(|error| error.contains("a length of time")), "{given}");
        }
        assert!(error("packet_loss_percent=1.5").is_err_and(|error| error.contains("a whole number")));
        assert!(error("height=3").is_err_and(|error| error.contains("no threshold height")));
    }
}
