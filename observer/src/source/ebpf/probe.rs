//! Whether each hook would work, found out by attaching it.

use anyhow::Result;
use observer_ebpf::{HOOKS, Hook};

use super::btf::{Btf, KERNEL};
use super::load::{Loaded, Sizes};
use super::resolve::Resolved;
use crate::source::namespace;

/// Room for next to nothing: what is seen meanwhile is thrown away.
const SIZES: Sizes = Sizes { ring: 1 << 16, sockets: 64 };

/// Whether the kernel describes its types; gives the file that does.
///
/// # Errors
/// When it does not, or not so that it is understood.
pub fn types() -> Result<&'static str> {
    Btf::of_kernel().map(|_| KERNEL)
}

/// Attaches each hook and detaches it again; says of those that do not work why.
///
/// # Errors
/// When none can be tried: the object cannot be loaded.
pub fn hooks() -> Result<Vec<(Hook, Option<String>)>> {
    let btf = Btf::of_kernel()?;
    let resolved = Resolved::new(&btf);
    let mut loaded = Loaded::new(&resolved, resolved.settings, SIZES)?;
    loaded.attach(&HOOKS, &resolved, &btf);
    if loaded.attached.contains(&Hook::Packets)
        && let Err(error) = namespace::packet_socket().and_then(|socket| loaded.filter(&socket))
    {
        loaded.off.push((Hook::Packets, format!("{error:#}")));
    }
    let why = |hook| loaded.off.iter().find(|(off, _)| *off == hook).map(|(_, why)| why.clone());
    Ok(HOOKS.iter().map(|hook| (*hook, why(*hook))).collect())
}
