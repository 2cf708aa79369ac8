//! Where live connections are seen, and what is done where that cannot be had.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use observer_ebpf::Hook;

use super::live::{Netns, Observe, say_what_is_off};
use crate::failure::{WrongUsage, in_words};
use crate::source::libpcap::{self, ANY, Interfaces};
use crate::source::live::LiveSource;
use crate::source::namespace;
use crate::source::rights;
use crate::source::sock_diag::{self, Tables};

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
    /// The kernel's tables of sockets, looked at again and again: no packets, and no connection that is shorter
    #[value(name = "sock_diag")]
    SockDiag,
}

/// Where to observe.
#[derive(Clone, Debug, clap::Args)]
pub struct From {
    /// Where connections are seen
    #[arg(long, value_enum, default_value_t, value_name = "SOURCE")]
    pub source: Choice,

    /// From one look at the kernel's tables to the next; implies --source sock_diag [default: 0.2]
    #[arg(long, value_name = "SECONDS", value_parser = poll)]
    pub poll: Option<Duration>,

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

    /// Open TLS with the secrets that programs write to this file meanwhile (NSS key log format, SSLKEYLOGFILE); what the
    /// kernel passes on by itself is too little of a connection for that
    #[arg(long, value_name = "FILE")]
    keylog: Option<PathBuf>,
}

impl From {
    /// A source with its usual settings.
    pub fn usual(source: Choice) -> Self {
        let packets = Packets {
            interface: Vec::new(),
            filter: None,
            snaplen: None,
            buffer: None,
            promiscuous: false,
            keylog: None,
        };
        Self { source, poll: None, list_interfaces: false, packets }
    }

    /// Opens the source that was asked for, or the best there is, and says on standard error what it does not show.
    ///
    /// # Errors
    /// Where there is none, or not the one that was asked for.
    pub fn open(&self, observe: &Observe) -> Result<Box<dyn LiveSource>> {
        let asks_for_packets = self.packets.are_asked_for();
        if asks_for_packets && matches!(self.source, Choice::Ebpf | Choice::SockDiag) {
            let message = "-i, --filter, --snaplen, --buffer, --promiscuous and --keylog are for --source pcap";
            bail!(WrongUsage(message.to_string()));
        }
        let asks_for_tables = self.poll.is_some();
        if asks_for_tables && (asks_for_packets || matches!(self.source, Choice::Ebpf | Choice::Pcap)) {
            bail!(WrongUsage("--poll is for --source sock_diag".to_string()));
        }
        let is_elsewhere = matches!(self.source, Choice::Pcap | Choice::SockDiag);
        if !observe.hooks.is_empty() && (is_elsewhere || asks_for_tables) {
            bail!(WrongUsage("--hooks is for --source ebpf".to_string()));
        }
        let source = match self.source {
            Choice::Ebpf => ebpf(observe)?,
            Choice::Pcap => self.packets.open(observe)?,
            Choice::SockDiag => self.tables(observe)?,
            Choice::Auto if asks_for_packets => self.packets.open(observe)?,
            Choice::Auto if asks_for_tables => self.tables(observe)?,
            Choice::Auto => self.best(observe)?,
        };
        let unseen = source.unseen();
        if !unseen.is_empty() {
            eprintln!("observer: not seen: {}", unseen.join("; "));
        }
        Ok(source)
    }

    /// One step down after another.
    fn best(&self, observe: &Observe) -> Result<Box<dyn LiveSource>> {
        match ebpf(observe) {
            Ok(kernel) => return Ok(kernel),
            Err(error) if !observe.hooks.is_empty() => return Err(error),
            Err(error) => {
                let why = rights::obstacle_to_ebpf().unwrap_or_else(|| in_words(&error));
                eprintln!("observer: no eBPF (`observer check` tells more), packets are captured instead: {why}");
            }
        }
        match self.packets.open(observe) {
            Ok(interfaces) => return Ok(interfaces),
            Err(error) => {
                let why = in_words(&error);
                eprintln!("observer: no packets, the kernel's tables of sockets are looked at instead: {why}");
            }
        }
        self.tables(observe)
    }

    fn tables(&self, observe: &Observe) -> Result<Box<dyn LiveSource>> {
        let netns = match observe.netns {
            Netns::All => None,
            Netns::Own => Some(namespace::own()?),
            Netns::One(inode) => Some(inode),
        };
        let tables = Tables::open(sock_diag::Options { netns, interval: self.poll.unwrap_or(POLL) });
        Ok(Box::new(tables.context("looking at the kernel's tables of sockets")?))
    }
}

/// From one look at the kernel's tables to the next, where nothing else is said.
const POLL: Duration = Duration::from_millis(200);

fn poll(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_string())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(20) { Err("at least 0.02".to_string()) } else { Ok(duration) }
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
        let Self { interface, filter, snaplen, buffer, promiscuous, keylog } = self;
        let has_any = filter.is_some() || snaplen.is_some() || buffer.is_some() || keylog.is_some();
        !interface.is_empty() || has_any || *promiscuous
    }

    /// What the kernel is to leave out, in libpcap's language. Of what `ports` do not show (tunnels, fragments, ICMP errors)
    /// all is kept: decoded, it may be about one of them.
    fn filter(&self, ports: &[u16]) -> Option<String> {
        if ports.is_empty() {
            return self.filter.clone();
        }
        let ports: Vec<_> = ports.iter().map(|port| format!("tcp port {port}")).collect();
        let ports = format!("({} or not tcp or ip[6:2] & 0x1fff != 0)", ports.join(" or "));
        Some(self.filter.as_ref().map_or_else(|| ports.clone(), |filter| format!("({filter}) and {ports}")))
    }

    fn open(&self, observe: &Observe) -> Result<Box<dyn LiveSource>> {
        if observe.asks_for_processes() {
            let message =
                "packets do not tell whose they are: --pid, --comm and --cgroup need --source ebpf or sock_diag";
            bail!(WrongUsage(message.to_string()));
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
            filter: self.filter(&observe.port),
            keylog: self.keylog.clone(),
        };
        Ok(Box::new(Interfaces::open(&options).context("capturing packets with libpcap")?))
    }
}
