//! Where the time went: servers that wait a known time, and the round trips of each kind of TLS handshake. Real sockets in
//! a namespace, captured there by tcpdump, and replayed.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use observer_tests::live::{Capture, Netns, until};
use observer_tests::skip;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion, version,
};
use serde_json::Value;

/// How far the measured time of an end may be from the one it waited.
const NEAR: Duration = Duration::from_millis(1);

/// Packets are stamped by another clock than the ends read, and to the microsecond.
const CLOCKS: Duration = Duration::from_micros(20);

/// Conversations that are wanted with nothing in the machine's way.
const TALKS: usize = 20;

/// After so many, what the machine had time for has to do.
const MOST_TALKS: usize = 300;

const REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: server.lab\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// When a client did what it does for one answer, by its own clock.
struct Ask {
    begun: Instant,
    /// The request is about to be sent.
    asking: Instant,
    /// The answer is read.
    answered: Instant,
}

/// When a server did.
struct Answer {
    /// The request is read.
    asked: Instant,
    /// The answer is about to be sent.
    answering: Instant,
}

/// Between what bounds the wire must show each end's times, in order. An end's own clock starts after the packet it waits
/// for and stops before the one it sends: no less can be measured. The other end's starts before the one and stops after
/// the other: no more can be. Whatever else keeps the machine busy lies between.
struct Talk {
    /// The client's and the server's.
    ports: [u16; 2],
    client: Vec<RangeInclusive<Duration>>,
    server: Vec<RangeInclusive<Duration>>,
}

impl Talk {
    fn new(ports: [u16; 2], connecting: Instant, asks: &[Ask], answers: &[Answer]) -> Self {
        let turns = asks.iter().zip(answers);
        let server = turns.clone().map(|(ask, answer)| answer.answering - answer.asked..=ask.answered - ask.asking);
        let before = [connecting].into_iter().chain(answers.iter().map(|answer| answer.answering));
        let client = turns.zip(before).map(|((ask, answer), before)| ask.asking - ask.begun..=answer.asked - before);
        Self { ports, client: client.collect(), server: server.collect() }
    }

    /// Whether both ends' clocks agree on all of it.
    fn is_calm(&self) -> bool {
        self.client.iter().chain(&self.server).all(is_narrow)
    }
}

fn is_narrow(bounds: &RangeInclusive<Duration>) -> bool {
    *bounds.end() <= *bounds.start() + NEAR
}

fn sum(bounds: &[RangeInclusive<Duration>]) -> RangeInclusive<Duration> {
    bounds.iter().map(RangeInclusive::start).sum()..=bounds.iter().map(RangeInclusive::end).sum()
}

/// This thread runs as soon as it can: one that runs late on a busy machine would count that as its own time. Where it may
/// not, the machine had better be a quiet one.
fn at_once() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads the one structure it is shown, for the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
}

/// Takes one request and answers it after a while.
fn answer(stream: &mut (impl Read + Write), millis: u64) -> Answer {
    stream.read_exact(&mut [0; REQUEST.len()]).expect("a request comes");
    let asked = Instant::now();
    thread::sleep(Duration::from_millis(millis));
    let answering = Instant::now();
    stream.write_all(RESPONSE).and_then(|()| stream.flush()).expect("the client takes the answer");
    Answer { asked, answering }
}

fn ask(stream: &mut (impl Read + Write), millis: u64) -> Ask {
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(millis));
    let asking = Instant::now();
    stream.write_all(REQUEST).and_then(|()| stream.flush()).expect("the server takes the request");
    stream.read_exact(&mut [0; RESPONSE.len()]).expect("a response comes");
    Ask { begun, asking, answered: Instant::now() }
}

/// Both ends of one connection, each by its own thread.
fn both(
    server: impl FnOnce(TcpStream) -> Vec<Answer> + Send,
    client: impl FnOnce(TcpStream) -> Vec<Ask> + Send,
) -> Talk {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    at_once();
    thread::scope(|scope| {
        let server = scope.spawn(move || {
            at_once();
            let stream = listener.accept().expect("the client comes").0;
            // A response sent after session tickets would wait for their ACK (Nagle), which no clock of the server sees.
            stream.set_nodelay(true).expect("an option of every socket");
            server(stream)
        });
        let connecting = Instant::now();
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("an option of every socket");
        let ports = [stream.local_addr().expect("it is connected").port(), address.port()];
        let asks = client(stream);
        Talk::new(ports, connecting, &asks, &server.join().expect("the server does its part"))
    })
}

/// Of one connection; the listeners' ports differ, and a client's may come again.
fn of_ports(records: &[Value], ports: [u16; 2]) -> &Value {
    let is_it = |record: &&Value| ["client", "server"].map(|end| record[end]["port"].clone()) == ports.map(Value::from);
    records.iter().find(is_it).expect("every connection was captured")
}

fn nanos(value: &Value) -> Duration {
    Duration::from_nanos(value.as_u64().unwrap_or_else(|| panic!("no time: {value}")))
}

fn phase(record: &Value, name: &str) -> Duration {
    let phases = record["phases"].as_array().into_iter().flatten();
    let found = phases.clone().find(|phase| phase["phase"] == name);
    nanos(&found.unwrap_or_else(|| panic!("no phase {name}: {phases:?}"))["length_ns"])
}

fn judge(what: &str, pairs: &[(Duration, RangeInclusive<Duration>)]) {
    let near = pairs.iter().filter(|(_, bounds)| is_narrow(bounds)).count();
    println!("{what}: {near} of {} within {NEAR:?}, the others between what both ends saw", pairs.len());
    for (measured, bounds) in pairs {
        assert!(*measured + CLOCKS >= *bounds.start() && *measured <= *bounds.end() + CLOCKS, "{what}: {pairs:?}");
    }
}

/// Once every connection is closed.
fn are_closed(records: &[Value], count: usize) -> bool {
    let connections = records.iter().filter(|record| record["type"] == "connection");
    connections.filter(|record| record["conn_state"] == "SF").count() >= count
}

#[test]
fn the_split_gives_back_what_each_end_waited() {
    let test = "phases over HTTP";
    let Some(netns) = Netns::new(test) else { return };
    let Some(capture) = Capture::whole(test, &netns, "lo") else { return };
    let talk = || {
        let server = |mut stream: TcpStream| [40, 25].map(|millis| answer(&mut stream, millis)).into();
        let client = |mut stream: TcpStream| [10, 30].map(|millis| ask(&mut stream, millis)).into();
        both(server, client)
    };
    let (mut talks, mut calm) = (Vec::new(), 0);
    netns.within(|| {
        while calm < TALKS && talks.len() < MOST_TALKS {
            talks.push(talk());
            calm += usize::from(talks.last().is_some_and(Talk::is_calm));
        }
    });
    assert!(calm >= TALKS / 4, "only {calm} of {} conversations had the machine to themselves", talks.len());
    let records = capture.replay(|records| are_closed(records, talks.len()));
    let pairs = |measured: fn(&Value) -> Duration, bounds: fn(&Talk) -> RangeInclusive<Duration>| -> Vec<_> {
        talks.iter().map(|talk| (measured(of_ports(&records, talk.ports)), bounds(talk))).collect()
    };
    judge("server", &pairs(|record| nanos(&record["split"]["server_ns"]), |talk| sum(&talk.server)));
    judge("client", &pairs(|record| nanos(&record["split"]["client_ns"]), |talk| sum(&talk.client)));
    judge("first answer", &pairs(|record| phase(record, "server"), |talk| talk.server[0].clone()));
    for talk in &talks {
        let record = of_ports(&records, talk.ports);
        let split = &record["split"];
        let parts: Duration = ["network_ns", "client_ns", "server_ns"].map(|name| nanos(&split[name])).iter().sum();
        assert_eq!(parts, nanos(&split["total_ns"]));
        let spread = &record["http"]["first_byte_ns"];
        let times = ["min_ns", "median_ns", "p95_ns", "max_ns"].map(|name| nanos(&spread[name]));
        assert!(times.is_sorted(), "{spread}");
        assert_eq!(record["round_trips"]["total"], 2, "{}", record["round_trips"]);
        assert_eq!(record["round_trips"]["with"]["reuse"], 1);
    }
}

const NAME: &str = "server.lab";

/// What both ends need for one version of TLS: a key, and a certificate that the client trusts. Sessions are resumed.
fn configurations(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("the provider has it")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("the key is the certificate's");
    server.max_early_data_size = 4096;
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate).expect("it is well made");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("the provider has it")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    client.enable_early_data = true;
    (Arc::new(server), Arc::new(client))
}

/// A socket that remembers when it gave what the other end sent: the ciphers' work is an end's own time too.
struct Clocked {
    sock: TcpStream,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Read for Clocked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.sock.read(into)?;
        self.last = Some(Instant::now());
        self.first = self.first.or(self.last);
        Ok(taken)
    }
}

impl Write for Clocked {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.sock.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sock.flush()
    }
}

/// One connection over TLS; with `early`, the request is early data.
fn tls_talk(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, early: bool) -> Talk {
    let serve = |sock: TcpStream| {
        let conn = ServerConnection::new(Arc::clone(server)).expect("a configuration that works");
        let mut stream = StreamOwned::new(conn, Clocked { sock, first: None, last: None });
        let mut request = [0; REQUEST.len()];
        let asked = if early {
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).expect("the client shakes hands");
            }
            stream.conn.early_data().expect("it was accepted").read_exact(&mut request).expect("it was kept");
            // It came with the ClientHello; the rest of the handshake is a part of the answer's time.
            stream.sock.first
        } else {
            stream.read_exact(&mut request).expect("a request comes");
            stream.sock.last
        };
        thread::sleep(Duration::from_millis(40));
        let answering = Instant::now();
        stream.write_all(RESPONSE).and_then(|()| stream.flush()).expect("the client takes the answer");
        // Until the client's goodbye.
        let _end = stream.read(&mut [0]);
        vec![Answer { asked: asked.expect("the request was read"), answering }]
    };
    let name = ServerName::try_from(NAME).expect("a name");
    let connect = |sock: TcpStream| {
        let conn = ClientConnection::new(Arc::clone(client), name).expect("a configuration that works");
        let mut stream = StreamOwned::new(conn, sock);
        let asked = if early {
            let asking = Instant::now();
            stream.conn.early_data().expect("there is a ticket").write_all(REQUEST).expect("it is let");
            stream.read_exact(&mut [0; RESPONSE.len()]).expect("a response comes");
            assert!(stream.conn.is_early_data_accepted());
            Ask { begun: asking, asking, answered: Instant::now() }
        } else {
            ask(&mut stream, 10)
        };
        stream.conn.send_close_notify();
        stream.flush().expect("the server is there");
        vec![asked]
    };
    both(serve, connect)
}

#[test]
fn tls_takes_the_round_trips_of_its_handshake_and_hides_no_wait() {
    let test = "phases over TLS";
    let Some(netns) = Netns::new(test) else { return };
    let Some(capture) = Capture::whole(test, &netns, "lo") else { return };
    let (talks, counted) = netns.within(|| {
        let (mut talks, mut counted) = (Vec::new(), Vec::new());
        for (version, full) in [(&version::TLS12, 2), (&version::TLS13, 1)] {
            let (server, client) = configurations(version);
            for round in 0..TALKS {
                let talk = tls_talk(&server, &client, false);
                // The session of the first is resumed by the others.
                counted.push((talk.ports, if round == 0 { full } else { 1 }, round > 0));
                talks.push(talk);
            }
            if full == 1 {
                for _ in 0..TALKS {
                    let talk = tls_talk(&server, &client, true);
                    counted.push((talk.ports, 0, true));
                    talks.push(talk);
                }
            }
        }
        (talks, counted)
    });
    let records = capture.replay(|records| are_closed(records, counted.len()));
    for (ports, trips, resumed) in counted {
        let record = of_ports(&records, ports);
        let (tls, count) = (&record["tls"], &record["round_trips"]);
        assert_eq!((&tls["resumed"], &tls["round_trips"]), (&resumed.into(), &trips.into()), "{tls:#}");
        assert_eq!((&count["tls"], &count["total"]), (&trips.into(), &(trips + 2).into()), "{count}");
        let taken = if trips == 0 { Value::Bool(true) } else { Value::Null };
        assert_eq!(tls["early_data_accepted"], taken, "{tls:#}");
        let with = &count["with"];
        assert_eq!([&with["tls_1_3"], &with["early_data"], &with["quic"], &with["reuse"]], [3, 2, 2, 1]);
    }
    let pairs: Vec<_> =
        talks.iter().map(|talk| (phase(of_ports(&records, talk.ports), "server"), talk.server[0].clone())).collect();
    judge("server", &pairs);
}

/// A program that the test ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `openssl s_client` until a session was given, or, where none is asked for, until it has shaken hands.
fn s_client(netns: &Netns, folder: &Path, version: &str, more: &[&str], session: Option<&str>) {
    let mut command = netns.command("openssl");
    command.current_dir(folder).args(["s_client", "-connect", "127.0.0.1:4433", version, "-nocommands"]).args(more);
    command.args(session.iter().flat_map(|session| ["-sess_out", session]));
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut program = Program(child.expect("openssl starts"));
    let said = BufReader::new(program.0.stdout.take().expect("piped"));
    let said = thread::spawn(move || said.lines().map_while(Result::ok).collect::<Vec<_>>());
    if let Some(session) = session {
        until("the server gives a session", || fs::metadata(folder.join(session)).is_ok_and(|file| file.len() > 0));
    }
    drop(program.0.stdin.take());
    until("s_client ends", || program.0.try_wait().expect("it can be waited for").is_some());
    let said = said.join().expect("lines are read").join("\n");
    assert!(said.contains("Cipher is") || said.contains("Cipher    :"), "{said}");
}

#[test]
fn openssl_takes_the_round_trips_of_its_handshake() {
    let test = "round trips of openssl";
    if Command::new("openssl").arg("version").output().is_err() {
        return skip(test, "openssl is not installed");
    }
    let Some(netns) = Netns::new(test) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=server.lab", "-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(folder.join("request"), REQUEST).expect("a file can be written");
    let Some(capture) = Capture::whole(test, &netns, "lo") else { return };
    let mut command = netns.command("openssl");
    command.current_dir(folder).args(["s_server", "-accept", "127.0.0.1:4433", "-early_data"]);
    command.args(["-cert", "certificate.pem", "-key", "key.pem"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut server = Program(child.expect("openssl starts"));
    let mut said = BufReader::new(server.0.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with("ACCEPT") {
        line.clear();
        assert!(said.read_line(&mut line).expect("s_server speaks") > 0, "s_server does not listen");
    }
    thread::spawn(move || io::copy(&mut said, &mut io::sink()));
    s_client(&netns, folder, "-tls1_2", &[], Some("one"));
    s_client(&netns, folder, "-tls1_2", &["-sess_in", "one"], None);
    s_client(&netns, folder, "-tls1_3", &[], Some("two"));
    s_client(&netns, folder, "-tls1_3", &["-sess_in", "two"], Some("three"));
    s_client(&netns, folder, "-tls1_3", &["-sess_in", "three", "-early_data", "request"], None);
    let is_there = |records: &[Value]| {
        let connections = records.iter().filter(|record| record["type"] == "connection");
        connections.filter(|record| !record["close"]["fin"]["client"].is_null()).count() == 5
    };
    let records = capture.replay(is_there);
    let connections = records.iter().filter(|record| record["type"] == "connection");
    let seen: Vec<_> = connections
        .map(|record| {
            let tls = &record["tls"];
            (tls["version"].clone(), tls["resumed"].clone(), tls["early_data"].clone(), tls["round_trips"].clone())
        })
        .collect();
    let expected = [
        ("TLS 1.2", false, false, 2),
        ("TLS 1.2", true, false, 1),
        ("TLS 1.3", false, false, 1),
        ("TLS 1.3", true, false, 1),
        ("TLS 1.3", true, true, 0),
    ];
    let expected =
        expected.map(|(version, resumed, early, trips)| (version.into(), resumed.into(), early.into(), trips.into()));
    assert_eq!(seen, expected);
}
