//! The rules of nf_tables, by netlink (net/netfilter/nf_tables_api.c). To ask for them takes CAP_NET_ADMIN.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Result;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use observer::firewall::{Counted, HEADER};

use super::netlink;

/// `NFNL_SUBSYS_NFTABLES` above `NFT_MSG_NEWRULE` and `NFT_MSG_GETRULE`.
const NEW: u16 = 0xa06;
const GET: u16 = 0xa07;

/// Where the rules of one network namespace can be asked for.
pub struct Rules {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Rules {
    /// Whether the kernel has nf_tables already: to ask would load it.
    pub fn are_there() -> bool {
        let release = rustix::system::uname();
        let built_in = format!("/lib/modules/{}/modules.builtin", release.release().to_string_lossy());
        Path::new("/sys/module/nf_tables").exists()
            || !Path::new("/proc/modules").exists()
            || std::fs::read_to_string(built_in).is_ok_and(|names| names.contains("/nf_tables.ko"))
    }

    /// A socket for the rules of the namespace that this thread is in.
    pub fn socket() -> Result<OwnedFd> {
        netlink::open(NETLINK_NETFILTER, "NETLINK_NETFILTER")
    }

    /// The rules of the namespace in which the socket was opened.
    pub fn by(socket: OwnedFd) -> Self {
        Self { socket: netlink::from_descriptor(socket), buffer: vec![0; netlink::BUFFER] }
    }

    /// Those that drop or reject packets, and count them.
    pub fn counted(&mut self) -> Result<Vec<Counted>> {
        let mut all = Vec::new();
        // `struct nfgenmsg`: all families.
        let question = netlink::dump_of(GET, &[0; HEADER]);
        let what = "reading the rules of nf_tables (this takes CAP_NET_ADMIN)";
        let read = netlink::dump(&self.socket, &mut self.buffer, &question, what, |kind, payload| {
            all.extend(Some(payload).filter(|_| kind == NEW).and_then(Counted::parse));
            Ok(())
        });
        match read {
            // A kernel without nf_tables has no rules (nfnetlink_rcv_msg).
            Err(error) if netlink::number_of(&error) == Some(libc::EINVAL) => Ok(all),
            read => read.map(|()| all),
        }
    }
}
