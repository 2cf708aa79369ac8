//! One end of a QUIC connection over a UDP socket: quinn's state machine, driven by hand.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event, ServerConfig,
    StreamEvent, StreamId, Transmit, VarInt,
};

use crate::lab::network::host::Host;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a peer waits for a datagram at once, at most.
const AT_ONCE: Duration = Duration::from_millis(20);

/// One end, with one connection.
pub struct Peer {
    host: Arc<Host>,
    socket: UdpSocket,
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    /// What the connection has told and nobody has asked for yet.
    events: VecDeque<Event>,
    /// A server: has each client show first that it is where it says.
    insists: bool,
    buffer: Vec<u8>,
}

impl Peer {
    /// A server at `at`. With `insists` it answers a first Initial packet with Retry.
    pub fn server(host: &Arc<Host>, at: SocketAddr, config: ServerConfig, insists: bool) -> Result<Self> {
        Self::new(host, at, Some(config), insists)
    }

    /// A client that sends from `at`, and begins to connect to `to`.
    pub fn client(host: &Arc<Host>, at: SocketAddr, config: ClientConfig, to: SocketAddr, name: &str) -> Result<Self> {
        let mut client = Self::new(host, at, None, false)?;
        let connection = client.endpoint.connect(Instant::now(), config, to, name).context("connecting over QUIC")?;
        client.connection = Some(connection);
        client.flush()?;
        Ok(client)
    }

    fn new(host: &Arc<Host>, at: SocketAddr, config: Option<ServerConfig>, insists: bool) -> Result<Self> {
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), config.map(Arc::new), false, None);
        let socket = bind(host, at)?;
        let (connection, events, buffer) = (None, VecDeque::new(), Vec::new());
        Ok(Self { host: Arc::clone(host), socket, endpoint, connection, events, insists, buffer })
    }

    /// Sends from `at` from now on, as if a router on the way had given the connection another port.
    pub fn rebind(&mut self, at: SocketAddr) -> Result<()> {
        self.socket = bind(&self.host, at)?;
        Ok(())
    }

    /// Goes on until the handshake is done.
    pub fn established(&mut self) -> Result<()> {
        self.until(|event| match event {
            Event::Connected => Some(Ok(())),
            Event::ConnectionLost { reason } => Some(Err(anyhow!("the connection was lost: {reason}"))),
            _ => None,
        })
    }

    /// Goes on until the other end has closed, and says why.
    pub fn lost(&mut self) -> Result<String> {
        self.until(|event| match event {
            Event::ConnectionLost { reason } => Some(Ok(reason.to_string())),
            _ => None,
        })
    }

    /// Sends `request` on a stream of its own, and reads the answer.
    pub fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        let stream = self.connection()?.streams().open(Dir::Bi).context("no stream may be opened")?;
        self.say(stream, request)?;
        let mut answer = Vec::new();
        let until = Instant::now() + PATIENCE;
        while !self.read(stream, &mut answer)? {
            ensure!(Instant::now() < until, "no answer within {PATIENCE:?}");
            self.turn()?;
        }
        Ok(answer)
    }

    /// Answers each request with `answer`, until the client closes.
    pub fn serve(&mut self, answer: &[u8]) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut open = Vec::new();
        while Instant::now() < until {
            while let Some(event) = self.events.pop_front() {
                match event {
                    Event::ConnectionLost { .. } => return Ok(()),
                    Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                        while let Some(stream) = self.connection()?.streams().accept(Dir::Bi) {
                            open.push(stream);
                        }
                    }
                    _ => {}
                }
            }
            let mut asked = Vec::new();
            for stream in std::mem::take(&mut open) {
                if self.read(stream, &mut Vec::new())? { asked.push(stream) } else { open.push(stream) }
            }
            asked.into_iter().try_for_each(|stream| self.say(stream, answer))?;
            self.turn()?;
        }
        bail!("the client did not close within {PATIENCE:?}")
    }

    /// Says goodbye.
    pub fn close(&mut self) -> Result<()> {
        let now = Instant::now();
        self.connection()?.close(now, VarInt::from_u32(0), Default::default());
        self.flush()
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().map(|(_, connection)| connection).context("there is no connection yet")
    }

    fn say(&mut self, stream: StreamId, octets: &[u8]) -> Result<()> {
        let mut left = octets;
        while !left.is_empty() {
            match self.connection()?.send_stream(stream).write(left) {
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(quinn_proto::WriteError::Blocked) => self.turn()?,
                Err(error) => return Err(error).context("writing to a stream"),
            }
        }
        self.connection()?.send_stream(stream).finish().context("finishing a stream")?;
        self.flush()
    }

    /// Reads what there is of a stream. Whether it is at its end.
    fn read(&mut self, stream: StreamId, into: &mut Vec<u8>) -> Result<bool> {
        let mut receiving = self.connection()?.recv_stream(stream);
        let mut chunks = receiving.read(true).context("reading from a stream")?;
        let ended = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => into.extend_from_slice(&chunk.bytes),
                Ok(None) => break true,
                Err(quinn_proto::ReadError::Blocked) => break false,
                Err(error) => return Err(error).context("reading from a stream"),
            }
        };
        // What was read makes room: the other end is told when something is sent next.
        let _more_room = chunks.finalize();
        Ok(ended)
    }

    fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<Result<T>>) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
            ensure!(Instant::now() < until, "nothing came within {PATIENCE:?}");
            self.turn()?;
        }
    }

    /// Waits for a datagram or a timer, and does what is to be done.
    fn turn(&mut self) -> Result<()> {
        let now = Instant::now();
        let timer = self.connection.as_mut().and_then(|(_, connection)| connection.poll_timeout());
        let wait = timer.map_or(AT_ONCE, |timer| timer.saturating_duration_since(now).min(AT_ONCE));
        self.socket.set_read_timeout(Some(wait.max(Duration::from_micros(100)))).context("setting a timeout")?;
        let mut datagram = [0; 2048];
        match self.socket.recv_from(&mut datagram) {
            Ok((length, from)) => self.datagram(datagram.get(..length).unwrap_or_default(), from)?,
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(error) => return Err(error).context("receiving a datagram"),
        }
        if let Some((_, connection)) = &mut self.connection {
            connection.handle_timeout(Instant::now());
        }
        self.flush()
    }

    fn datagram(&mut self, octets: &[u8], from: SocketAddr) -> Result<()> {
        let now = Instant::now();
        self.buffer.clear();
        match self.endpoint.handle(now, from, None, None, octets.into(), &mut self.buffer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) if self.insists && incoming.may_retry() => {
                let retry = self.endpoint.retry(incoming, &mut self.buffer).context("asking for another try")?;
                self.send(&retry)?;
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                match self.endpoint.accept(incoming, now, &mut self.buffer, None) {
                    Ok(connection) => self.connection = Some(connection),
                    Err(refused) => {
                        if let Some(response) = &refused.response {
                            self.send(response)?;
                        }
                        return Err(refused.cause).context("accepting a connection");
                    }
                }
            }
            Some(DatagramEvent::Response(response)) => self.send(&response)?,
            None => {}
        }
        Ok(())
    }

    /// Sends what is to be sent, and takes in what the connection tells.
    fn flush(&mut self) -> Result<()> {
        let Some((handle, mut connection)) = self.connection.take() else { return Ok(()) };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                connection.handle_event(event);
            }
        }
        self.events.extend(std::iter::from_fn(|| connection.poll()));
        self.buffer.clear();
        while let Some(transmit) = connection.poll_transmit(Instant::now(), 1, &mut self.buffer) {
            self.send(&transmit)?;
            self.buffer.clear();
        }
        self.connection = Some((handle, connection));
        Ok(())
    }

    fn send(&self, transmit: &Transmit) -> Result<()> {
        let octets = self.buffer.get(..transmit.size).unwrap_or_default();
        self.socket.send_to(octets, transmit.destination).context("sending a datagram")?;
        Ok(())
    }
}

fn bind(host: &Host, at: SocketAddr) -> Result<UdpSocket> {
    host.enter(|| UdpSocket::bind(at)).with_context(|| format!("making a UDP socket on {}", host.name()))
}
