//! Where live connections are seen, and what is done where that cannot be had.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use observer_ebpf::Hook;

use super::live::{Netns, Observe, say_what_is_off};
use crate::source::libpcap::{self, ANY, Interfaces};
use crate::source::live::LiveSource;

/// Where connections are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The best that this host allows: ebpf, else pcap, else sock_diag; what is missing is told
    #[default]
    Auto,
    /// The kernel itself: everything
    Ebpf,
    /// Packets on interfaces, by libpcap: no processes, and nothing of what the kernel decides
    Pcap,
}

/// Where to observe.
#[derive(Clone, Debug, clap::Args)]
pub struct From {
    /// Where connections are seen
    #[arg(long, value_enum, default_value_t, value_name = "SOURCE")]
    pub source: Choice,

    /// List the interfaces that packets can be captured on
    #[arg(long, short = 'D')]
    pub list_interfaces: bool,

    #[command(flatten)]
    pub packets: Packets,
}

/// How packets are captured. Any of these asks for `--source pcap`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Packets on interfaces (each implies --source pcap)")]
pub struct Packets {
    /// Capture on this interface; may be given more than once [default: any, which is all of them]
    #[arg(long, short, value_name = "IFACE")]
    interface: Vec<String>,

    /// Only packets that match this expression in libpcap's language (see pcap-filter(7))
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,

    /// Keep at most this many octets of each packet [default: 262144]
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(i32).range(64..=262_144))]
    snaplen: Option<i32>,

    /// Room in the kernel for packets not yet taken, for each interface, in KiB [default: 16384]
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(i32).range(512..=2_097_151))]
    buffer: Option<i32>,

    /// Take packets for other hosts too
    #[arg(long)]
    promiscuous: bool,
}

impl From {
    /// Opens the source that was asked for, or the best there is.
    ///
    /// # Errors
    /// Where there is none, or not the one that was asked for.
    pub fn open(&self, observe: &Observe) -> Result<Box<dyn LiveSource>> {
        match self.source {
            Choice::Auto if self.packets.are_asked_for() => self.packets.open(observe),
            Choice::Auto => self.best(observe),
            Choice::Pcap => self.packets.open(observe),
            Choice::Ebpf if self.packets.are_asked_for() => {
                bail!("interfaces, --filter, --snaplen, --buffer and --promiscuous are for --source pcap")
            }
            Choice::Ebpf => ebpf(observe),
        }
    }

    /// One step down after another.
    fn best(&self, observe: &Observe) -> Result<Box<dyn LiveSource>> {
        let error = match ebpf(observe) {
            Ok(kernel) => return Ok(kernel),
            Err(error) if observe.hooks.is_empty() => error,
            Err(error) => return Err(error),
        };
        eprintln!(
            "observer: no eBPF ({error:#}): captures packets instead; not seen are processes, other network namespaces, \
             and what the kernel decides (drops, errors, reasons, its own counters)"
        );
        self.packets.open(observe)
    }
}

/// Prints the interfaces that packets can be captured on.
pub fn list_interfaces() -> Result<ExitCode> {
    let list = libpcap::list()?.join("\n");
    writeln!(io::stdout(), "{list}").context("writing to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// eBPF, where it can at least tell that sockets change their states.
fn ebpf(observe: &Observe) -> Result<Box<dyn LiveSource>> {
    let kernel = observe.open()?;
    let blind = kernel.off().iter().find(|(hook, _)| *hook == Hook::State && observe.hooks.is_empty());
    if let Some((_, why)) = blind {
        bail!("the kernel's states cannot be followed: {why}");
    }
    say_what_is_off(observe, &kernel)?;
    Ok(Box::new(kernel))
}

impl Packets {
    fn are_asked_for(&self) -> bool {
        let Self { interface, filter, snaplen, buffer, promiscuous } = self;
        !interface.is_empty() || filter.is_some() || snaplen.is_some() || buffer.is_some() || *promiscuous
    }

    fn open(&self, observe: &Observe) -> Result<Box<dyn LiveSource>> {
        if !observe.hooks.is_empty() {
            bail!("--hooks is for --source ebpf");
        }
        if observe.asks_for_processes() {
            bail!("packets do not tell whose they are: --pid, --comm and --cgroup need --source ebpf or sock_diag");
        }
        let any = || vec![ANY.to_string()];
        let options = libpcap::Options {
            interfaces: if self.interface.is_empty() { any() } else { self.interface.clone() },
            netns: match observe.netns {
                Netns::All | Netns::Own => None,
                Netns::One(inode) => Some(inode),
            },
            snaplen: self.snaplen.unwrap_or(262_144),
            buffer: self.buffer.unwrap_or(16_384).saturating_mul(1024),
            promiscuous: self.promiscuous,
            filter: self.filter.clone(),
        };
        Ok(Box::new(Interfaces::open(&options).context("capturing packets with libpcap")?))
    }
}
