//! Connections of QUIC, which have no sockets of their own: real ones, between quinn's client and quinn's server.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_tests::live::{DEADLINE, Netns, Watch};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, ReadError, ServerConfig,
    StreamId, VarInt, WriteError,
};
use rcgen::CertifiedKey;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;

use super::to_port;

const NAME: &str = "quic.lab";

/// The application protocol.
const PROTOCOL: &str = "page";

/// Octets of an answer.
const PAGE: usize = 20_000;

#[test]
fn it_is_told_from_the_packets_on_an_interface() {
    let test = "QUIC on an interface";
    let Some(network) = Network::new(test) else { return };
    let inode = network.server.inode().to_string();
    let args = ["--source", "pcap", "-i", WIRE, "--netns", &inode, "--interval", "0.5"];
    let Some(watch) = Watch::start(test, &args) else { return };
    let Ports { client, server } =
        network.talk(&watch, |record| record["bytes"]["server"].as_u64() >= Some(PAGE as u64));
    let objects = watch.finish();
    let record = only(&objects, server);
    is_known_by_its_handshake(record, client);
    let bytes = &record["bytes"];
    assert!(bytes["client"].as_u64() > Some(1_200) && bytes["server"].as_u64() > Some(PAGE as u64), "{record:#}");
    assert!(record["quic"]["handshake_ns"].as_u64() > Some(0), "{record:#}");
}

#[test]
fn its_handshake_is_told_by_the_kernel() {
    let test = "QUIC in the kernel";
    let Some(network) = Network::new(test) else { return };
    let inode = network.server.inode().to_string();
    let Some(watch) = Watch::start(test, &["--netns", &inode, "--interval", "0.5"]) else { return };
    let Ports { client, server } = network.talk(&watch, |record| record["tls"]["established"] == true);
    let objects = watch.finish();
    let record = only(&objects, server);
    is_known_by_its_handshake(record, client);
    // What follows it is not passed on, so that nothing is said of how much that was.
    assert_eq!((&record["bytes"], &record["packets"]), (&Value::Null, &Value::Null), "{record:#}");
    let capture = objects.iter().find(|object| object["type"] == "capture").expect("it is the last");
    assert_eq!(capture["dropped"].as_u64(), Some(0), "{capture:#}");
}

/// The one record of connections to a port.
fn only(objects: &[Value], port: u16) -> &Value {
    let is_it = |object: &&Value| object["type"] == "connection" && to_port(port)(object);
    let told: Vec<_> = objects.iter().filter(is_it).collect();
    assert_eq!(told.len(), 1, "exactly once: {told:#?}");
    told[0]
}

fn is_known_by_its_handshake(record: &Value, client: u16) {
    let text = |path: &str| record.pointer(path).and_then(Value::as_str);
    let places = ["/transport", "/protocol", "/conn_state", "/name/name", "/tls/sni", "/quic/version"];
    let told = [Some("quic"), Some("quic"), Some("SF"), Some(NAME), Some(NAME), Some("v1")];
    assert_eq!(places.map(text), told, "{record:#}");
    assert_eq!(
        (&record["client"]["port"], &record["tls"]["established"]),
        (&client.into(), &true.into()),
        "{record:#}"
    );
    // The kernel is asked about TCP's sockets only.
    assert_eq!((&record["kernel"], &record["processes"]), (&Value::Null, &Value::Null), "{record:#}");
}

/// What the interface at each end is called.
const WIRE: &str = "wire";

/// Two hosts, and the wire between them.
struct Network {
    client: Netns,
    server: Netns,
}

struct Ports {
    client: u16,
    server: u16,
}

impl Network {
    fn new(test: &str) -> Option<Self> {
        let network = Self { client: Netns::new(test)?, server: Netns::new(test)? };
        network.client.link(&network.server, WIRE, "10.4.0.1/24", "10.4.0.2/24");
        Some(network)
    }

    /// A client asks for a page and closes once an update says of the connection what is `wanted`.
    fn talk(&self, watch: &Watch, wanted: impl Fn(&Value) -> bool) -> Ports {
        let (server_config, client_config) = configurations();
        let mut client = Peer::new(self.client.within(|| UdpSocket::bind("10.4.0.1:0")), None);
        let mut server = Peer::new(self.server.within(|| UdpSocket::bind("10.4.0.2:0")), Some(server_config));
        let ports = Ports { client: client.address().port(), server: server.address().port() };
        client.connect(client_config, server.address());
        until_both(&mut client, &mut server, |client, _| !client.connection().is_handshaking());
        let stream = client.connection().streams().open(Dir::Bi).expect("a stream may be opened");
        client.say(stream, b"GET /");
        let (mut asked, mut answer) = (None, Vec::new());
        until_both(&mut client, &mut server, |client, server| {
            if asked.is_none() && server.connection.is_some() {
                asked = server.connection().streams().accept(Dir::Bi);
                if let Some(stream) = asked {
                    server.say(stream, &[b'.'; PAGE]);
                }
            }
            client.read(stream, &mut answer)
        });
        assert_eq!(answer.len(), PAGE);
        watch.update("the connection while it lasts", |record| to_port(ports.server)(record) && wanted(record));
        client.connection().close(Instant::now(), VarInt::from_u32(0), Default::default());
        until_both(&mut client, &mut server, |_, server| server.connection().is_drained());
        ports
    }
}

/// One end: quinn's state machine, driven by hand.
struct Peer {
    socket: UdpSocket,
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
}

/// Lets both ends go on until something holds.
fn until_both(client: &mut Peer, server: &mut Peer, mut holds: impl FnMut(&mut Peer, &mut Peer) -> bool) {
    let started = Instant::now();
    while !holds(client, server) {
        assert!(started.elapsed() < DEADLINE, "the ends do not come to an end");
        client.turn();
        server.turn();
    }
    client.flush();
    server.flush();
}

impl Peer {
    fn new(socket: std::io::Result<UdpSocket>, config: Option<ServerConfig>) -> Self {
        let socket = socket.expect("the address is the host's");
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("it can be set");
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), config.map(Arc::new), false, None);
        Self { socket, endpoint, connection: None }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    fn connect(&mut self, config: ClientConfig, to: SocketAddr) {
        self.connection = Some(self.endpoint.connect(Instant::now(), config, to, NAME).expect("it can be begun"));
        self.flush();
    }

    fn connection(&mut self) -> &mut Connection {
        &mut self.connection.as_mut().expect("there is a connection").1
    }

    /// Sends all there is to say on a stream.
    fn say(&mut self, stream: StreamId, octets: &[u8]) {
        let mut stream = self.connection().send_stream(stream);
        match stream.write(octets) {
            Ok(written) => assert_eq!(written, octets.len(), "the windows have room for it"),
            Err(WriteError::Blocked) => panic!("the windows have no room"),
            Err(error) => panic!("writing to a stream: {error}"),
        }
        stream.finish().expect("it is open");
    }

    /// Reads what there is of a stream. Whether it is at its end.
    fn read(&mut self, stream: StreamId, into: &mut Vec<u8>) -> bool {
        let mut stream = self.connection().recv_stream(stream);
        let mut chunks = stream.read(true).expect("it is open");
        let ended = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => into.extend_from_slice(&chunk.bytes),
                Ok(None) => break true,
                Err(ReadError::Blocked) => break false,
                Err(error) => panic!("reading from a stream: {error}"),
            }
        };
        let _more_room = chunks.finalize();
        ended
    }

    /// Takes in what has come, and what the time has brought, and sends what is to be sent.
    fn turn(&mut self) {
        let mut datagram = [0; 2048];
        match self.socket.recv_from(&mut datagram) {
            Ok((length, from)) => self.datagram(&datagram[..length], from),
            // An end that is gone refuses what still comes.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("receiving a datagram: {error}"),
        }
        if let Some((_, connection)) = &mut self.connection {
            connection.handle_timeout(Instant::now());
        }
        self.flush();
    }

    fn datagram(&mut self, octets: &[u8], from: SocketAddr) {
        let (now, mut buffer) = (Instant::now(), Vec::new());
        match self.endpoint.handle(now, from, None, None, octets.into(), &mut buffer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => self.connection().handle_event(event),
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut buffer, None);
                self.connection = Some(accepted.unwrap_or_else(|error| panic!("accepting: {}", error.cause)));
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    fn flush(&mut self) {
        let Some((handle, mut connection)) = self.connection.take() else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                connection.handle_event(event);
            }
        }
        while connection.poll().is_some() {}
        let mut buffer = Vec::new();
        while let Some(transmit) = connection.poll_transmit(Instant::now(), 1, &mut buffer) {
            self.socket.send_to(&buffer[..transmit.size], transmit.destination).expect("it can be sent");
            buffer.clear();
        }
        self.connection = Some((handle, connection));
    }
}

/// What both ends need: a key, a certificate that the client trusts, and a protocol.
fn configurations() -> (ServerConfig, ClientConfig) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate can be made");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("it is a key");
    let provider = Arc::new(ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("it is supported")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("they belong together");
    let mut trusted = RootCertStore::empty();
    trusted.add(cert.der().clone()).expect("it is well formed");
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("it is supported")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    for protocols in [&mut server.alpn_protocols, &mut client.alpn_protocols] {
        *protocols = vec![PROTOCOL.as_bytes().to_vec()];
    }
    let server = QuicServerConfig::try_from(server).expect("it is TLS 1.3");
    let client = QuicClientConfig::try_from(client).expect("it is TLS 1.3");
    (ServerConfig::with_crypto(Arc::new(server)), ClientConfig::new(Arc::new(client)))
}
