//! Laying rights down: what is not needed any more is given up before the first byte of others is read.

use anyhow::{Context as _, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// What a part of observer needs once it is set up.
pub type Needs = CapabilitySet;

/// Observing with eBPF: the maps and iterators, packet sockets, and the command lines of others' processes.
pub const KERNEL: Needs =
    CapabilitySet::BPF.union(CapabilitySet::PERFMON).union(CapabilitySet::NET_RAW).union(CapabilitySet::SYS_PTRACE);

/// Reading packets from interfaces that are open.
pub const PACKETS: Needs = CapabilitySet::empty();

/// Asking for the tables of sockets, in namespaces that appear later too, and whose they are.
pub const TABLES: Needs = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH);

/// Reading gauges: whose sockets they are, and how many descriptors processes have. Namespaces were entered before.
pub const GAUGES: Needs = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// Reading the entries of connection tracking, and the rules of nf_tables.
pub const NETFILTER: Needs = CapabilitySet::NET_ADMIN;

/// The process that enters namespaces for gauges, those of other users' processes too: what it opens there tells of connection
/// tracking as well.
pub const GAUGE_PORTER: Needs =
    CapabilitySet::SYS_ADMIN.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::SYS_PTRACE);

/// The process that enters namespaces.
pub const PORTER: Needs = KERNEL.union(CapabilitySet::SYS_ADMIN);

/// Keeps of this thread's capabilities those that are needed, gives up all others for good, and forbids to gain new ones by
/// running other programs.
///
/// # Errors
/// When the kernel refuses.
pub fn lay_down(needs: Needs) -> Result<()> {
    give_up(needs).context("giving up rights that are not needed any more")
}

fn give_up(needs: Needs) -> Result<()> {
    let held = capabilities(None).context("asking for this process's capabilities")?.permitted;
    for one in CapabilitySet::all().iter() {
        // Takes CAP_SETPCAP, and matters to programs that are run only: there will be none.
        let _ = remove_capability_from_bounding_set(one);
    }
    clear_ambient_capability_set().context("clearing the ambient capabilities")?;
    let kept = held.intersection(needs);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("laying down capabilities")?;
    set_no_new_privs(true).context("forbidding new privileges")?;
    forbid_system_calls().context("forbidding system calls")
}

/// System calls that observer never makes once it observes: running programs, and changing the system.
const FORBIDDEN: [libc::c_long; 25] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_keyctl,
];

/// Has the kernel answer those calls with EPERM, for every thread.
fn forbid_system_calls() -> Result<()> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(()) };
    let rules = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
    seccompiler::apply_filter_all_threads(&BpfProgram::try_from(filter)?)?;
    Ok(())
}
