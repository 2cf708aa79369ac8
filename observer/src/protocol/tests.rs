//! Conversations made up octet by octet.

mod databases;
mod http2;
mod malformed;

use super::*;
use crate::record::{HttpVersion, LookupsOver, LookupsRecord, ProtocolName as Name, Side::*, Sides};
use crate::time::Nanos;

/// What is learnt of a conversation in which each end says its part by turns.
fn talk(turns: &[(Side, &[u8])]) -> Application {
    cut(turns, usize::MAX)
}

/// The same, in segments of at most `most` octets.
fn cut(turns: &[(Side, &[u8])], most: usize) -> Application {
    conversation(turns, most).record(false).unwrap_or_default()
}

/// A conversation in which each end has said its part by turns, in segments of at most `most` octets.
fn conversation(turns: &[(Side, &[u8])], most: usize) -> Conversation {
    let mut conversation = Conversation::new(0);
    let mut next = [Seq(100), Seq(4_000_000_000)];
    let mut at = 0;
    for (from, said) in turns {
        let direction = u8::from(*from == Server);
        for data in said.chunks(most) {
            at += 1;
            let start = next[usize::from(direction)];
            let at = Timestamp::from_nanos(at);
            let len = data.len() as u32;
            conversation.payload(direction, &Payload { start, data, len, at, acknowledged: None, first: None });
            next[usize::from(direction)] = start.plus(len);
        }
    }
    let at = Timestamp::from_nanos(at + 1);
    (0..2).for_each(|from| conversation.fin(from, next[usize::from(from)], at));
    conversation
}

/// Each exchange without its times.
fn exchanges(application: &Application) -> Vec<String> {
    let line = |exchange: &crate::record::Exchange| {
        let text = |value: &Option<String>| value.clone().unwrap_or("-".to_string());
        let (method, host, path) = (text(&exchange.method), text(&exchange.host), text(&exchange.path));
        let status = exchange.status.map_or("-".to_string(), |status| status.to_string());
        let (sent, received) = (exchange.request_bytes, exchange.response_bytes);
        let more = match (exchange.continued, exchange.complete) {
            (true, _) => " continued",
            (_, false) => " cut",
            _ => "",
        };
        format!("{method} {host} {path} {sent} {status} {received}{more}")
    };
    application.exchanges.entries.iter().map(line).collect()
}

const HTTP: &[(Side, &[u8])] = &[
    (Client, b"GET /a?user=me&key=secret&flag HTTP/1.1\r\nHost: example.com:8080\r\nCookie: x\r\n\r\n"),
    (Client, b"HEAD http://me:pass@other.example/b HTTP/1.1\r\nHost: ignored\r\n\r\n"),
    (Server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4;x=y\r\nabcd\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n"),
    (Server, b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\n"),
    (Client, b"\r\nPOST /c HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
    (Server, b"HTTP/1.1 100 Continue\r\n\r\n"),
    (Client, b"hello"),
    (Server, b"HTTP/1.1 204 No Content\r\n\r\n"),
    (Client, b"GET /d HTTP/1.1\r\nHost: example.com\r\n\r\n"),
    (Server, b"HTTP/1.1 200 OK\nConnection: close\n\nas long as it takes"),
];

#[test]
fn http_exchanges() {
    let application = talk(HTTP);
    assert_eq!(
        exchanges(&application),
        [
            "GET example.com:8080 /a?user=…&key=…&… 0 200 14",
            "HEAD other.example /b 0 404 0",
            "POST example.com /c 5 204 0 continued",
            "GET example.com /d 0 200 19",
        ]
    );
    let http = application.http.as_ref().expect("it is HTTP");
    assert_eq!((http.requests, http.responses, http.errors, http.pipelined), (4, 4, 1, 1));
    assert_eq!(http.version, "HTTP/1.1");
    assert_eq!(application.name.as_ref().map(|name| name.name.as_str()), Some("example.com"));
    assert_eq!((application.protocol, application.malformed), (Some(Name::Http), 0));
}

#[test]
fn http_is_the_same_in_segments_of_any_size() {
    let whole = exchanges(&talk(HTTP));
    for most in 1..60 {
        assert_eq!(exchanges(&cut(HTTP, most)), whole, "segments of {most} octets");
    }
}

#[test]
fn http_that_is_hostile_is_bounded() {
    let endless = [b"GET / HTTP/1.1\r\n".to_vec(), b"A: b\r\n".repeat(50_000)].concat();
    let application = cut(&[(Client, &endless)], 1000);
    assert_eq!((application.malformed, application.exchanges.entries.len()), (1, 0));
    let many = b"GET / HTTP/1.1\r\n\r\n".repeat(5000);
    let application = talk(&[(Client, &many)]);
    assert_eq!((application.exchanges.entries.len() as u64 + application.exchanges.cut), 5000);
    assert!(application.exchanges.entries.len() <= 100);
    let nonsense = talk(&[(Client, b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n")]);
    assert_eq!(nonsense.malformed, 1);
    let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n";
    assert_eq!(talk(&[(Server, chunk)]).malformed, 1);
}

/// A ClientHello without extensions.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0]);
    handshake(1, &hello)
}

fn server_hello() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([8; 32]);
    hello.extend([0, 0x00, 0x2f, 0]);
    handshake(2, &hello)
}

/// A handshake message in records as large as they may be.
fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[kind][..], &length[1..], body].concat();
    message.chunks(1 << 14).flat_map(|part| record(22, part)).collect()
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat()
}

#[test]
fn tls_1_2_from_hello_to_close_notify() {
    let finished = [record(20, &[1]), record(22, &[9; 40])].concat();
    let turns: [(Side, Vec<u8>); 7] = [
        (Client, client_hello()),
        (Server, server_hello()),
        (Server, handshake(14, &[])),
        (Client, finished.clone()),
        (Server, finished),
        (Client, [record(23, &[1; 100]), record(21, &[2; 26])].concat()),
        (Server, record(23, &[1; 16_000])),
    ];
    let turns: Vec<_> = turns.iter().map(|(from, said)| (*from, said.as_slice())).collect();
    let whole = talk(&turns);
    for most in [1, 2, 7, 1448] {
        let tls = cut(&turns, most).tls.expect("it is TLS");
        assert_eq!(tls.version.as_deref(), Some("TLS 1.2"));
        assert_eq!(tls.cipher.as_deref(), Some("TLS_RSA_WITH_AES_128_CBC_SHA"));
        assert!(tls.established && tls.resumed == Some(false));
        assert_eq!((tls.close_notify.client, tls.close_notify.server), (Some(true), Some(false)));
        assert_eq!(tls.ja3, whole.tls.as_ref().and_then(|tls| tls.ja3.clone()));
    }
}

#[test]
fn a_chain_of_certificates_of_a_megabyte_is_malformed() {
    let chain = handshake(11, &vec![0; 1 << 20]);
    let (hello, answer, done) = (client_hello(), server_hello(), handshake(14, &[]));
    let application = talk(&[(Client, &hello), (Server, &answer), (Server, &chain), (Server, &done)]);
    let tls = application.tls.expect("it is TLS");
    assert_eq!((application.malformed, tls.certificates.len()), (1, 0));
}

/// The least that a certificate can be (RFC 5280, section 4.1): without names, extensions, key and signature.
fn certificate() -> Vec<u8> {
    let value = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        [&[tag, content.len() as u8][..], &content].concat()
    };
    let sequence = |parts: &[&[u8]]| value(0x30, parts);
    let algorithm = sequence(&[&value(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b]])]);
    let [from, to] = ["200101000000Z", "490101000000Z"].map(|time| value(0x17, &[time.as_bytes()]));
    let (name, nothing) = (sequence(&[]), value(3, &[&[0]]));
    let key = sequence(&[&algorithm, &nothing]);
    let body = sequence(&[&value(2, &[&[1]]), &algorithm, &name, &sequence(&[&from, &to]), &name, &key]);
    sequence(&[&body, &algorithm, &nothing])
}

#[test]
fn certificates_and_alerts_beyond_the_bound_are_counted() {
    let own = certificate();
    let length = |octets: usize| (octets as u32).to_be_bytes()[1..].to_vec();
    let entry = [length(own.len()), own].concat();
    let chain = [length(entry.len() * 11), entry.repeat(11)].concat();
    let warnings: Vec<u8> = (0..20).flat_map(|_| record(21, &[1, 90])).collect();
    let (hello, answer, chain) = (client_hello(), server_hello(), handshake(11, &chain));
    let application = talk(&[(Client, &hello), (Server, &answer), (Server, &chain), (Server, &warnings)]);
    let tls = application.tls.expect("it is TLS");
    assert_eq!((application.malformed, tls.certificates.len(), tls.certificates_cut.server), (0, 8, 3));
    assert_eq!((tls.alerts.len(), tls.alerts_cut), (8, 12));
}

#[test]
fn mail_turns_into_tls() {
    let (hello, answer) = (client_hello(), server_hello());
    let turns: &[(Side, &[u8])] = &[
        (Server, b"220 mail.example ESMTP\r\n"),
        (Client, b"EHLO me\r\n"),
        (Server, b"250-mail.example\r\n250 STARTTLS\r\n"),
        (Client, b"STARTTLS\r\n"),
        (Server, b"220 go ahead\r\n"),
        (Client, &hello),
        (Server, &answer),
    ];
    for most in [1, 1000] {
        let application = cut(turns, most);
        assert_eq!((application.via, application.protocol), (vec![Name::Smtp], Some(Name::Tls)));
        assert_eq!(application.tls.and_then(|tls| tls.version).as_deref(), Some("TLS 1.2"));
    }
}

#[test]
fn what_stands_in_front() {
    let get: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
    let proxied = talk(&[(Client, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), (Client, get)]);
    assert_eq!((proxied.via, proxied.protocol), (vec![Name::Proxy], Some(Name::Http)));
    let second = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[0; 12], get].concat();
    assert_eq!(talk(&[(Client, &second)]).protocol, Some(Name::Http));
    let socks = talk(&[
        (Client, &[5, 1, 0]),
        (Server, &[5, 0]),
        (Client, b"\x05\x01\0\x03\x07example\0\x50"),
        (Server, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        (Client, get),
    ]);
    assert_eq!((socks.via, socks.protocol), (vec![Name::Socks], Some(Name::Http)));
    assert_eq!(socks.name.map(|name| name.name).as_deref(), Some("example"));
    let hello = client_hello();
    let tunnel = talk(&[
        (Client, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"),
        (Server, b"HTTP/1.1 200 Connection established\r\n\r\n"),
        (Client, &hello),
    ]);
    assert_eq!((tunnel.via, tunnel.protocol), (vec![Name::Http], Some(Name::Tls)));
    let postgres = talk(&[(Client, &[0, 0, 0, 8, 4, 210, 22, 47]), (Server, b"S"), (Client, &hello)]);
    assert_eq!((postgres.via, postgres.protocol), (vec![Name::Postgresql], Some(Name::Tls)));
}

#[test]
fn ssh_names_what_both_ends_come_to() {
    let kexinit = |lists: [&str; 6]| {
        let mut body = vec![0; 16];
        for list in lists {
            body.extend((list.len() as u32).to_be_bytes());
            body.extend(list.as_bytes());
        }
        let length = (body.len() as u32 + 2).to_be_bytes();
        [&length[..], &[0, 20], &body].concat()
    };
    let client = kexinit(["new,old", "ed25519,rsa", "aes,3des", "3des", "sha2", "sha2"]);
    let server = kexinit(["old,new", "rsa", "3des", "3des", "sha2", "sha1"]);
    let application =
        talk(&[(Server, b"SSH-2.0-Server\r\n"), (Client, b"SSH-2.0-Client\r\n"), (Client, &client), (Server, &server)]);
    let ssh = application.ssh.expect("it is SSH");
    assert_eq!(ssh.banners.client.as_deref(), Some("SSH-2.0-Client"));
    assert_eq!((ssh.key_exchange.as_deref(), ssh.host_key.as_deref()), (Some("new"), Some("rsa")));
    assert_eq!((ssh.cipher.client.as_deref(), ssh.mac.server), (Some("3des"), None));
}

#[test]
fn dns_over_tcp_is_messages_behind_their_lengths() {
    let query: &[u8] = b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";
    let answer: &[u8] = b"\0\x2d\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x07example\x03com\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
    let mut conversation = conversation(&[(Client, query), (Server, answer), (Client, query)], 3);
    let heard = conversation.heard().expect("there are messages");
    let [asked, answered, again] = &heard.messages[..] else { panic!("three messages, not {:?}", heard.messages) };
    assert_eq!((answered.name.as_str(), answered.kind.as_str()), ("example.com", "A"));
    assert_eq!((answered.code.as_str(), answered.ttl), ("NOERROR", Some(60)));
    assert_eq!(answered.answers, ["192.0.2.1"]);
    assert_eq!((asked, asked.is_response, heard.client, heard.opened), (again, false, 0, false));
    assert!(conversation.heard().is_none(), "once");
    let mut looped = answer.to_vec();
    looped[14] = 0xc0;
    looped[15] = 0x0c;
    assert_eq!(talk(&[(Client, query), (Server, &looped)]).malformed, 1, "a name that points at itself");
}

#[test]
fn dns_inside_of_http_is_known_by_its_content_type() {
    let over = |request: &[u8], response: &[u8]| talk(&[(Client, request), (Server, response)]).lookups;
    let post =
        |kind: &str| format!("POST /q HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: 1\r\n\r\nx").into_bytes();
    let plain = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: Application/DNS-Message; x\r\nContent-Length: 0\r\n\r\n";
    let https = Some(LookupsRecord::over(LookupsOver::Https));
    assert_eq!(over(&post("application/dns-message"), plain), https);
    assert_eq!(over(b"GET /q?dns=AAAB HTTP/1.1\r\nHost: a\r\n\r\n", answer), https);
    assert_eq!(over(&post("application/json"), plain), None);
}

#[test]
fn dns_over_tcp_says_where_octets_are_missing() {
    let query: &[u8] = b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01";
    let mut conversation = Conversation::new(0);
    let mut send = |start: u32, acknowledged| {
        let (start, len, at) = (Seq(start), query.len() as u32, Timestamp::default());
        conversation.payload(0, &Payload { start, data: query, len, at, acknowledged, first: None });
    };
    send(1, None);
    // The other end has what the capture lacks.
    send(101, Some(Seq(101)));
    let lookups = conversation.record(false).and_then(|application| application.lookups).expect("it is DNS");
    assert_eq!((lookups.over, lookups.gap), (LookupsOver::Tcp, Sides { client: true, server: false }));
    assert_eq!(conversation.heard().map(|heard| heard.messages.len()), Some(1));
}

#[test]
fn what_is_no_protocol_is_let_go() {
    let mut conversation = Conversation::new(0);
    for from in [0, 1] {
        let data = &[0xaa; 1448];
        let at = Timestamp::default();
        conversation.payload(from, &Payload { start: Seq(1), data, len: 1448, at, acknowledged: None, first: None });
    }
    assert!(conversation.is_void());
    assert_eq!(conversation.held(), 0);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn http_that_leads_to_http_is_counted_with_it() {
    let first = b"GET /first HTTP/1.1\r\nHost: h\r\n\r\n";
    let not_found = b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let up = b"GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n";
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    let answer = [frame(4, 0, 0, &[]), frame(1, 0x4, 1, &[0x88]), frame(0, 0, 1, &[7; 30])].concat();
    let rest = frame(0, 1, 1, &[7; 10]);
    let turns: [(Side, &[u8]); 7] = [
        (Client, first),
        (Server, not_found),
        (Client, up),
        (Server, switch),
        (Client, &preface),
        (Server, &answer),
        (Server, &rest),
    ];
    let application = talk(&turns);
    assert_eq!(exchanges(&application), ["GET h /first 0 404 0", "GET h /up 0 200 40"]);
    let versions: Vec<_> =
        application.exchanges.entries.iter().map(|one| (one.version.client, one.version.server)).collect();
    let [http_1_0, http_1_1, http_2] = [HttpVersion::Http1_0, HttpVersion::Http1_1, HttpVersion::Http2].map(Some);
    assert_eq!(versions, [(http_1_1, http_1_0), (http_1_1, http_2)]);
    let http = application.http.expect("it is HTTP");
    assert_eq!((http.version.as_str(), http.requests, http.responses, http.errors), ("HTTP/2", 2, 2, 1));
    assert_eq!(http.upgrade.as_deref(), Some("h2c"));
    assert_eq!(
        http.first_byte_ns.map(|spread| spread.max_ns),
        Some(Nanos(3)),
        "of the upgrade, which the preface is behind"
    );
    assert_eq!(http.transfer_ns.map(|spread| (spread.min_ns, spread.max_ns)), Some((Nanos(0), Nanos(1))), "of both");

    // Through a proxy.
    let connect = b"CONNECT me:pass@h:80 HTTP/1.1\r\nHost: h\r\n\r\n";
    let refused = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
    let granted = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let turns: [(Side, &[u8]); 6] = [
        (Client, connect),
        (Server, refused),
        (Client, connect),
        (Server, granted),
        (Client, first),
        (Server, not_found),
    ];
    let application = talk(&turns);
    let http = application.http.expect("it is HTTP");
    assert_eq!((http.version.as_str(), http.requests, http.responses, http.errors), ("HTTP/1.0", 3, 3, 2));
    assert_eq!(application.exchanges.entries.len(), 3);
    assert_eq!(application.name.map(|name| name.name).as_deref(), Some("h"));
}

#[test]
fn an_upgrade_leads_to_websocket() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    let key = [1, 2, 3, 4];
    let masked = |first: u8, payload: &[u8]| {
        let sealed: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key).collect();
        [&[first, 0x80 | payload.len() as u8][..], &key, &sealed].concat()
    };
    let long = [&[0x82, 126, 1, 0x2c][..], &[0xff; 300]].concat();
    let client = [masked(0x81, b"hello"), masked(0x89, b""), masked(0x88, &[3, 0xe8, b'b'])].concat();
    let server = [&long[..], &[0x8a, 0], &[0x02, 127, 0, 0, 0, 0, 0, 0, 0, 1, 9], &[0x80, 1, 9], &[0x88, 0]].concat();
    for most in [1, 2, 3, 7, 10_000] {
        let turns: [(Side, &[u8]); 4] = [(Client, UPGRADE), (Server, switch), (Server, &server), (Client, &client)];
        let application = cut(&turns, most);
        assert_eq!((&application.via[..], application.protocol), (&[Name::Http][..], Some(Name::WebSocket)));
        let socket = application.websocket.expect("it is WebSocket");
        let own = socket.frames.client;
        assert_eq!((own.text, own.ping, own.close, own.total()), (1, 1, 1, 3));
        let others = socket.frames.server;
        assert_eq!((others.binary, others.continuation, others.pong, others.close), (2, 1, 1, 1));
        assert_eq!((socket.bytes.client, socket.bytes.server), (5, 302));
        assert_eq!((socket.close_code.client, socket.close_code.server), (Some(1000), Some(1005)));
        assert_eq!(application.malformed, 0);
    }
    let endless = [&[0x89, 126, 1, 0][..], &[0; 256]].concat();
    let turns: [(Side, &[u8]); 3] = [(Client, UPGRADE), (Server, switch), (Server, &endless)];
    assert_eq!(talk(&turns).malformed, 1, "a ping that is too long");
    // Frames longer than any, and so long that together they are more than can be counted.
    let huge = |first: u8| [&[0x82, 127, first][..], &[0xff; 7]].concat();
    assert_eq!(talk(&[(Client, UPGRADE), (Server, switch), (Server, &huge(0xff))]).malformed, 1);
    let application = talk(&[(Client, UPGRADE), (Server, switch), (Server, &huge(0x7f))]);
    assert_eq!(application.websocket.map(|socket| socket.bytes.server), Some(u64::MAX >> 1));
}

/// Has a client send this in segments of `most` octets; gives the most that was held meanwhile, and what was learnt.
fn held_most(before: &[(Side, &[u8])], said: &[u8], from: Side, most: usize) -> (usize, Application) {
    let mut conversation = Conversation::new(0);
    let mut next = [Seq(100), Seq(4_000_000_000)];
    let mut held = 0;
    let whole = before.iter().map(|(from, said)| (*from, *said, usize::MAX)).chain([(from, said, most)]);
    for (from, said, most) in whole {
        let direction = u8::from(from == Server);
        for data in said.chunks(most) {
            let (start, len, at) = (next[usize::from(direction)], data.len() as u32, Timestamp::from_nanos(1));
            conversation.payload(direction, &Payload { start, data, len, at, acknowledged: None, first: None });
            next[usize::from(direction)] = start.plus(len);
            held = held.max(conversation.held());
        }
    }
    (held, conversation.record(false).unwrap_or_default())
}

#[test]
fn what_waits_for_its_end_is_bounded() {
    const BOUND: usize = 600 << 10;
    let hellos = [client_hello(), server_hello()];
    let before: [(Side, &[u8]); 2] = [(Client, &hellos[0]), (Server, &hellos[1])];
    // A chain of a megabyte as one message, and the largest message that is read in records of an octet each, which never
    // comes to its end; again and again.
    let chain = handshake(11, &vec![0; 1 << 20]);
    let (held, application) = held_most(&before, &chain, Server, 1448);
    assert!(held < BOUND, "{held} octets are held");
    assert_eq!(application.malformed, 1);
    let message = [&[11, 1, 0xff, 0xff][..], &[0; 0x1_ffff]].concat();
    let slow: Vec<u8> = message.iter().flat_map(|octet| record(22, &[*octet])).collect();
    let (held, application) = held_most(&before, &slow.repeat(3), Server, 1448);
    assert!(held < BOUND, "{held} octets are held");
    assert!(application.malformed <= 3);
    let certificates = [&[0, 0, 1, 0][..], &[0x30; 256]].concat().split_off(1).repeat(400);
    let length = (certificates.len() as u32).to_be_bytes();
    let many = handshake(11, &[&length[1..], &certificates].concat());
    let (_, application) = held_most(&before, &many.repeat(20), Server, 1448);
    let tls = application.tls.expect("it is TLS");
    assert!(tls.certificates.len() <= 8);
    assert_eq!(application.malformed, 20, "none of them is a certificate");
    // Heads without end.
    for start in [
        &b"GET / HTTP/1.1\r\nA: "[..],
        b"HTTP/1.1 200 OK\r\nA: ",
        b"SSH-2.0-x\r\n\0\xff\xff\xff",
        b"*1\r\n$999999999\r\n",
    ] {
        let endless = [start, &[b'a'; 2 << 20]].concat();
        for most in [100, 1448] {
            let (held, _) = held_most(&[], &endless, Client, most);
            assert!(held < BOUND, "{held} octets are held of {start:?}");
        }
    }
}

#[test]
fn segments_that_overlap_all_over_are_bounded() {
    let mut conversation = Conversation::new(0);
    let mut octets = [0; 1448];
    let (mut random, mut held) = (1_u64, 0);
    let (hello, at) = (client_hello(), Timestamp::from_nanos(1));
    let first = Payload { start: Seq(0), data: &hello, len: hello.len() as u32, at, acknowledged: None, first: None };
    conversation.payload(0, &first);
    for round in 0..200_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // By turns over all of the sequence numbers, and close to each other, saying something else each time.
        let start = if round % 2 == 0 { random >> 32 } else { 10_000 + (random >> 48) } as u32;
        octets.fill(round as u8);
        let data = octets.get(..1 + (random >> 20) as usize % 1448).unwrap_or_default();
        let len = data.len() as u32;
        conversation.payload(0, &Payload { start: Seq(start), data, len, at, acknowledged: None, first: None });
        held = held.max(conversation.held());
    }
    assert!(held < 1 << 20, "{held} octets are held");
    let application = conversation.record(false).expect("it began as TLS");
    assert!(application.malformed > 0, "segments contradict each other");
}
