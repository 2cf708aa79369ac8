//! What congestion control algorithms say of themselves: `struct tcp_bbr_info` and `struct tcp_dctcp_info` of
//! include/uapi/linux/inet_diag.h.

use std::fmt;

use crate::time::Nanos;

/// The numbers of an algorithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Congestion {
    /// BBR.
    Bbr {
        /// What it takes the path to let through, in bits a second.
        bandwidth: u64,
        /// The shortest round trip that it goes by.
        min_rtt: Nanos,
        /// What it multiplies the bandwidth with to pace.
        pacing_gain: f64,
        /// What it multiplies the product of both with for the window.
        cwnd_gain: f64,
    },
    /// DCTCP.
    Dctcp {
        /// Whether both ends speak ECN; else it does as Reno.
        enabled: bool,
        /// Whether the last segment was marked.
        ce_state: u16,
        /// The share of marked octets, of 1024.
        alpha: u32,
        /// Octets that were acknowledged as marked.
        ab_ecn: u32,
        /// Octets that were acknowledged.
        ab_tot: u32,
    },
}

impl Congestion {
    /// Reads `struct tcp_bbr_info`; `None` where it is cut short.
    pub fn bbr(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let bandwidth = u64::from(number(0)?) | u64::from(number(4)?) << 32;
        Some(Self::Bbr {
            bandwidth: bandwidth.saturating_mul(8),
            min_rtt: Nanos(u64::from(number(8)?) * 1000),
            pacing_gain: f64::from(number(12)?) / 256.0,
            cwnd_gain: f64::from(number(16)?) / 256.0,
        })
    }

    /// Reads `struct tcp_dctcp_info`; `None` where it is cut short.
    pub fn dctcp(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let short = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self::Dctcp {
            enabled: short(0)? != 0,
            ce_state: short(2)?,
            alpha: number(4)?,
            ab_ecn: number(8)?,
            ab_tot: number(12)?,
        })
    }
}

impl fmt::Display for Congestion {
    /// As `ss -i` prints them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bbr { bandwidth, min_rtt, pacing_gain, cwnd_gain } => {
                write!(f, "bbr:(bw:{bandwidth}bps,mrtt:{}", min_rtt.0 as f64 / 1e6)?;
                for (name, gain) in [("pacing_gain", pacing_gain), ("cwnd_gain", cwnd_gain)] {
                    if gain > 0.0 {
                        // Six digits that say something, as %g.
                        let digits = if gain >= 1.0 { 5 } else { 6 };
                        let text = format!("{gain:.digits$}");
                        write!(f, ",{name}:{}", text.trim_end_matches('0').trim_end_matches('.'))?;
                    }
                }
                f.write_str(")")
            }
            Self::Dctcp { enabled: false, .. } => f.write_str("dctcp:fallback_mode"),
            Self::Dctcp { ce_state, alpha, ab_ecn, ab_tot, .. } => {
                write!(f, "dctcp:(ce_state:{ce_state},alpha:{alpha},ab_ecn:{ab_ecn},ab_tot:{ab_tot})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_ss_does() {
        let words = |all: &[u32]| all.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        let bytes = words(&[1_000_000, 0, 25, 739, 512]);
        let text = Congestion::bbr(&bytes).expect("it is whole").to_string();
        assert_eq!(text, "bbr:(bw:8000000bps,mrtt:0.025,pacing_gain:2.88672,cwnd_gain:2)");
        assert_eq!(Congestion::bbr(&bytes[..16]), None);
        let dctcp = [&1_u16.to_ne_bytes()[..], &0_u16.to_ne_bytes(), &words(&[1024, 0, 9])].concat();
        let text = Congestion::dctcp(&dctcp).expect("it is whole").to_string();
        assert_eq!(text, "dctcp:(ce_state:0,alpha:1024,ab_ecn:0,ab_tot:9)");
        assert_eq!(Congestion::dctcp(&[0; 16]).map(|one| one.to_string()).as_deref(), Some("dctcp:fallback_mode"));
        assert_eq!(Congestion::dctcp(&dctcp[..15]), None);
    }
}
