//! `observer sockets`: the TCP sockets of this host, as `ss` prints them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::error::ErrorKind;
use observer::kernel;
use observer::packet::IpVersion;
use observer::record::{Object, SocketProcess, SocketRecord, SocketSummary};
use observer::socket::{Aside, Diag, Filter, Names, Socket};
use observer::tracker::States;

use super::format::Format;
use super::live::{Netns, netns};
use crate::sink::{json, sockets as page};
use crate::source::namespace;
use crate::source::owner::{self, Owners};
use crate::source::services::Services;
use crate::source::sock_diag::descriptors::Holders;
use crate::source::sock_diag::dump::{More, Query, Table};

/// Show the TCP sockets of this host, as `ss` does, with its options and its filters
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo observer sockets -tanp\n  \
    sudo observer sockets -np state close-wait\n  \
    observer sockets -no state time-wait dst 10.0.0.0/8\n  \
    observer sockets -ni '( dport = :443 or sport = :443 ) and not dst 127.0.0.0/8'\n  \
    observer sockets -ln\n  \
    observer sockets -s --all --netns all\n  \
    sudo observer sockets --output json | jq 'select(.state == \"CLOSE-WAIT\") | .processes'\n\n\
    Without -a, -l or a state in the filter, connections that are open are shown: neither listeners nor TIME-WAIT.\n\
    Filters: state STATE, exclude STATE, src and dst [inet:|inet6:]HOST[/BITS][:PORT] with an address or a name, sport and \
    dport = != < <= > >= PORT, dev = INTERFACE, fwmark = MARK[/MASK], cgroup = PATH, autobound, and, or, not, parentheses.")]
pub struct Sockets {
    /// Sockets in every state
    #[arg(long, short)]
    all: bool,

    /// Listeners
    #[arg(long, short)]
    listening: bool,

    /// Ports by their numbers, not by the names of services
    #[arg(long, short)]
    numeric: bool,

    /// The processes that have a socket open
    #[arg(long, short)]
    processes: bool,

    /// Timers
    #[arg(long, short = 'o')]
    options: bool,

    /// User, inode, cookie, cgroup; includes --options
    #[arg(long, short)]
    extended: bool,

    /// The kernel's numbers of each connection (`struct tcp_info`)
    #[arg(long, short)]
    info: bool,

    /// The memory of each socket
    #[arg(long, short)]
    memory: bool,

    /// Sockets in numbers, as the kernel counts them; with --all, how many are in each state
    #[arg(long, short)]
    summary: bool,

    /// Sockets that were opened for IPv4
    #[arg(long, short = '4', conflicts_with = "ipv6")]
    ipv4: bool,

    /// Sockets that were opened for IPv6
    #[arg(long, short = '6')]
    ipv6: bool,

    /// TCP sockets: all of these are
    #[arg(long, short, hide = true)]
    tcp: bool,

    /// No line with the names of the columns
    #[arg(long, short = 'H')]
    no_header: bool,

    /// Everything of a socket on one line
    #[arg(long, short = 'O')]
    oneline: bool,

    /// Network namespaces: `all`, `own`, or one by its name (as `ip netns` lists them) or its inode
    #[arg(long, short = 'N', value_name = "WHICH", default_value = "own", value_parser = netns)]
    netns: Netns,

    /// What to print
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    /// Which sockets, in the language of `ss`
    #[arg(value_name = "FILTER", conflicts_with = "summary")]
    filter: Vec<String>,
}

impl Sockets {
    /// Reads the tables and prints them.
    pub fn run(self) -> Result<ExitCode> {
        let namespaces = self.netns.places()?;
        let mut out = Vec::new();
        if self.summary {
            self.summaries(&namespaces, &mut out)?;
        } else {
            let services = Services::read();
            let names = Names { service: &|name| services.port(name), host: &addresses_of, cgroup: &owner::cgroup };
            let filter = Filter::parse(&self.filter, names);
            let filter = filter.unwrap_or_else(|error| super::refuse("sockets", ErrorKind::ValueValidation, error));
            self.tables(&namespaces, &filter, &services, &mut out)?;
        }
        io::stdout().lock().write_all(&out).context("writing to standard output")?;
        Ok(ExitCode::SUCCESS)
    }

    fn summaries(&self, namespaces: &[(u32, Option<PathBuf>)], out: &mut Vec<u8>) -> Result<()> {
        let several = namespaces.len() > 1;
        self.in_each(
            namespaces,
            |netns| summarize(netns, self.all),
            |_, summary| {
                match self.output {
                    Format::Json => json::line(&mut *out, &Object::SocketSummary(Box::new(summary)))?,
                    Format::Text => {
                        let mut text = String::new();
                        if several {
                            text = format!("{}Netns: {}\n", if out.is_empty() { "" } else { "\n" }, summary.netns);
                        }
                        page::summary(&mut text, &summary);
                        out.extend_from_slice(text.as_bytes());
                    }
                }
                Ok(())
            },
        )
    }

    fn tables(
        &self,
        namespaces: &[(u32, Option<PathBuf>)],
        filter: &Filter,
        services: &Services,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let is_json = self.output == Format::Json;
        let states = filter.states.unwrap_or_else(|| self.states());
        let query = Query {
            families: match (self.ipv4, self.ipv6) {
                (true, _) => &[IpVersion::V4],
                (_, true) => &[IpVersion::V6],
                _ => &[IpVersion::V4, IpVersion::V6],
            },
            states: kernel::numbers(states),
            more: More { info: self.info || is_json, memory: self.memory || is_json },
            ..Query::ALL
        };
        let mut lines = page::Sockets::new(page::Fields {
            timers: self.options,
            extended: self.extended,
            info: self.info,
            one_line: self.oneline,
            no_header: self.no_header,
        });
        let mut lookup = Lookup { holders: (self.processes || is_json).then(Holders::find), unknown: 0 };
        let mut cgroups = self.extended.then(|| (Owners::new(), HashMap::new()));
        let several = namespaces.len() > 1;
        let mut marks_are_hidden = false;
        let service = |port| if self.numeric { None } else { services.name(port) };
        self.in_each(
            namespaces,
            |_| Table::open(),
            |netns, mut table| {
                let mut interfaces = table.interfaces()?;
                let autobound = autobound(&mut table, filter, query)?;
                let mut written = Ok(());
                table.each(query, |diag| {
                    let socket = &diag.socket;
                    let interface = interfaces.name(socket.interface);
                    marks_are_hidden |= diag.mark().is_none();
                    let aside = Aside { interface, is_autobound: autobound.contains(&socket.cookie) };
                    if written.is_err() || !filter.wants(&diag, aside) {
                        return;
                    }
                    let processes = lookup.processes(socket);
                    if is_json {
                        let record = SocketRecord::new(&diag, netns, processes.map(<[_]>::to_vec));
                        written = json::line(&mut *out, &Object::Socket(Box::new(record)));
                        return;
                    }
                    lines.push(
                        &diag,
                        several.then_some(netns),
                        page::Known {
                            processes: processes.unwrap_or_default(),
                            cgroup: path_of(&mut cgroups, &diag),
                            interface,
                            services: [service(socket.local.1), service(socket.peer.1)],
                        },
                    );
                })?;
                written
            },
        )?;
        if !is_json {
            let mut text = String::new();
            lines.finish(&mut text);
            out.extend_from_slice(text.as_bytes());
        }
        lookup.say_what_is_hidden();
        if marks_are_hidden && filter.asks_for_marks() {
            eprintln!("observer: not seen: the marks of sockets (this takes CAP_NET_ADMIN)");
        }
        Ok(())
    }

    /// What is shown where the filter names no states, as with `ss`.
    fn states(&self) -> States {
        let closed = States::LISTEN | States::CLOSED;
        match (self.all, self.listening) {
            (true, _) => States::all(),
            (_, true) => closed,
            _ => (closed | States::TIME_WAIT | States::SYN_RECV).complement(),
        }
    }

    /// Opens something in each namespace and then hands it over. One of several that cannot be entered is told of, and
    /// left out.
    fn in_each<T: Send>(
        &self,
        namespaces: &[(u32, Option<PathBuf>)],
        open: impl Fn(u32) -> Result<T> + Sync,
        mut take: impl FnMut(u32, T) -> Result<()>,
    ) -> Result<()> {
        for (netns, path) in namespaces {
            let opened = match path {
                None => open(*netns),
                Some(path) => namespace::within(path, || open(*netns)),
            };
            match opened {
                Ok(opened) => take(*netns, opened)?,
                Err(error) if namespaces.len() > 1 => eprintln!("observer: not seen: {error:#}"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The sockets whose port the kernel chose, by their cookies, where the filter asks for them.
fn autobound(table: &mut Table, filter: &Filter, query: Query<'_>) -> Result<HashSet<u64>> {
    let mut cookies = HashSet::new();
    if filter.asks_for_autobound() {
        let query = Query { autobound: true, more: More::default(), ..query };
        table.each(query, |diag| cookies.extend([diag.socket.cookie]))?;
    }
    Ok(cookies)
}

/// The numbers of the namespace that this thread is in.
fn summarize(netns: u32, by_state: bool) -> Result<SocketSummary> {
    let read = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let v4 = read("sockstat").context("reading /proc/net/sockstat")?;
    // Without IPv6 there is none.
    let v6 = read("sockstat6").unwrap_or_default();
    let counters = read("snmp").context("reading /proc/net/snmp")?;
    let mut summary = SocketSummary::new(netns, &v4, &v6, &counters);
    if by_state {
        let states = summary.states.insert(BTreeMap::new());
        Table::open()?.each(Query::ALL, |diag| *states.entry(diag.socket.tcp_state().name()).or_default() += 1)?;
    }
    Ok(summary)
}

/// Paths of cgroups; `None` where nobody asks.
type Cgroups = Option<(Owners, HashMap<u64, Option<String>>)>;

/// Whose sockets they are.
struct Lookup {
    /// `None` where nobody asks.
    holders: Option<Holders>,
    /// Sockets whose process may be one that does not show what it has open.
    unknown: u64,
}

impl Lookup {
    /// The processes that have a socket open; `None` where that is not known.
    fn processes(&mut self, socket: &Socket) -> Option<&[SocketProcess]> {
        let holders = self.holders.as_ref()?;
        if socket.inode == 0 {
            return Some(&[]);
        }
        let found = holders.by_inode.get(&socket.inode).map(Vec::as_slice);
        if found.is_none() && holders.hidden > 0 {
            self.unknown += 1;
            return None;
        }
        Some(found.unwrap_or_default())
    }

    fn say_what_is_hidden(&self) {
        if let (Some(holders), 1..) = (&self.holders, self.unknown) {
            let (unknown, hidden) = (self.unknown, holders.hidden);
            eprintln!(
                "observer: not seen: the processes of {}; {hidden} processes of other users do not show \
                 theirs (this takes CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or root)",
                observer::units::number_of(unknown, "socket").replace('\u{a0}', " "),
            );
        }
    }
}

/// The path of a socket's cgroup; `None` too where nobody asks.
fn path_of<'a>(cgroups: &'a mut Cgroups, diag: &Diag<'_>) -> Option<&'a str> {
    let (owners, paths) = cgroups.as_mut()?;
    let id = diag.cgroup()?;
    paths.entry(id).or_insert_with(|| owners.cgroup_path(id)).as_deref()
}

/// The addresses of a host by its name, as the system looks names up.
fn addresses_of(name: &str) -> Vec<IpAddr> {
    (name, 0).to_socket_addrs().map_or_else(|_| Vec::new(), |all| all.map(|address| address.ip()).collect())
}
