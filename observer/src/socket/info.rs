//! `struct tcp_info` (include/uapi/linux/tcp.h) as the kernel writes it. Later kernels append to it: what is not there is
//! not known.

use std::fmt;

use super::Congestion;
use crate::record::TcpInfo;
use crate::time::Nanos;

/// The octets of one `struct tcp_info`, read where the kernel's ABI has put each field for good.
#[derive(Clone, Copy, Debug)]
pub struct Info<'a>(&'a [u8]);

/// TCP_INFINITE_SSTHRESH
const NO_THRESHOLD: u32 = 0x7fff_ffff;

/// `TCPI_OPT_*`: what was agreed, as `ss -i` names it.
const OPTIONS: [(u8, &str); 5] = [(1, "ts"), (2, "sack"), (8, "ecn"), (16, "ecnseen"), (32, "fastopen")];
const WINDOW_SCALE: u8 = 4;

impl<'a> Info<'a> {
    /// Takes the value of `INET_DIAG_INFO` or of getsockopt(TCP_INFO).
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The fields that records have.
    pub fn record(self) -> TcpInfo {
        let (small, large) = (|at| self.small(at), |at| self.large(at));
        TcpInfo {
            rtt: small(68),
            rttvar: small(72),
            minrtt: small(148).filter(|least| *least != u32::MAX),
            cwnd: small(80),
            ssthresh: small(76).filter(|threshold| *threshold < NO_THRESHOLD),
            mss: small(16),
            advmss: small(84),
            bytes_sent: large(200),
            bytes_retrans: large(208),
            bytes_acked: large(120),
            bytes_received: large(128),
            segs_out: small(136),
            segs_in: small(140),
            data_segs_out: small(156),
            data_segs_in: small(152),
            total_retrans: small(100),
            // `tcpi_lost` is what is lost at the moment, not over the whole life.
            lost: None,
            delivered: small(192),
            delivered_ce: small(196),
            reord_seen: small(220),
            dsack_dups: small(216),
            rcv_ooopack: small(224),
            snd_wnd: small(228),
            rcv_wnd: small(232),
        }
    }

    /// How long ago the last acknowledgment came (`tcpi_last_ack_recv`, in milliseconds).
    pub fn last_ack_received(self) -> Option<Nanos> {
        self.small(56).map(|millis| Nanos::from_millis(millis.into()))
    }

    /// Writes the fields by the names of `ss -i`, each after a space, those that say nothing left out. `congestion` is the
    /// algorithm's name and what it says of itself; `listens` where the numbers are those of a listener, of which most say nothing.
    ///
    /// # Errors
    /// When `out` has one.
    pub fn write(
        self,
        out: &mut dyn fmt::Write,
        congestion: (Option<&str>, Option<Congestion>),
        listens: bool,
    ) -> fmt::Result {
        let options = self.octet(5);
        for (bit, name) in OPTIONS {
            if options & bit != 0 {
                write!(out, " {name}")?;
            }
        }
        let (algorithm, numbers) = congestion;
        if let Some(algorithm) = algorithm {
            write!(out, " {algorithm}")?;
        }
        if options & WINDOW_SCALE != 0 {
            write!(out, " wscale:{},{}", self.octet(6) & 15, self.octet(6) >> 4)?;
        }
        self.write_times(out)?;
        for (name, at) in [("mss", 16), ("pmtu", 60), ("rcvmss", 20), ("advmss", 84), ("cwnd", 80)] {
            // A listener has none yet.
            if !listens || name == "cwnd" {
                self.number(out, name, at)?;
            }
        }
        if let Some(threshold @ 1..NO_THRESHOLD) = self.small(76) {
            write!(out, " ssthresh:{threshold}")?;
        }
        let large = [("bytes_sent", 200), ("bytes_retrans", 208), ("bytes_acked", 120), ("bytes_received", 128)];
        for (name, at) in large {
            self.large_number(out, name, at)?;
        }
        for (name, at) in [("segs_out", 136), ("segs_in", 140), ("data_segs_out", 156), ("data_segs_in", 152)] {
            self.number(out, name, at)?;
        }
        if let Some(numbers) = numbers {
            write!(out, " {numbers}")?;
        }
        self.write_rates(out)?;
        self.write_limits(out)?;
        // Of a listener, how many wait to be accepted.
        self.number(out, "unacked", 24)?;
        let (now, total) = (self.small(36).unwrap_or(0), self.small(100).unwrap_or(0));
        if now > 0 || total > 0 {
            write!(out, " retrans:{now}/{total}")?;
        }
        self.number(out, "lost", 32)?;
        if !listens {
            self.number(out, "sacked", 28)?;
        }
        self.number(out, "dsack_dups", 216)?;
        self.number(out, "fackets", 40)?;
        if let Some(reordering) = self.small(88).filter(|usual| !matches!(usual, 0 | 3)) {
            write!(out, " reordering:{reordering}")?;
        }
        self.number(out, "reord_seen", 220)?;
        self.milliseconds(out, "rcv_rtt", 92)?;
        for (name, at) in [("rcv_space", 96), ("rcv_ssthresh", 64), ("notsent", 144)] {
            self.number(out, name, at)?;
        }
        if self.small(148) != Some(u32::MAX) {
            self.milliseconds(out, "minrtt", 148)?;
        }
        for (name, at) in [("rcv_ooopack", 224), ("snd_wnd", 228), ("rcv_wnd", 232), ("rehash", 236)] {
            self.number(out, name, at)?;
        }
        Ok(())
    }

    fn write_times(self, out: &mut dyn fmt::Write) -> fmt::Result {
        /// TCP_TIMEOUT_INIT: what a socket has that never sent anything; `ss` leaves it out.
        const INITIAL: u32 = 3_000_000;
        if self.small(8) != Some(INITIAL) {
            self.milliseconds(out, "rto", 8)?;
        }
        if let backoff @ 1.. = self.octet(4) {
            write!(out, " backoff:{backoff}")?;
        }
        if let (Some(rtt @ 1..), Some(rttvar)) = (self.small(68), self.small(72)) {
            write!(out, " rtt:{}/{}", f64::from(rtt) / 1e3, f64::from(rttvar) / 1e3)?;
        }
        self.milliseconds(out, "ato", 12)
    }

    fn write_rates(self, out: &mut dyn fmt::Write) -> fmt::Result {
        if let (Some(rtt @ 1..), Some(mss @ 1..), Some(cwnd @ 1..)) = (self.small(68), self.small(16), self.small(80)) {
            // What the window lets through in a round trip.
            let bits = f64::from(cwnd) * f64::from(mss) * 8e6 / f64::from(rtt);
            write!(out, " send {bits:.0}bps")?;
        }
        for (name, at) in [("lastsnd", 44), ("lastrcv", 52), ("lastack", 56)] {
            self.number(out, name, at)?;
        }
        let bits =
            |at: usize| self.large(at).filter(|rate| !matches!(*rate, 0 | u64::MAX)).map(|rate| rate.saturating_mul(8));
        if let Some(rate) = bits(104) {
            write!(out, " pacing_rate {rate}bps")?;
            if let Some(most) = bits(112) {
                write!(out, "/{most}bps")?;
            }
        }
        if let Some(rate) = bits(160) {
            write!(out, " delivery_rate {rate}bps")?;
        }
        self.number(out, "delivered", 192)?;
        self.number(out, "delivered_ce", 196)?;
        if self.octet(7) & 1 != 0 {
            out.write_str(" app_limited")?;
        }
        Ok(())
    }

    /// How long it had something to send, and what kept it from sending.
    fn write_limits(self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(busy @ 1..) = self.large(168) else { return Ok(()) };
        write!(out, " busy:{}ms", busy / 1000)?;
        for (name, at) in [("rwnd_limited", 176), ("sndbuf_limited", 184)] {
            if let Some(limited @ 1..) = self.large(at) {
                write!(out, " {name}:{}ms({:.1}%)", limited / 1000, limited as f64 * 100.0 / busy as f64)?;
            }
        }
        Ok(())
    }

    fn number(self, out: &mut dyn fmt::Write, name: &str, at: usize) -> fmt::Result {
        if let Some(value @ 1..) = self.small(at) { write!(out, " {name}:{value}") } else { Ok(()) }
    }

    fn large_number(self, out: &mut dyn fmt::Write, name: &str, at: usize) -> fmt::Result {
        if let Some(value @ 1..) = self.large(at) { write!(out, " {name}:{value}") } else { Ok(()) }
    }

    /// Microseconds, told in milliseconds.
    fn milliseconds(self, out: &mut dyn fmt::Write, name: &str, at: usize) -> fmt::Result {
        if let Some(value @ 1..) = self.small(at) { write!(out, " {name}:{}", f64::from(value) / 1e3) } else { Ok(()) }
    }

    fn octet(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn small(self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn large(self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_kernel_leaves_out_is_not_known() {
        let mut bytes = vec![0; 232];
        bytes[136..140].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[200..208].copy_from_slice(&(1_u64 << 40).to_ne_bytes());
        bytes[148..152].copy_from_slice(&u32::MAX.to_ne_bytes());
        let info = Info::new(&bytes).record();
        assert_eq!((info.segs_out, info.bytes_sent, info.minrtt), (Some(7), Some(1 << 40), None));
        assert_eq!((info.snd_wnd, info.rcv_wnd), (Some(0), None));
        assert_eq!(Info::new(&[]).record(), TcpInfo::default());
    }

    #[test]
    fn fields_are_written_by_the_names_of_ss_and_zeros_are_left_out() {
        let mut bytes = vec![0; 240];
        let fields =
            [(8, 201_000_u32), (16, 1448), (68, 125), (72, 62), (76, 0x7fff_ffff), (80, 10), (100, 3), (148, 21)];
        for (at, value) in fields {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        (bytes[5], bytes[6]) = (1 | 2 | 4, 0xa7);
        let mut text = String::new();
        Info::new(&bytes).write(&mut text, (Some("cubic"), None), false).expect("a string takes all");
        let expected = " ts sack cubic wscale:7,10 rto:201 rtt:0.125/0.062 mss:1448 cwnd:10 send 926720000bps \
                        retrans:0/3 minrtt:0.021";
        assert_eq!(text, expected);
        let mut nothing = String::new();
        Info::new(&[]).write(&mut nothing, (None, None), true).expect("a string takes all");
        assert_eq!(nothing, "");
    }
}
