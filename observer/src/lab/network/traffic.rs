//! What the small servers and clients of scenarios say to each other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use socket2::SockRef;

/// One HTTP/1.1 exchange over an open connection: the client asks for `path`, the server answers with `octets` of text.
/// Request and response fit the sockets' buffers, so that one thread can be both ends.
pub fn http(
    client: &mut (impl Read + Write),
    server: &mut (impl Read + Write),
    path: &str,
    octets: usize,
) -> Result<()> {
    ask(client, path)?;
    answer(server, octets)?;
    read_answer(client)
}

/// Sends a request for `path`.
pub fn ask(client: &mut impl Write, path: &str) -> Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: server.lab\r\nUser-Agent: observer-lab\r\nAccept: */*\r\n\r\n");
    client.write_all(request.as_bytes()).context("sending the request")?;
    client.flush().context("sending the request")
}

/// Reads a request and answers it with `octets` of text.
pub fn answer(server: &mut (impl Read + Write), octets: usize) -> Result<()> {
    read_head(server).context("reading the request")?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {octets}\r\n\r\n");
    server.write_all(&[head.as_bytes(), &text(octets)].concat()).context("sending the response")?;
    server.flush().context("sending the response")
}

/// Reads a response to its end.
pub fn read_answer(client: &mut impl Read) -> Result<()> {
    let head = read_head(client).context("reading the response")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.context("the response has no length")?.trim().parse()?;
    client.read_exact(&mut vec![0; length]).context("reading the response")
}

/// Sends `octets` from one end to the other, as fast as the network takes them; the receiver reads as they come.
pub fn bulk(from: &TcpStream, to: &TcpStream, octets: usize) -> Result<()> {
    thread::scope(|scope| {
        let sender = scope.spawn(|| { from }.write_all(&text(octets)));
        { to }.read_exact(&mut vec![0; octets]).with_context(|| format!("receiving {octets} octets"))?;
        sender.join().map_err(|_| anyhow!("the sender panicked"))?.with_context(|| format!("sending {octets} octets"))
    })
}

/// Closes `first`, then `second` when it has seen that.
pub fn close(first: TcpStream, mut second: TcpStream) -> Result<()> {
    first.shutdown(Shutdown::Write).context("closing")?;
    let left = second.read_to_end(&mut Vec::new()).context("reading to the end")?;
    ensure!(left == 0, "{left} octets were left unread");
    Ok(())
}

/// Ends a connection with a reset instead of a FIN.
pub fn abort(stream: TcpStream) -> Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).context("asking for a reset at close")
}

/// Reads until the other end's reset comes.
pub fn read_to_reset(mut stream: TcpStream) -> Result<()> {
    match stream.read_to_end(&mut Vec::new()) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(e) => Err(e).context("waiting for a reset"),
        Ok(_) => bail!("the connection was closed, not reset"),
    }
}

/// Text of that length: lines that count themselves.
pub fn text(octets: usize) -> Vec<u8> {
    (0..).flat_map(|line: u32| format!("{line:07}\n").into_bytes()).take(octets).collect()
}

/// Reads up to the empty line.
pub fn read_head(from: &mut impl Read) -> Result<String> {
    const LONGEST: usize = 4096;
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < LONGEST, "the head does not end within {LONGEST} octets");
        from.read_exact(&mut octet)?;
        head.extend_from_slice(&octet);
    }
    Ok(String::from_utf8(head)?)
}
