//! Whether eBPF would work, part by part, found out by trying it.

use anyhow::{Context as _, Result};
use observer_ebpf::{HOOKS, Hook};

use super::btf::{Btf, KERNEL};
use super::load::{Loaded, Sizes};
use super::resolve::Resolved;
use crate::failure::in_words;
use crate::source::namespace;
use crate::source::porter::open_iterator;

/// Room for next to nothing: what is seen meanwhile is thrown away.
const SIZES: Sizes = Sizes { ring: 1 << 16, commands: 1 << 16, sockets: 64 };

/// What came of trying.
pub struct Probe {
    /// The maps and the ring buffer were made.
    pub maps: Result<()>,
    /// Of each hook that was tried, why it does not work; `None` where it does. Empty where there are no maps.
    pub hooks: Vec<(Hook, Option<String>)>,
}

/// Whether the kernel describes its types; gives the file that does.
///
/// # Errors
/// When it does not, or not so that it is understood.
pub fn types() -> Result<&'static str> {
    Btf::of_kernel().map(|_| KERNEL)
}

/// Makes the maps, attaches each hook and detaches it again.
pub fn hooks() -> Probe {
    match attach() {
        Ok(hooks) => Probe { maps: Ok(()), hooks },
        Err(error) => Probe { maps: Err(error), hooks: Vec::new() },
    }
}

fn attach() -> Result<Vec<(Hook, Option<String>)>> {
    let btf = Btf::of_kernel()?;
    let resolved = Resolved::new(&btf);
    let mut loaded = Loaded::new(&resolved, resolved.settings, SIZES)?;
    let _ring = loaded.ring()?;
    loaded.attach(&HOOKS, &resolved, &btf);
    let mut tried = |hook: Hook, what: &str, trial: &mut dyn FnMut(&mut Loaded) -> Result<()>| {
        if loaded.attached.contains(&hook)
            && let Err(error) = trial(&mut loaded).with_context(|| what.to_string())
        {
            loaded.off.push((hook, in_words(&error)));
        }
    };
    tried(Hook::Packets, "filtering packets", &mut |loaded| loaded.filter(&namespace::packet_socket()?));
    tried(Hook::Existing, "going over what is there", &mut |loaded| loaded.iterate("existing_sockets", open_iterator));
    let why = |hook| loaded.off.iter().find(|(off, _)| *off == hook).map(|(_, why)| why.clone());
    Ok(HOOKS.iter().map(|hook| (*hook, why(*hook))).collect())
}
