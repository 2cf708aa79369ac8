//! `struct tcp_info` (include/uapi/linux/tcp.h) as the kernel writes it. Later kernels append to it: what is not there is
//! not known.

use observer::record::TcpInfo;

/// Reads the fields that records have, each where the kernel's ABI has put it for good.
pub fn read(bytes: &[u8]) -> TcpInfo {
    /// TCP_INFINITE_SSTHRESH
    const NO_THRESHOLD: u32 = 0x7fff_ffff;
    let small = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let large = |at: usize| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_kernel_leaves_out_is_not_known() {
        let mut bytes = vec![0; 232];
        bytes[136..140].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[200..208].copy_from_slice(&(1_u64 << 40).to_ne_bytes());
        bytes[148..152].copy_from_slice(&u32::MAX.to_ne_bytes());
        let info = read(&bytes);
        assert_eq!((info.segs_out, info.bytes_sent, info.minrtt), (Some(7), Some(1 << 40), None));
        assert_eq!((info.snd_wnd, info.rcv_wnd), (Some(0), None));
        assert_eq!(read(&[]), TcpInfo::default());
    }
}
