//! Running observer live: namespaces, actors in them, and the records as they come.

mod actor;
mod capture;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use self::actor::Actor;
pub use self::capture::Capture;
use crate::run::observer;

/// What a test waits for comes within this time, or not at all.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Whether this machine is emulated, and slower by far than those that observer is made for: `cargo xtask vm` says so.
pub fn is_emulated() -> bool {
    std::env::var_os("OBSERVER_EMULATED").is_some()
}

/// How far two measures of the same handshake may be apart.
pub fn tolerance() -> Duration {
    if is_emulated() { Duration::from_secs(1) } else { Duration::from_micros(200) }
}

/// What observer says of its hooks on this kernel; `None`, after saying so, where this machine forbids eBPF.
///
/// # Panics
/// When it says nothing of them.
pub fn hooks(test: &str) -> Option<Vec<Value>> {
    let objects = Watch::start(test, &[])?.finish();
    let capture = objects.into_iter().find(|object| object["type"] == "capture").expect("it is the last");
    Some(capture["hooks"].as_array().expect("they are listed").clone())
}

/// What this kernel does not give: hooks (`error`), and what it does not tell at others (`drop.reason`).
pub fn lacks(hooks: &[Value]) -> Vec<String> {
    let mut lacks = Vec::new();
    for hook in hooks {
        let name = hook["name"].as_str().unwrap_or_default();
        if hook["attached"] != true {
            lacks.push(name.to_string());
        }
        let words = hook["lacks"].as_array().into_iter().flatten();
        lacks.extend(words.map(|word| format!("{name}.{}", word.as_str().unwrap_or_default())));
    }
    lacks.sort();
    lacks
}

/// Whether the kernel gives `what`, in the words of [`lacks`].
///
/// # Panics
/// As [`hooks`].
pub fn gives(what: &str) -> bool {
    static LACKS: OnceLock<Vec<String>> = OnceLock::new();
    !LACKS.get_or_init(|| hooks("hooks").map(|hooks| lacks(&hooks)).unwrap_or_default()).iter().any(|lack| lack == what)
}

/// Whether the kernel's types name a tracepoint.
///
/// # Panics
/// When it has no types.
pub fn has_tracepoint(name: &str) -> bool {
    let types = std::fs::read("/sys/kernel/btf/vmlinux").expect("the kernel's types");
    let wanted = format!("btf_trace_{name}\0");
    types.windows(wanted.len()).any(|window| window == wanted.as_bytes())
}

/// `observer watch --output json` at work.
pub struct Watch {
    child: Child,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    objects: Vec<Value>,
    complaints: Vec<String>,
    ready: bool,
    ended: bool,
}

/// Lowers how many file descriptors a process may have.
///
/// # Panics
/// When that is not allowed.
pub fn limit_descriptors(pid: u32, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the structure outlives the call, and nothing is asked for.
    let set = unsafe { libc::prlimit(pid.cast_signed(), libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0, "the limit can be lowered");
}

impl Watch {
    /// Starts it; `None`, after saying so, where this machine forbids eBPF.
    ///
    /// # Panics
    /// When it cannot be run at all.
    pub fn start(test: &str, args: &[&str]) -> Option<Self> {
        let observer = observer().expect("there is an observer");
        let mut command = Command::new(observer);
        command.args(["watch", "--output", "json", "--timeline"]).args(args);
        if !args.contains(&"--source") {
            command.args(["--source", "ebpf"]);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let shared = Arc::new(Shared::default());
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let on_out = Arc::clone(&shared);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let object = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in {line}"));
                on_out.lock().objects.push(object);
                on_out.changed.notify_all();
            }
            on_out.lock().ended = true;
            on_out.changed.notify_all();
        });
        let on_err = Arc::clone(&shared);
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let mut state = on_err.lock();
                state.ready |= line.starts_with("observer: watching");
                state.complaints.push(line);
                drop(state);
                on_err.changed.notify_all();
            }
        });
        let watch = Self { child, shared };
        let state = watch.wait_until(|state| state.ready || state.ended);
        if state.ready {
            drop(state);
            return Some(watch);
        }
        crate::skip(test, &state.complaints.join(" "));
        None
    }

    /// The first object of `type: connection` for which `wanted` holds, once it is there.
    ///
    /// # Panics
    /// When it has not come by the deadline.
    pub fn connection(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.object("connection", what, wanted)
    }

    /// The first object of `type: update` for which `wanted` holds, once it is there.
    ///
    /// # Panics
    /// When it has not come by the deadline.
    pub fn update(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.object("update", what, wanted)
    }

    /// The first object of `type: update` that says what `turned`, and for which `wanted` holds, once it is there.
    ///
    /// # Panics
    /// When it has not come by the deadline.
    pub fn turned(&self, turned: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let has_turned =
            |object: &Value| object["turned"].as_array().is_some_and(|all| all.iter().any(|t| t == turned));
        self.object("update", turned, |object| has_turned(object) && wanted(object))
    }

    /// Waits until `count` objects of `type: update` have come from now on for which `wanted` holds.
    ///
    /// # Panics
    /// When they have not come by the deadline.
    pub fn updates(&self, what: &str, wanted: impl Fn(&Value) -> bool, count: usize) {
        let is_one = |object: &&Value| object["type"] == "update" && wanted(object);
        let seen = |state: &State| state.objects.iter().filter(is_one).count();
        let enough = seen(&self.shared.lock()) + count;
        let state = self.wait_until(|state| seen(state) >= enough || state.ended);
        assert!(seen(&state) >= enough, "{what} was not told {count} times: {:#?}", state.complaints);
    }

    /// All it has said so far.
    pub fn objects(&self) -> Vec<Value> {
        self.shared.lock().objects.clone()
    }

    fn object(&self, kind: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let find =
            |state: &State| state.objects.iter().find(|object| object["type"] == kind && wanted(object)).cloned();
        if let Some(found) = find(&self.wait_until(|state| find(state).is_some() || state.ended)) {
            return found;
        }
        self.interrupt();
        let state = self.wait_until(|state| state.ended);
        let seen: Vec<_> = state.objects.iter().map(brief).collect();
        let last = state.objects.iter().rev().take(2).map(Value::to_string).collect::<Vec<_>>().join("\n");
        panic!(
            "no record of {what}; there are {seen:#?}, the last two\n{last}\non standard error {:#?}",
            state.complaints
        )
    }

    /// Waits for a line on standard error that ends so.
    ///
    /// # Panics
    /// When it has not come by the deadline.
    pub fn complains(&self, end: &str) {
        let is_said = |state: &State| state.complaints.iter().any(|line| line.ends_with(end));
        let state = self.wait_until(is_said);
        assert!(is_said(&state), "nothing ends with {end:?}: {:#?}", state.complaints);
    }

    /// Ends it as Ctrl-C would, and gives all it has said.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn finish(mut self) -> Vec<Value> {
        self.interrupt();
        let state = self.wait_until(|state| state.ended);
        let objects = state.objects.clone();
        let complaints = state.complaints.clone();
        drop(state);
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "observer ended with {status}: {complaints:#?}");
        objects
    }

    /// Ends it as Ctrl-C would.
    fn interrupt(&self) {
        // SAFETY: the child is ours and not yet waited for.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGINT) };
    }

    /// Does something while it does not look: what it hears of that, it takes in afterwards.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn pause<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let signal = |number| {
            // SAFETY: the child is ours and not yet waited for.
            unsafe { libc::kill(self.child.id().cast_signed(), number) }
        };
        signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        until("observer stops", || std::fs::read_to_string(&stat).is_ok_and(|line| line.contains(") T ")));
        let done = meanwhile();
        signal(libc::SIGCONT);
        done
    }

    /// Identifier of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until(&self, wanted: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, DEADLINE, |state| !wanted(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Does nothing where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object in few words, for messages.
fn brief(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).map_or(String::new(), ToString::to_string);
    format!(
        "{} {}:{} → {}:{} {}",
        text("/type"),
        text("/client/ip"),
        text("/client/port"),
        text("/server/ip"),
        text("/server/port"),
        text("/conn_state")
    )
}

/// A network namespace of the test's own, with its loopback interface up; gone when dropped.
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one; `None`, after saying so, where this machine forbids it.
    pub fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("observer-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                crate::skip(test, String::from_utf8_lossy(&output.stderr).trim());
                return None;
            }
            Err(error) => {
                crate::skip(test, &format!("running ip: {error}"));
                return None;
            }
        }
        let netns = Self { name };
        netns.ip(&["link", "set", "lo", "up"]);
        Some(netns)
    }

    /// What ip-netns(8) calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Inode of it.
    ///
    /// # Panics
    /// When it is gone.
    pub fn inode(&self) -> u32 {
        use std::os::unix::fs::MetadataExt as _;
        Path::new("/run/netns").join(&self.name).metadata().expect("it is there").ino() as u32
    }

    /// Does something while only another name leads to it.
    ///
    /// # Panics
    /// When names cannot be given or taken away.
    pub fn renamed(&self, meanwhile: impl FnOnce(&str)) {
        let other = format!("{}-too", self.name);
        let give = |from: &str, to: &str| {
            let [from, to] = [from, to].map(|name| format!("/run/netns/{name}"));
            std::fs::write(&to, "").expect("a name is a file");
            run("mount", &["--bind", &from, &to]);
        };
        give(&self.name, &other);
        run("ip", &["netns", "del", &self.name]);
        meanwhile(&other);
        give(&other, &self.name);
        run("ip", &["netns", "del", &other]);
    }

    /// Runs ip(8) in it.
    ///
    /// # Panics
    /// When that fails.
    pub fn ip(&self, args: &[&str]) {
        run("ip", &[&["-n", &self.name], args].concat());
    }

    /// Runs a program in it to its end.
    ///
    /// # Panics
    /// When that fails.
    pub fn run(&self, program: &str, args: &[&str]) {
        run("ip", &[&["netns", "exec", &self.name, program], args].concat());
    }

    /// What a program prints that runs in it to its end.
    ///
    /// # Panics
    /// When that fails.
    pub fn output(&self, program: &str, args: &[&str]) -> String {
        let words = [&["netns", "exec", &self.name, program], args].concat();
        try_run("ip", &words).unwrap_or_else(|why| panic!("{program} {}: {why}", args.join(" ")))
    }

    /// SYNs and SYN-ACKs that the kernel has sent again here: `TCPSynRetrans` of `/proc/net/netstat`.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn syns_sent_again(&self) -> u64 {
        let text = self.output("cat", &["/proc/net/netstat"]);
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:")).map(str::split_ascii_whitespace);
        let (names, mut values) = (lines.next().expect("names"), lines.next().expect("numbers"));
        let at = names.into_iter().position(|name| name == "TCPSynRetrans").expect("it is counted");
        values.nth(at).and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Runs a program in it to its end.
    ///
    /// # Errors
    /// With what it says where it fails.
    pub fn try_run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        try_run("ip", &[&["netns", "exec", &self.name, program], args].concat())
    }

    /// Connects this namespace to another: both ends are called `name`, and have these addresses.
    pub fn link(&self, other: &Self, name: &str, own: &str, others: &str) {
        run(
            "ip",
            &["link", "add", name, "netns", &self.name, "type", "veth", "peer", "name", name, "netns", &other.name],
        );
        for (netns, address) in [(self, own), (other, others)] {
            netns.ip(&["address", "add", address, "dev", name, "nodad"]);
            netns.ip(&["link", "set", name, "up"]);
        }
    }

    /// Starts a server.
    pub fn serve(&self, address: &str, deed: &str, times: u32) -> Actor {
        Actor::start(Some(self), "serve", address, deed, times)
    }

    /// Starts a client.
    pub fn connect(&self, address: SocketAddr, deed: &str, times: u32) -> Actor {
        Actor::start(Some(self), "connect", &address.to_string(), deed, times)
    }

    /// Starts a client that belongs to a control group: the folder of a cgroup v2.
    pub fn connect_from(&self, cgroup: &Path, address: SocketAddr, deed: &str) -> Actor {
        let processes =
            std::fs::File::options().write(true).open(cgroup.join("cgroup.procs")).expect("it can be joined");
        let mut command = self.command(&Actor::path());
        // SAFETY: writing to an open file is all that happens between fork and exec.
        unsafe { command.pre_exec(move || (&processes).write_all(b"0")) };
        Actor::spawn(command, "connect", &address.to_string(), deed, 1)
    }

    /// What `act` gives, done by a thread that is in it.
    ///
    /// # Panics
    /// When that panics, or the namespace is gone.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let netns = std::fs::File::open(Path::new("/run/netns").join(&self.name)).expect("it is there");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                // SAFETY: the descriptor is open; the thread has nothing yet that belongs to another namespace.
                let entered = unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(entered, 0, "setns: {}", std::io::Error::last_os_error());
                act()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that will run in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn run(program: &str, args: &[&str]) {
    try_run(program, args).unwrap_or_else(|why| panic!("{program} {}: {why}", args.join(" ")));
}

/// Runs a program to its end; gives what it prints, or what it says on standard error where it fails.
fn try_run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| error.to_string())?;
    let said = if output.status.success() { output.stdout } else { output.stderr };
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// A control group of the test's own; gone when dropped.
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one; `None`, after saying so, where this machine has no cgroup v2 or forbids it.
    pub fn new(test: &str, name: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let Some(root) = roots.into_iter().find(|root| root.join("cgroup.controllers").is_file()) else {
            crate::skip(test, "there is no cgroup v2");
            return None;
        };
        let path = root.join(name);
        match std::fs::create_dir(&path) {
            Ok(()) => Some(Self { path }),
            Err(error) => {
                crate::skip(test, &format!("making {}: {error}", path.display()));
                None
            }
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It goes once the last of its processes has ended.
        let started = Instant::now();
        while std::fs::remove_dir(&self.path).is_err() && started.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Does something again and again beside `meanwhile`, and no longer than that, however it ends.
pub fn beside<T>(mut again: impl FnMut() + Send, meanwhile: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                again();
            }
        });
        let _stop = Stop(&stop);
        meanwhile()
    })
}

/// Waits for something to hold.
///
/// # Panics
/// When it does not hold by the deadline.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    // There, thousands of connections take their time, the more where the machine around it is busy.
    let deadline = if is_emulated() { DEADLINE * 4 } else { DEADLINE };
    while !holds() {
        assert!(started.elapsed() < deadline, "waited {deadline:?} until {what}, in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes of a side that a record names, with how they are known.
pub fn owners(record: &Value, side: &str) -> Vec<(u32, String)> {
    let processes = record["processes"].as_array().into_iter().flatten();
    let of_side = processes.filter(|process| process["side"] == side);
    of_side
        .map(|process| {
            let pid = process["pid"].as_u64().unwrap_or_default() as u32;
            (pid, process["how"].as_str().unwrap_or_default().to_string())
        })
        .collect()
}

/// The kernel's events in a record's timeline: kind, side, and what the kernel says of it.
pub fn events(record: &Value) -> Vec<(String, String, String)> {
    let entries = record["timeline"]["entries"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    entries
        .filter(|entry| entry["source"] != "packets")
        .map(|entry| {
            let side = text(&entry["from"]);
            let detail = if entry["kind"] == "state" { &entry["state"][&side] } else { &entry["detail"] };
            (text(&entry["kind"]), side.clone(), text(detail))
        })
        .collect()
}
