//! What rights an observer keeps.

use observer_tests::live::until;

use super::stage;

#[test]
fn rights_are_laid_down() {
    let Some((_netns, watch)) = stage("rights", &[]) else { return };
    let observer = watch.pid();
    let children = std::fs::read_to_string(format!("/proc/{observer}/task/{observer}/children")).expect("it lives");
    let porter: u32 = children.trim().parse().expect("it has one child, which enters namespaces");
    for (pid, rights) in [(observer, KERNEL), (porter, KERNEL | 1 << CAP_SYS_ADMIN)] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says");
            line.trim().to_string()
        };
        for set in ["CapPrm:", "CapEff:"] {
            let held = u64::from_str_radix(&field(set), 16).expect("a number");
            assert_eq!(held & !rights, 0, "{set} {held:x} of process {pid}");
        }
        assert_eq!((field("CapInh:"), field("CapAmb:")), ("0".repeat(16), "0".repeat(16)));
        assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
    }
    watch.finish();
    let lives = || {
        let status = std::fs::read_to_string(format!("/proc/{porter}/status")).unwrap_or_default();
        // Dead, and not yet looked after by who inherited it.
        !status.is_empty() && !status.contains("State:\tZ")
    };
    until("the child ends with its parent", || !lives());
}

// include/uapi/linux/capability.h: CAP_NET_RAW, CAP_SYS_PTRACE, CAP_PERFMON and CAP_BPF.
const KERNEL: u64 = 1 << 13 | 1 << 19 | 1 << 38 | 1 << 39;
const CAP_SYS_ADMIN: u64 = 21;
