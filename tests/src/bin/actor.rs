//! A client or a server for live tests: real sockets, one deed a run.
//!
//! `actor serve ADDRESS DEED TIMES` prints its port and its process identifier, `actor connect ADDRESS DEED TIMES` its
//! process identifier; both wait for a line on standard input where the deed says so. `mptcp` before a deed has it done
//! over MPTCP. `serve ADDRESS names TIMES` and `connect ADDRESS "lookup NAME" TIMES` speak DNS over UDP.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Octets of the body of an answer.
const HTTP_BODY: usize = 300_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("actor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [role, address, deed, times] = words.as_slice() else { bail!("usage: actor ROLE ADDRESS DEED TIMES") };
    let address: SocketAddr = address.parse().context("reading the address")?;
    let times: u32 = times.parse().context("reading how many times")?;
    allow_descriptors()?;
    let (protocol, deed) = match deed.strip_prefix("mptcp ") {
        Some(deed) => (Some(Protocol::MPTCP), deed),
        None => (None, deed.as_str()),
    };
    match role.as_str() {
        "serve" if deed == "names" => serve_names(address, times),
        "serve" => serve(address, protocol, deed, times),
        "connect" if deed == "flood" => flood(address, times),
        "connect" if deed.starts_with("lookup ") => look_up(address, deed.trim_start_matches("lookup "), times),
        "connect" => connect(address, protocol, deed, times),
        other => bail!("no role {other}"),
    }
}

fn serve(address: SocketAddr, protocol: Option<Protocol>, deed: &str, times: u32) -> Result<()> {
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, protocol)?;
    listener.set_reuse_address(true)?;
    listener.bind(&address.into())?;
    listener.listen(if deed == "never" { 1 } else { 4096 })?;
    let port = listener.local_addr()?.as_socket().context("a socket without an address")?.port();
    println!("{port} {}", std::process::id());
    io::stdout().flush()?;
    if deed == "never" {
        return wait();
    }
    let mut held = Vec::new();
    for _ in 0..times {
        let mut stream: TcpStream =
            if deed == "blind" { accept_blindly(&listener)? } else { listener.accept()?.0.into() };
        match deed {
            "echo" | "blind" => echo(&mut stream)?,
            // An answer that is longer than what of it is looked at.
            "http" => {
                stream.peek(&mut [0])?;
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {HTTP_BODY}\r\nConnection: close\r\n\r\n")?;
                stream.write_all(&vec![b'x'; HTTP_BODY])?;
                stream.shutdown(Shutdown::Write)?;
                stream.read_to_end(&mut Vec::new())?;
            }
            // Reads, answers, and waits for the end, however it comes.
            "answer" => {
                stream.read_exact(&mut [0; 5])?;
                stream.write_all(b"hello")?;
                let _ = stream.read_to_end(&mut Vec::new());
            }
            "close" => drop(stream),
            "reset" => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
            "unread" => {
                stream.peek(&mut [0])?;
            }
            "fork" => {
                let (mut parent_closes, parent) = io::pipe()?;
                // SAFETY: this process has one thread.
                match unsafe { libc::fork() } {
                    0 => {
                        drop(parent);
                        echo(&mut stream)?;
                        // Who closes last closes the connection.
                        parent_closes.read_to_end(&mut Vec::new())?;
                        return Ok(());
                    }
                    -1 => bail!("fork: {}", io::Error::last_os_error()),
                    _ => drop((stream, parent)),
                }
            }
            "hold" => held.push(stream),
            other => bail!("no deed {other}"),
        }
    }
    if !held.is_empty() {
        wait()?;
    }
    Ok(())
}

/// Accepts without asking who the peer is, as libuv does.
fn accept_blindly(listener: &Socket) -> Result<TcpStream> {
    let none = std::ptr::null_mut();
    // SAFETY: the call takes no addresses.
    let descriptor = unsafe { libc::accept4(listener.as_raw_fd(), none, none.cast(), libc::SOCK_CLOEXEC) };
    anyhow::ensure!(descriptor >= 0, "accept4: {}", io::Error::last_os_error());
    // SAFETY: nobody else has it.
    Ok(unsafe { TcpStream::from_raw_fd(descriptor) })
}

/// Sends back what comes, until there is no more.
fn echo(stream: &mut TcpStream) -> Result<()> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    stream.write_all(&all)?;
    Ok(())
}

fn connect(address: SocketAddr, protocol: Option<Protocol>, deed: &str, times: u32) -> Result<()> {
    println!("0 {}", std::process::id());
    io::stdout().flush()?;
    let mut held = Vec::new();
    for _ in 0..times {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, protocol)?;
        let connected = socket.connect_timeout(&address.into(), Duration::from_secs(30)).map(|()| socket.into());
        let mut stream: TcpStream = match (connected, deed) {
            (Ok(stream), _) => stream,
            (Err(_), "fail") => continue,
            (Err(error), _) => bail!("connecting to {address}: {error}"),
        };
        match deed {
            "send" => {
                stream.write_all(b"hello")?;
                stream.shutdown(Shutdown::Write)?;
                stream.read_to_end(&mut Vec::new())?;
            }
            "get" | "wait_and_get" => {
                if deed == "wait_and_get" {
                    wait()?;
                }
                stream.write_all(b"GET /page?key=secret HTTP/1.1\r\nHost: example.org\r\n\r\n")?;
                stream.read_to_end(&mut Vec::new())?;
            }
            "bulk" => {
                stream.write_all(&vec![7; 2_000_000])?;
                stream.shutdown(Shutdown::Write)?;
                stream.read_to_end(&mut Vec::new())?;
            }
            // More than both ends' buffers take.
            "pour" => {
                let _ = stream.write_all(&vec![7; 64 << 20]);
            }
            // Closes with an answer unread, or read but without lingering.
            "leave_unread" => {
                stream.write_all(b"hello")?;
                stream.peek(&mut [0])?;
            }
            "reset" => {
                stream.write_all(b"hello")?;
                stream.read_exact(&mut [0; 5])?;
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            }
            "leave" => stream.write_all(b"hello")?,
            "late" => {
                std::thread::sleep(Duration::from_secs(1));
                stream.write_all(b"hello")?;
                stream.shutdown(Shutdown::Write)?;
                stream.read_to_end(&mut Vec::new())?;
            }
            // Longer than the shortest times that tables on the way can be given.
            "return" => {
                stream.write_all(b"hello")?;
                std::thread::sleep(Duration::from_secs(2));
                let _ = stream.write_all(b"again");
                let _ = stream.read(&mut [0]);
            }
            "expect_reset" => {
                let _ = stream.write_all(b"hello");
                let _ = stream.read(&mut [0]);
            }
            "await_reset" => {
                let _ = stream.read(&mut [0]);
            }
            "hold" => held.push(stream),
            "fail" => {}
            "time_out" => {
                SockRef::from(&stream).set_tcp_user_timeout(Some(Duration::from_millis(700)))?;
                stream.write_all(b"hello")?;
                let error = stream.read(&mut [0]).err().and_then(|error| error.raw_os_error());
                anyhow::ensure!(error == Some(libc::ETIMEDOUT), "reading gave {error:?}");
            }
            // The child keeps the socket when this process ends.
            "bequeath" => {
                // SAFETY: this process has one thread.
                match unsafe { libc::fork() } {
                    0 => {
                        wait()?;
                        return Ok(());
                    }
                    -1 => bail!("fork: {}", io::Error::last_os_error()),
                    _ => return Ok(()),
                }
            }
            other => bail!("no deed {other}"),
        }
    }
    if !held.is_empty() {
        wait()?;
    }
    Ok(())
}

/// Answers questions for the address of any name: 127.0.0.1, but NXDOMAIN for names that begin with `missing`, and nothing
/// for those that begin with `silent`.
fn serve_names(address: SocketAddr, times: u32) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("{} {}", socket.local_addr()?.port(), std::process::id());
    io::stdout().flush()?;
    for _ in 0..times {
        let mut message = [0; 512];
        let (len, client) = socket.recv_from(&mut message)?;
        let mut answer = message[..len].to_vec();
        let label = &answer[13..];
        if label.starts_with(b"silent") {
            continue;
        }
        let exists = !label.starts_with(b"missing");
        // RFC 1035, section 4.1.1: an answer, with a code, to one question.
        answer[2..8].copy_from_slice(&[0x81, if exists { 0x80 } else { 0x83 }, 0, 1, 0, exists.into()]);
        if exists {
            // The name of the question, A, IN, a minute, 127.0.0.1.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        socket.send_to(&answer, client)?;
    }
    Ok(())
}

/// Asks a server for a name, `times` times, and waits for the answers, unless none will come.
fn look_up(server: SocketAddr, name: &str, times: u32) -> Result<()> {
    println!("0 {}", std::process::id());
    io::stdout().flush()?;
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    for id in 1..=u16::try_from(times)? {
        // RFC 1035, section 4.1.1: an identifier, recursion desired, one question.
        let mut question = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
        for label in name.split('.') {
            question.push(u8::try_from(label.len())?);
            question.extend(label.bytes());
        }
        question.extend([0, 0, 1, 0, 1]);
        socket.send_to(&question, server)?;
        if !name.starts_with("silent") {
            socket.recv(&mut [0; 512])?;
        }
    }
    Ok(())
}

/// Sends SYNs that no socket of this machine answers for, `times` of them from as many ports.
fn flood(address: SocketAddr, times: u32) -> Result<()> {
    println!("0 {}", std::process::id());
    io::stdout().flush()?;
    let SocketAddr::V4(address) = address else { bail!("the flood is IPv4's") };
    let towards = UdpSocket::bind("0.0.0.0:0")?;
    towards.connect(address)?;
    let SocketAddr::V4(source) = towards.local_addr()? else { bail!("a socket of IPv4 has another address") };
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    for port in (20_000_u16..).take(times as usize) {
        let mut segment = Vec::new();
        segment.extend(port.to_be_bytes());
        segment.extend(address.port().to_be_bytes());
        segment.extend([u32::from(port).to_be_bytes(), [0; 4]].concat());
        // 20 octets, SYN, a window.
        segment.extend([0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
        let pseudo = [&source.ip().octets()[..], &address.ip().octets()[..], &[0, 6, 0, 20]].concat();
        let words = pseudo.iter().chain(&segment).copied().collect::<Vec<_>>();
        let sum: u32 = words.chunks_exact(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        raw.send_to(&segment, &SocketAddr::V4(address).into())?;
    }
    Ok(())
}

/// Lets this process open as many files as it may at all: tests hold thousands of sockets.
fn allow_descriptors() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a structure of their kind, which outlives them.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    anyhow::ensure!(done, "setting RLIMIT_NOFILE: {}", io::Error::last_os_error());
    Ok(())
}

/// Waits until standard input ends.
fn wait() -> Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
