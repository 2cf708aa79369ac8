//! What this process may do: capabilities(7) and the kernel's age.

use anyhow::{Context as _, Result};
use rustix::thread::{CapabilitySet, capabilities};

/// A capability that observer can use.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// As capabilities(7) and `setcap` name it.
    pub name: &'static str,
    /// What it is used for.
    pub used_for: &'static str,
    set: CapabilitySet,
}

/// Loading programs and making maps.
pub const BPF: Right = Right { name: "CAP_BPF", used_for: "loading eBPF programs", set: CapabilitySet::BPF };
/// Programs that trace the kernel.
pub const PERFMON: Right =
    Right { name: "CAP_PERFMON", used_for: "attaching them to tracepoints", set: CapabilitySet::PERFMON };
/// Programs that cgroups run.
pub const NET_ADMIN: Right = Right {
    name: "CAP_NET_ADMIN",
    used_for: "programs at the root of the cgroups, for what leaves and who accepts",
    set: CapabilitySet::NET_ADMIN,
};
/// Packet sockets.
pub const NET_RAW: Right = Right {
    name: "CAP_NET_RAW",
    used_for: "packets, for the kernel's filter and for libpcap",
    set: CapabilitySet::NET_RAW,
};
/// Which namespaces other users' processes are in.
pub const SYS_PTRACE: Right =
    Right { name: "CAP_SYS_PTRACE", used_for: "namespaces of other users' processes", set: CapabilitySet::SYS_PTRACE };
/// Folders of other users, such as `/proc/PID/fd`.
pub const DAC_READ_SEARCH: Right = Right {
    name: "CAP_DAC_READ_SEARCH",
    used_for: "whose sockets they are, without eBPF",
    set: CapabilitySet::DAC_READ_SEARCH,
};
/// Going into namespaces.
pub const SYS_ADMIN: Right =
    Right { name: "CAP_SYS_ADMIN", used_for: "packets in other network namespaces", set: CapabilitySet::SYS_ADMIN };
/// Addresses in `/proc/kallsyms`.
pub const SYSLOG: Right = Right {
    name: "CAP_SYSLOG",
    used_for: "where in the kernel packets are dropped, by name",
    set: CapabilitySet::SYSLOG,
};

/// All that can be used.
pub const RIGHTS: [Right; 8] = [BPF, PERFMON, NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN, SYSLOG, DAC_READ_SEARCH];

/// Those that show all of one network namespace, processes and what passes between namespaces' sockets included.
pub const ENOUGH: [Right; 5] = [BPF, PERFMON, NET_ADMIN, NET_RAW, SYS_PTRACE];

/// The first release whose eBPF has what the programs use: ring buffers, BTF tracepoints and CAP_BPF came by 5.8.
pub const OLDEST: (u32, u32) = (5, 8);

impl Right {
    /// Whether this process has it.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn is_held(&self) -> Result<bool> {
        let sets = capabilities(None).context("asking the kernel for this process's capabilities")?;
        Ok(sets.effective.contains(self.set))
    }

    /// Whether this process lacks it, and what stands for it: before Linux 5.8, CAP_SYS_ADMIN was what CAP_BPF and
    /// CAP_PERFMON are now, and it still includes them.
    pub fn is_missing(&self) -> bool {
        let is_held = |right: &Self| right.is_held().unwrap_or(false);
        let includes = self.set == CapabilitySet::BPF || self.set == CapabilitySet::PERFMON;
        !(is_held(self) || (includes && is_held(&SYS_ADMIN)))
    }
}

/// The kernel's release, as `uname -r` prints it.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Its first two numbers.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// What keeps eBPF from working here, in a few words; `None` where nothing obvious does.
pub fn obstacle_to_ebpf() -> Option<String> {
    let release = release();
    if version(&release).is_some_and(|version| version < OLDEST) {
        return Some(format!("the kernel is {release}, and {}.{} or later is needed", OLDEST.0, OLDEST.1));
    }
    let missing: Vec<_> = [BPF, PERFMON].iter().filter(|right| right.is_missing()).map(|right| right.name).collect();
    (!missing.is_empty()).then(|| format!("{} missing", missing.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(version("7.0-rc3"), Some((7, 0)));
        assert_eq!(version("unknown"), None);
        assert!(version("5.10.0").is_some_and(|version| version > OLDEST));
    }
}
