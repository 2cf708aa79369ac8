//! Laying rights down: what is not needed any more is given up before the first byte of others is read.

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};

/// What a part of observer needs.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    capabilities: &'static [Capability],
}

/// Observing with eBPF: the maps and iterators, packet sockets, and the command lines of others' processes.
pub const KERNEL: Needs = Needs {
    capabilities: &[
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_NET_ADMIN,
        Capability::CAP_NET_RAW,
        Capability::CAP_SYS_PTRACE,
    ],
};

/// Reading packets from interfaces that are open.
pub const PACKETS: Needs = Needs { capabilities: &[] };

/// Asking for the tables of sockets, in namespaces that appear later too, and whose they are.
pub const TABLES: Needs =
    Needs { capabilities: &[Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN, Capability::CAP_SYS_PTRACE] };

/// The process that enters namespaces.
pub const PORTER: Needs = Needs {
    capabilities: &[
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_NET_ADMIN,
        Capability::CAP_NET_RAW,
        Capability::CAP_SYS_PTRACE,
    ],
};

/// Keeps of this thread's capabilities those that are needed, gives up all others for good, and forbids to gain new ones by
/// running other programs.
///
/// # Errors
/// When the kernel refuses.
pub fn lay_down(needs: &Needs) -> Result<()> {
    let held = caps::read(None, CapSet::Permitted).context("reading this process's capabilities")?;
    let kept: CapsHashSet = needs.capabilities.iter().copied().filter(|one| held.contains(one)).collect();
    // Without CAP_SETPCAP the bounding set stays as it is; it matters to programs that are run only, and none is.
    let _ = caps::clear(None, CapSet::Bounding);
    caps::clear(None, CapSet::Ambient).context("clearing the ambient capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("laying down effective capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("laying down permitted capabilities")?;
    caps::clear(None, CapSet::Inheritable).context("clearing the inheritable capabilities")?;
    rustix::thread::set_no_new_privs(true).context("forbidding new privileges")?;
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
