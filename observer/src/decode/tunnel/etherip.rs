//! Ethernet in IP (RFC 3378).

use crate::decode::bytes::{Bytes, Miss, Outcome};
use crate::decode::ip::Ip;
use crate::decode::walk::Walk;
use crate::packet::TunnelKind;

impl Walk<'_> {
    pub(in crate::decode) fn etherip(&mut self, ip: Ip, bytes: Bytes<'_>) -> Outcome {
        const VERSION: u8 = 3;
        let ([version, _], inner) = bytes.split()?;
        if version >> 4 != VERSION {
            return Err(Miss::Other);
        }
        self.tunnel(TunnelKind::EtherIp, &ip, None, None)?;
        self.ethernet(inner)
    }
}
