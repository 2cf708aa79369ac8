//! What the live subcommands share: which hooks, which connections, and the loop.

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use observer::packet::Tuple;
use observer::record::{CaptureRecord, ConnectionRecord, LookupRecord, TcpState};
use observer::recording::Begin;
use observer::time::{Nanos, Timestamp};
use observer::tracker::{Config, States};
use observer_ebpf::{HOOKS, Hook};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::live::{Live, News};
use crate::run::seed;
use crate::sink::Recorder;
use crate::source::ebpf::{self, Kernel};
use crate::source::live::{Batch, LiveSource, Seen};
use crate::source::namespace;
use crate::source::translations::Translations;

/// How often what the kernel has gathered is taken out. Nothing wakes us: a wake-up an event is what costs most.
const DRAIN: Duration = Duration::from_millis(20);

/// The same while nothing happens. What the kernel keeps for us has room for much more than can happen in that time.
const DRAIN_IDLE: Duration = Duration::from_millis(120);

/// The same after nothing has happened for a while.
const DRAIN_ASLEEP: Duration = Duration::from_millis(250);

/// How many drains in a row that bring nothing are a while: about two seconds.
const A_WHILE: u32 = 16;

/// How often the living sockets are looked at, and new namespaces looked for.
const LOOK: Duration = Duration::from_secs(1);

/// The same while no connection is open and nothing has happened for a while.
const LOOK_ASLEEP: Duration = Duration::from_secs(5);

/// Living sockets that take a look a second; of more, looks are further apart, so that their cost stays.
const LOOKED_AT: usize = 5_000;

/// Which part of the host's connections is observed, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Observe {
    /// Hooks in the kernel to use, separated by commas; `+NAME` adds to the default, which is all but `congestion`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = hook)]
    pub hooks: Vec<Asked>,

    /// Network namespaces to observe: `all`, `own`, or one by its name (as `ip netns` lists them) or its inode (as
    /// `lsns -t net` does)
    #[arg(long, value_name = "WHICH", default_value = "all", value_parser = netns)]
    pub netns: Netns,

    /// Say on standard error what is set up; twice, what the programs in the kernel do with each socket
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Only connections with this port at either end
    #[arg(long, value_name = "PORT")]
    pub port: Vec<u16>,

    /// Only connections of this process
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,

    /// Only connections of processes with this name, of which the kernel keeps 15 octets
    #[arg(long, value_name = "NAME", value_parser = comm)]
    pub comm: Vec<String>,

    /// Only connections of processes whose cgroup's path contains this
    #[arg(long, value_name = "PART")]
    pub cgroup: Vec<String>,

    /// Only connections of which an end is in one of these states, separated by commas, by ss's words (close-wait,
    /// time-wait, established, connected, synchronized, …): told as soon as one is, and at the end
    #[arg(long, value_name = "STATES", value_delimiter = ',', value_parser = states)]
    pub state: Vec<States>,

    /// Also keep what is seen in a pcapng file, for Wireshark and `observer replay`; `-` is standard output, and nothing is
    /// printed
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// How often connections that live long are reported (JSON), and the numbers of all sockets refreshed
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub interval: Duration,

    /// Octets of the ring buffer between kernel and observer, in KiB; a power of two
    #[arg(long, value_name = "KIB", default_value = "16384", value_parser = ring)]
    pub ring: u32,

    /// How many sockets can be followed at once
    #[arg(long, value_name = "N", default_value = "262144", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub max_sockets: u32,
}

/// Network namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Netns {
    /// Every one of the host.
    All,
    /// The one observer runs in.
    Own,
    /// The one with this inode.
    One(u32),
}

impl Netns {
    /// Which namespaces that are: inode, and where to enter those that are not ours, which comes first.
    pub fn places(self) -> Result<Vec<(u32, Option<PathBuf>)>> {
        let own = namespace::own()?;
        match self {
            Self::Own => Ok(vec![(own, None)]),
            Self::One(inode) if inode == own => Ok(vec![(own, None)]),
            Self::One(inode) => Ok(vec![(inode, Some(namespace::path_of(inode)?))]),
            Self::All => {
                let others = namespace::all().into_iter().filter(|(inode, _)| *inode != own);
                let others = others.map(|(inode, path)| (inode, Some(path)));
                Ok(std::iter::once((own, None)).chain(others).collect())
            }
        }
    }
}

/// A hook that is asked for by name.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    hook: Hook,
    /// It comes beside those that are used anyway.
    adds: bool,
}

fn hook(word: &str) -> Result<Asked, String> {
    let (name, adds) = word.strip_prefix('+').map_or((word, false), |name| (name, true));
    let hook = HOOKS.into_iter().find(|hook| hook.name() == name);
    hook.map(|hook| Asked { hook, adds }).ok_or_else(|| {
        let names: Vec<_> = HOOKS.iter().map(|hook| hook.name()).collect();
        format!("there is no hook {name}; there are {}", names.join(", "))
    })
}

/// Namespaces by their words.
pub fn netns(which: &str) -> Result<Netns, String> {
    match which {
        "all" => Ok(Netns::All),
        "own" => Ok(Netns::Own),
        inode if inode.bytes().all(|byte| byte.is_ascii_digit()) => {
            inode.parse().map(Netns::One).map_err(|_| "no inode is as large".to_string())
        }
        name => namespace::named(name).map(Netns::One).map_err(|error| format!("{error:#}")),
    }
}

/// A process's name as the kernel has it: TASK_COMM_LEN, less its zero.
#[expect(clippy::unnecessary_wraps, reason = "clap asks for a result")]
fn comm(name: &str) -> Result<String, Infallible> {
    const LENGTH: usize = 15;
    let kept = name.as_bytes();
    Ok(String::from_utf8_lossy(kept.get(..LENGTH).unwrap_or(kept)).into_owned())
}

/// States by the words of `ss`, which has some for several.
fn states(word: &str) -> Result<States, String> {
    States::by_name(word).ok_or_else(|| {
        let known: Vec<_> = States::NAMES.iter().map(|(word, _)| *word).collect();
        format!("ss has no state {word}; there are {}", known.join(", "))
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_string())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(100) { Err("at least 0.1".to_string()) } else { Ok(duration) }
}

fn ring(text: &str) -> Result<u32, String> {
    let kib: u32 = text.parse().map_err(|_| "not a number of KiB".to_string())?;
    match kib.checked_mul(1024) {
        Some(octets) if octets.is_power_of_two() && kib >= 4 => Ok(octets),
        _ => Err("not a power of two of at least 4".to_string()),
    }
}

impl Observe {
    /// Everything in these namespaces, as it is observed where nothing else is asked for.
    pub fn everything(netns: Netns) -> Self {
        Self {
            hooks: Vec::new(),
            netns,
            verbose: 0,
            port: Vec::new(),
            pid: Vec::new(),
            comm: Vec::new(),
            cgroup: Vec::new(),
            state: Vec::new(),
            write: None,
            interval: Duration::from_secs(10),
            ring: 16_384 * 1024,
            max_sockets: 262_144,
        }
    }

    /// The hooks that are wanted.
    pub fn wanted(&self) -> Vec<Hook> {
        let adds = self.hooks.iter().all(|asked| asked.adds);
        let mut hooks: Vec<_> =
            HOOKS.into_iter().filter(|hook| (adds && hook.is_default()) || self.asks_for(*hook)).collect();
        // Without its end, the life of a socket is never told.
        if hooks.contains(&Hook::State) && !hooks.contains(&Hook::Destroy) {
            hooks.push(Hook::Destroy);
        }
        hooks
    }

    /// Whether a hook is asked for by name.
    fn asks_for(&self, hook: Hook) -> bool {
        self.hooks.iter().any(|asked| asked.hook == hook)
    }

    /// Opens the kernel.
    pub fn open(&self) -> Result<Kernel> {
        let netns = match self.netns {
            Netns::All => None,
            Netns::Own => Some(namespace::own()?),
            Netns::One(inode) => Some(inode),
        };
        Kernel::open(ebpf::Options {
            hooks: self.wanted(),
            ring: self.ring,
            sockets: self.max_sockets,
            netns,
            ports: self.port.clone(),
            payload: PAYLOAD,
        })
        .context("observing the kernel with eBPF")
    }

    /// Whether standard output takes the recording.
    pub fn writes_to_standard_output(&self) -> bool {
        self.write.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }

    /// Begins the recording that is asked for.
    fn recorder(&self, begin: &Begin, source: &dyn LiveSource) -> Result<Option<Recorder>> {
        let Some(path) = &self.write else { return Ok(None) };
        if self.writes_to_standard_output() && std::io::stdout().is_terminal() {
            bail!(
                "a recording is nothing for a terminal: --write FILE, or send it on (`--write - | wireshark -k -i -`)"
            );
        }
        let mut capture = CaptureRecord::default();
        source.describe(&mut capture)?;
        Recorder::create(path, begin, capture).map(Some)
    }

    /// Whether it matters whose a connection is.
    pub fn asks_for_processes(&self) -> bool {
        !(self.pid.is_empty() && self.comm.is_empty() && self.cgroup.is_empty())
    }

    /// Leaves out what the source could not: sockets and events between other ports.
    fn thin(&self, batch: &mut Batch) {
        if self.port.is_empty() {
            return;
        }
        let wants = |tuple: &Tuple| self.port.contains(&tuple.sport) || self.port.contains(&tuple.dport);
        batch.seen.retain(|seen| match seen {
            Seen::Socket(_, socket) => wants(&socket.tuple),
            Seen::Stray(_, stray) => wants(&stray.tuple),
            // What is in it, only decoding tells.
            Seen::Packet(..) | Seen::Socketless(_) => true,
        });
    }

    /// The states that are asked for.
    pub fn states(&self) -> States {
        self.state.iter().copied().collect()
    }

    /// Whether a lookup is one that was asked for: whose it was is not known.
    pub fn wants_lookup(&self, record: &LookupRecord) -> bool {
        !self.asks_for_processes()
            && self.state.is_empty()
            && (self.port.is_empty() || self.port.contains(&record.server.port))
    }

    /// Whether a connection is one that was asked for.
    pub fn wants(&self, record: &ConnectionRecord) -> bool {
        let any = |wanted: bool, some: bool| !wanted || some;
        let processes = || record.processes.iter();
        let has_cgroup = |part: &String| {
            processes().any(|process| process.cgroup.as_ref().is_some_and(|path| path.contains(part.as_str())))
        };
        any(!self.port.is_empty(), [record.client.port, record.server.port].iter().any(|port| self.port.contains(port)))
            && any(
                !self.pid.is_empty(),
                processes().any(|process| process.pid.is_some_and(|pid| self.pid.contains(&pid))),
            )
            && any(
                !self.comm.is_empty(),
                processes().any(|process| process.name.as_ref().is_some_and(|name| self.comm.contains(name))),
            )
            && any(!self.cgroup.is_empty(), self.cgroup.iter().any(has_cgroup))
            && any(!self.state.is_empty(), {
                let of = |state: TcpState| States::from(state);
                self.states().intersects(of(record.tcp_state.client) | of(record.tcp_state.server))
            })
    }
}

/// Octets of payload of each direction that are passed on: enough for a TLS handshake's first flight or a request's head.
const PAYLOAD: u32 = 4096;

/// What prints.
pub trait Teller {
    /// Everything is in place and open: what happens from now on is seen, and a signal is an orderly end. Rights that are
    /// not needed any more are laid down here.
    fn start(&mut self) -> Result<()> {
        Ok(())
    }

    /// Takes what the loop tells.
    fn tell(&mut self, news: News<'_>) -> Result<()>;

    /// Nothing more comes for now.
    fn pause(&mut self) -> Result<()> {
        Ok(())
    }

    /// How it goes, about once a second: so many connections are followed, so many records were lost.
    fn status(&mut self, _open: usize, _lost: Option<u64>) -> Result<()> {
        Ok(())
    }

    /// The end.
    fn finish(&mut self, capture: &CaptureRecord) -> Result<()>;
}

/// What ended the observing.
pub enum Ended {
    /// SIGINT or SIGTERM.
    Signal(SignalKind),
    /// What was waited for: its exit status.
    Awaited(ExitCode),
}

/// Observes until a signal comes or `until` is done.
pub fn run(
    observe: &Observe,
    source: &mut dyn LiveSource,
    config: Config,
    teller: &mut dyn Teller,
    until: impl Future<Output = Result<ExitCode>>,
) -> Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the loop")?;
    let config = Config { seed: seed(), ..config };
    let begin = Live::begin(&config, source);
    let recorder = observe.recorder(&begin, source)?;
    let live = Live::new(config, &begin);
    let live = if recorder.is_some() { live } else { live.unkept() };
    // Namespaces are entered while that is allowed.
    let (translations, why) = Translations::open(&observe.netns.places()?);
    if let Some(why) = why.filter(|_| observe.verbose > 0) {
        eprintln!("observer: not seen: translated addresses: {why}");
    }
    let looked = source.now();
    let mut run = Run { observe, source, live, teller, recorder, batch: Batch::default(), looked, translations };
    let ended = runtime.block_on(run.watch(observe, until))?;
    run.finish()?;
    Ok(ended)
}

/// What is at work while it is observed.
struct Run<'a> {
    observe: &'a Observe,
    source: &'a mut dyn LiveSource,
    live: Live,
    teller: &'a mut dyn Teller,
    recorder: Option<Recorder>,
    batch: Batch,
    /// When the living sockets were last looked at.
    looked: Timestamp,
    translations: Translations,
}

impl Run<'_> {
    async fn watch(&mut self, observe: &Observe, until: impl Future<Output = Result<ExitCode>>) -> Result<Ended> {
        let mut interrupted = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let (mut pause, mut idle) = (DRAIN, 0_u32);
        let mut report = interval(observe.interval);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looked, mut look) = (Instant::now(), Duration::ZERO);
        tokio::pin!(until);
        self.teller.start()?;
        loop {
            tokio::select! {
                _ = interrupted.recv() => return Ok(Ended::Signal(SignalKind::interrupt())),
                _ = terminated.recv() => return Ok(Ended::Signal(SignalKind::terminate())),
                status = &mut until => return status.map(Ended::Awaited),
                () = sleep(pause) => {
                    self.source.drain(&mut self.batch)?;
                    idle = if self.batch.seen.is_empty() { idle.saturating_add(1) } else { 0 };
                    pause = match idle {
                        0 => DRAIN,
                        1..A_WHILE => DRAIN_IDLE,
                        _ => DRAIN_ASLEEP,
                    };
                    self.note_lost(self.live.drained())?;
                    self.take()?;
                    let asleep = idle >= A_WHILE && self.live.open_connections() == 0;
                    if looked.elapsed() >= if asleep { LOOK_ASLEEP.max(look) } else { look } {
                        let sockets = self.look()?;
                        self.source.look_for_namespaces()?;
                        let (now, watched) = (self.source.now(), observe.states());
                        let Self { live, teller, translations, .. } = self;
                        live.notice(now, watched, |news| teller.tell(translated(news, translations)))?;
                        teller.status(live.open_connections(), self.source.lost()?)?;
                        looked = Instant::now();
                        look = LOOK * u32::try_from(1 + sockets / LOOKED_AT).unwrap_or(u32::MAX);
                    }
                    self.teller.pause()?;
                    self.recorder.as_mut().map_or(Ok(()), Recorder::pause)?;
                }
                _ = report.tick() => {
                    // What the counters will show has been told before.
                    self.drain_all()?;
                    self.source.count()?;
                    self.look()?;
                    let age = Nanos(u64::try_from(observe.interval.as_nanos()).unwrap_or(u64::MAX));
                    let before = Timestamp::from_nanos(self.source.now().as_nanos().saturating_sub(age.0));
                    let Self { live, teller, translations, .. } = self;
                    live.update(before, |news| teller.tell(translated(news, translations)))?;
                }
            }
        }
    }

    fn drain_all(&mut self) -> Result<()> {
        self.source.drain_all(&mut self.batch)?;
        self.note_lost(self.live.drained())?;
        self.take()
    }

    fn finish(mut self) -> Result<()> {
        // What was sent first, so that what a look shows follows on it; then what was sent since.
        self.drain_all()?;
        self.source.count()?;
        self.look()?;
        self.drain_all()?;
        let Self { live, teller, translations, .. } = &mut self;
        live.finish(|news| teller.tell(translated(news, translations)))?;
        let mut capture = self.live.record();
        capture.dropped = self.source.lost()?;
        capture.unseen = self.source.unseen();
        self.source.describe(&mut capture)?;
        self.teller.finish(&capture)?;
        self.recorder.map_or(Ok(()), |recorder| recorder.finish(&capture))
    }

    /// Takes in the sockets that live; gives their number.
    fn look(&mut self) -> Result<usize> {
        let sockets = self.source.look(&mut self.batch)?;
        // What the kernel did not show is counted at looks.
        self.note_lost(self.looked)?;
        self.looked = self.source.now();
        self.take()?;
        if let Some(roster) = self.source.roster() {
            self.batch.clear();
            self.batch.seen = self.live.missing(&roster);
            self.take()?;
        }
        Ok(sockets)
    }

    fn note_lost(&mut self, since: Timestamp) -> Result<()> {
        let (lost, now) = (self.source.lost()?, self.source.now());
        self.live.note_lost(lost, since, now);
        if let Some(recorder) = &mut self.recorder {
            recorder.note_lost(lost, since, now);
        }
        Ok(())
    }

    /// Takes in what is in the batch, and tells what comes of it.
    fn take(&mut self) -> Result<()> {
        let now = self.source.now();
        // What a program seals it has logged the secret of before.
        if let Some(keys) = self.source.keys()? {
            self.live.unlock(keys);
        }
        self.observe.thin(&mut self.batch);
        self.translations.listen();
        let Self { live, teller, recorder, batch, translations, .. } = self;
        if let Some(recorder) = recorder {
            recorder.take(batch, now);
        }
        live.take(batch, now, |news| {
            let news = translated(news, translations);
            if let (Some(recorder), News::Connection(record)) = (&mut *recorder, &news) {
                recorder.told(record);
            }
            teller.tell(news)
        })
    }
}

/// News of a connection, with how its addresses are translated.
fn translated<'a>(mut news: News<'a>, translations: &Translations) -> News<'a> {
    if let News::Connection(record) | News::Update(record) = &mut news {
        record.nat = translations.of(record.client, record.server).map(Box::new);
    }
    news
}

/// Says on standard error which hooks do not work, and fails where one that was asked for by name does not.
pub fn say_what_is_off(observe: &Observe, kernel: &Kernel) -> Result<()> {
    for (hook, why) in kernel.off() {
        eprintln!("observer: the hook {} is off: {why}", hook.name());
        if observe.asks_for(*hook) {
            bail!("the hook {}, which was asked for, does not work here", hook.name());
        }
    }
    Ok(())
}
