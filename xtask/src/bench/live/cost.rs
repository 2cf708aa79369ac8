//! What observing costs the observer: time on the processors, in user space and in the programs in the kernel.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::STEADY;
use super::stage::{Observer, Stage};

/// Percent of one processor that an observer takes while nothing happens.
pub fn idle(observer: &Path) -> Result<f64> {
    const LENGTH: Duration = Duration::from_secs(10);
    let running = Observer::watch(observer, &[]).start()?;
    // What it does at its start is not what it costs to leave it on.
    std::thread::sleep(Duration::from_secs(2));
    let (before, started) = (processor_time(running.pid())?, Instant::now());
    std::thread::sleep(LENGTH);
    let used = processor_time(running.pid())?.saturating_sub(before);
    let percent = 100.0 * used.as_secs_f64() / started.elapsed().as_secs_f64();
    running.stop()?;
    Ok(percent)
}

/// What a connection costs.
pub struct Cost {
    user_space: f64,
    programs: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user_space, programs } = self;
        write!(f, "{user_space:.0} ns in user space and {programs:.0} ns in the kernel's programs for each")
    }
}

/// What each connection costs at a steady rate.
pub fn steady(observer: &Path, stage: &Stage) -> Result<Cost> {
    const LENGTH: Duration = Duration::from_secs(5);
    let _statistics = Statistics::on()?;
    let running = Observer::watch(observer, &[]).start()?;
    let pid = running.pid();
    let (time, programs) = (processor_time(pid)?, program_time(pid)?);
    let rate = stage.traffic(&format!("steady-{STEADY}"), LENGTH)?;
    // The last of them are told a moment later.
    std::thread::sleep(Duration::from_secs(1));
    let connections = rate * LENGTH.as_secs_f64();
    let user_space = processor_time(pid)?.saturating_sub(time).as_nanos() as f64 / connections;
    let programs = program_time(pid)?.saturating_sub(programs) as f64 / connections;
    running.stop()?;
    Ok(Cost { user_space, programs })
}

/// Time that the threads of a process have been on a processor, in user space and in the kernel: the first number of their
/// schedstat. What /proc/PID/stat counts in are ticks, which a process that wakes on a timer meets too often.
fn processor_time(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let mut nanoseconds = 0;
    for thread in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        let path = thread.with_context(|| format!("reading {folder}"))?.path().join("schedstat");
        let line = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        nanoseconds += line.split_ascii_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Nanoseconds that the eBPF programs of a process have run, by the kernel's statistics.
fn program_time(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut total = 0;
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        // Descriptors come and go.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let time = text.lines().find_map(|line| line.strip_prefix("run_time_ns:")?.trim().parse::<u64>().ok());
        total += time.unwrap_or(0);
    }
    Ok(total)
}

/// The kernel's statistics of eBPF programs, switched on until dropped.
struct Statistics {
    before: String,
}

impl Statistics {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn on() -> Result<Self> {
        let before = fs::read_to_string(Self::SWITCH).context("reading kernel.bpf_stats_enabled")?;
        fs::write(Self::SWITCH, "1").context("switching kernel.bpf_stats_enabled on")?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::SWITCH, &self.before) {
            eprintln!("restoring kernel.bpf_stats_enabled: {error}");
        }
    }
}
