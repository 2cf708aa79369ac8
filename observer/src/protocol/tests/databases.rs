//! Databases and queues, in segments of every size.

use super::*;
use crate::record::{Exchange, ProtocolName as Name, Sides};

/// Each call with what became of it, in segments of any size.
fn calls(turns: &[(Side, Vec<u8>)], name: Name) -> (Vec<String>, [u64; 3]) {
    let turns: Vec<_> = turns.iter().map(|(from, said)| (*from, said.as_slice())).collect();
    let seen = |most| {
        let application = cut(&turns, most);
        assert_eq!((application.protocol, application.malformed), (Some(name), 0), "segments of {most} octets");
        let line = |one: &Exchange| {
            let end = if one.complete { "" } else { " …" };
            let error = one.error.as_ref().map_or(String::new(), |error| format!(" {error}"));
            assert!(one.request_end >= one.request && one.response_end >= one.response, "{one:?}");
            format!("{}{error}{end}", one.method.as_deref().unwrap_or_default())
        };
        let lines: Vec<_> = application.exchanges.entries.iter().map(line).collect();
        let calls = application.calls.expect("something was asked");
        (lines, [calls.requests, calls.responses, calls.errors])
    };
    let whole = seen(usize::MAX);
    (1..40).for_each(|most| assert_eq!(seen(most), whole, "segments of {most} octets"));
    whole
}

#[test]
fn redis() {
    let turns = [
        (Client, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nping\r\n".to_vec()),
        (Server, b"$5\r\nhello\r\n+PONG\r\n".to_vec()),
        (
            Client,
            b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n*3\r\n$6\r\nLRANGE\r\n$1\r\nq\r\n$0\r\n\r\nINFO\r\n".to_vec(),
        ),
        (Server, b"*-1\r\n*2\r\n*1\r\n:1\r\n$-1\r\n>1\r\n+moved\r\n-ERR wrong\r\n".to_vec()),
    ];
    let (lines, counts) = calls(&turns, Name::Redis);
    assert_eq!(lines, ["GET", "PING", "LRANGE", "INFO ERR"]);
    assert_eq!(counts, [5, 5, 1]);
}

#[test]
fn memcached() {
    let turns = [
        (Client, b"set a 0 0 5\r\nhello\r\nget a b\r\n".to_vec()),
        (Server, b"STORED\r\nVALUE a 0 5\r\nEND\r\n\r\nVALUE b 0 1\r\nx\r\nEND\r\n".to_vec()),
        (Client, b"set a 0 0 1 noreply\r\ny\r\nincr a 1\r\nquit\r\n".to_vec()),
        (Server, b"CLIENT_ERROR not a number\r\n".to_vec()),
    ];
    let (lines, counts) = calls(&turns, Name::Memcached);
    assert_eq!(lines, ["set", "get", "set", "incr CLIENT_ERROR", "quit"]);
    assert_eq!(counts, [5, 3, 1]);
    let turns = [(Client, b"version\r\nmn\r\n".to_vec()), (Server, b"VERSION 1.6.18\r\nMN\r\n".to_vec())];
    assert_eq!(calls(&turns, Name::Memcached).0, ["version", "mn"]);
    let binary = |magic: u8, operation: u8, status: u16, opaque: u8| {
        let [high, low] = status.to_be_bytes();
        let head = [magic, operation, 0, 1, 0, 0, high, low, 0, 0, 0, 3, 0, 0, 0, opaque];
        [&head[..], &[0; 8], b"abc"].concat()
    };
    let turns = [
        (Client, [binary(0x80, 0, 0, 1), binary(0x80, 1, 0, 2)].concat()),
        (Server, [binary(0x81, 1, 0x82, 2), binary(0x81, 0, 1, 1)].concat()),
    ];
    let (lines, counts) = calls(&turns, Name::Memcached);
    assert_eq!(lines, ["get", "set 0x0082"]);
    assert_eq!(counts, [2, 2, 1]);
}

#[test]
fn kafka() {
    let request = |key: u8, version: u8, number: u8, rest: &[u8]| {
        let head = [0, 0, 0, 13 + rest.len() as u8, 0, key, 0, version, 0, 0, 0, number, 0, 3];
        [&head[..], b"abc", rest].concat()
    };
    let answer = |number: u8, body: &[u8]| [&[0, 0, 0, 4 + body.len() as u8, 0, 0, 0, number][..], body].concat();
    let produce = |number, acks| request(0, 7, number, &[&[0xff, 0xff, 0, acks][..], &[0; 30]].concat());
    let refused = [&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 6][..], &[0; 28]].concat();
    let turns = [
        (Client, [request(18, 3, 1, &[0; 5]), request(1, 3, 2, &[0; 5]), request(3, 3, 3, &[0; 5])].concat()),
        (Server, [answer(1, &[0, 0]), answer(3, &[0; 16]), answer(2, &[0; 8])].concat()),
        // What needs no copy of a broker's is not answered.
        (Client, [produce(4, 0), produce(5, 1), request(12, 3, 6, &[0; 5]), request(12, 3, 7, &[])].concat()),
        (Server, [answer(5, &refused), answer(6, &[0, 0, 0, 0, 0, 27]), answer(7, &[])].concat()),
    ];
    let (lines, counts) = calls(&turns, Name::Kafka);
    let expected = ["ApiVersions", "Metadata", "Produce", "Produce NOT_LEADER_OR_FOLLOWER"];
    assert_eq!(lines, [&expected[..], &["Heartbeat REBALANCE_IN_PROGRESS", "Heartbeat"]].concat());
    assert_eq!(counts, [7, 6, 2]);
}

#[test]
fn mongodb() {
    let element = |kind: u8, name: &str, value: &[u8]| [&[kind][..], name.as_bytes(), &[0], value].concat();
    let document = |elements: &[Vec<u8>]| {
        let body = elements.concat();
        [&(body.len() as u32 + 5).to_le_bytes()[..], &body, &[0]].concat()
    };
    let message = |number: u32, to: u32, document: Vec<u8>| {
        let body = [&[0, 0, 0, 0, 0][..], &document].concat();
        let head = [body.len() as u32 + 16, number, to, 2013].map(u32::to_le_bytes).concat();
        [head, body].concat()
    };
    let find = document(&[element(2, "find", b"\x04\0\0\0abc\0"), element(0x10, "limit", &[1, 0, 0, 0])]);
    let ok = document(&[element(3, "cursor", &document(&[])), element(1, "ok", &1_f64.to_le_bytes())]);
    let failed = document(&[
        element(1, "ok", &0_f64.to_le_bytes()),
        element(2, "errmsg", b"\x02\0\0\0x\0"),
        element(0x10, "code", &26_i32.to_le_bytes()),
    ]);
    let turns = [
        (Client, [message(1, 0, find.clone()), message(2, 0, find)].concat()),
        (Server, [message(9, 1, ok), message(10, 2, failed)].concat()),
    ];
    let (lines, counts) = calls(&turns, Name::Mongodb);
    assert_eq!(lines, ["find", "find 26"]);
    assert_eq!(counts, [2, 2, 1]);
}

#[test]
fn amqp_1_0() {
    let frame = |kind: u8, performative: u8, fields: &[u8]| {
        let list = [&[0xc0, fields.len() as u8 + 1, 3][..], fields].concat();
        let length = 11 + list.len() as u8;
        [&[0, 0, 0, length, 2, kind, 0, 0, 0, 0x53, performative][..], &list].concat()
    };
    let header = |kind: u8| [&b"AMQP"[..], &[kind, 1, 0, 0]].concat();
    let symbol = |text: &str| [&[0xa3, text.len() as u8][..], text.as_bytes()].concat();
    let error = |condition: &str| {
        let symbol = symbol(condition);
        [&[0x00, 0x53, 0x1d, 0xc0, symbol.len() as u8 + 2, 2][..], &symbol, &[0x40]].concat()
    };
    let detached = [&[0x52, 1, 0x41][..], &error("amqp:not-found")].concat();
    let turns = [
        (Client, header(3)),
        (Server, [header(3), frame(1, 0x40, &symbol("PLAIN"))].concat()),
        (Client, frame(1, 0x41, &symbol("PLAIN"))),
        (Server, frame(1, 0x44, &[0x50, 0])),
        (Client, [header(0), frame(0, 0x10, &[0x40]), frame(0, 0x11, &[0x40]), frame(0, 0x12, &[0x40])].concat()),
        (Server, [header(0), frame(0, 0x10, &[0x40]), frame(0, 0x11, &[0x40]), frame(0, 0x12, &[0x40])].concat()),
        // A heartbeat, and a link that is refused.
        (Server, [vec![0, 0, 0, 8, 2, 0, 0, 0], frame(0, 0x16, &detached)].concat()),
        (Client, [frame(0, 0x14, &[0x43]), frame(0, 0x18, &[0x40])].concat()),
        (Server, frame(0, 0x18, &error("amqp:connection:forced"))),
    ];
    let (lines, counts) = calls(&turns, Name::Amqp);
    assert_eq!(lines, ["sasl-init", "open", "begin", "attach", "close amqp:connection:forced"]);
    assert_eq!(counts, [5, 5, 2]);
}

#[test]
fn amqp() {
    let method = |channel: u8, class: u8, method: u8, arguments: &[u8]| {
        let length = 4 + arguments.len() as u8;
        [&[1, 0, channel, 0, 0, 0, length, 0, class, 0, method][..], arguments, &[0xce]].concat()
    };
    let turns = [
        (Client, b"AMQP\0\0\x09\x01".to_vec()),
        (Server, method(0, 10, 10, b"versions")),
        (Client, [method(0, 10, 11, b"login"), method(0, 10, 40, b"/"), method(1, 20, 10, &[])].concat()),
        (Server, [method(0, 10, 41, &[]), method(1, 20, 11, &[])].concat()),
        (Client, [method(1, 60, 40, b"publish"), vec![8, 0, 0, 0, 0, 0, 0, 0xce], method(1, 50, 10, b"q")].concat()),
        (Server, method(1, 20, 40, &[1, 0x94])),
    ];
    let (lines, counts) = calls(&turns, Name::Amqp);
    assert_eq!(lines, ["connection.open", "channel.open", "queue.declare 404"]);
    assert_eq!(counts, [3, 3, 1]);
}

#[test]
fn mqtt() {
    let turns = [
        (Client, b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03abc\x32\x09\0\x03t/a\0\x07hi\x30\x05\0\x03t/a".to_vec()),
        (Server, b"\x20\x02\0\0\x40\x02\0\x07".to_vec()),
        (Client, b"\x82\x08\0\x08\0\x03t/#\x01\xc0\0\xe0\0".to_vec()),
        (Server, b"\x90\x03\0\x08\x80\x30\x07\0\x03t/ahi\xd0\0".to_vec()),
    ];
    let (lines, counts) = calls(&turns, Name::Mqtt);
    assert_eq!(lines, ["CONNECT", "PUBLISH", "SUBSCRIBE 0x80", "PINGREQ"]);
    assert_eq!(counts, [4, 4, 1]);
}

#[test]
fn mysql() {
    let packet = |number: u8, body: &[u8]| [&[body.len() as u8, 0, 0, number][..], body].concat();
    let greeting = [&b"\x0a8.0.36\0"[..], &[7; 60]].concat();
    let turns = [
        (Server, packet(0, &greeting)),
        (Client, packet(1, &[&[0x85, 0xa2, 0, 0][..], &[0; 60]].concat())),
        (Server, packet(2, &[0xfe, b'x'])),
        (Client, packet(3, b"password")),
        (Server, packet(4, &[0, 0, 0, 2, 0, 0, 0])),
        (Client, packet(0, b"\x03select")),
        (
            Server,
            [packet(1, &[1]), packet(2, b"column"), packet(3, &[0xfe, 0]), packet(4, &[0, 1]), packet(5, &[0xfe, 0])]
                .concat(),
        ),
        (Client, packet(0, b"\x03nonsense")),
        (Server, packet(1, b"\xff\x28\x04#42000")),
        (Client, packet(0, &[1])),
    ];
    let (lines, counts) = calls(&turns, Name::Mysql);
    assert_eq!(lines, ["login", "query", "query 1064", "quit"]);
    assert_eq!(counts, [4, 3, 1]);
}

#[test]
fn postgresql() {
    let message = |kind: u8, body: &[u8]| [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
    let turns = [
        (Client, vec![0, 0, 0, 8, 4, 210, 22, 47]),
        (Server, b"N".to_vec()),
        (Client, [&[0, 0, 0, 17, 0, 3, 0, 0][..], b"user\0me\0\0"].concat()),
        (Server, [message(b'R', &[0, 0, 0, 0]), message(b'S', b"a\0b\0"), message(b'Z', b"I")].concat()),
        (
            Client,
            [message(b'P', b"\0select\0\0\0"), message(b'B', &[0; 8]), message(b'E', &[0; 5]), message(b'S', &[])]
                .concat(),
        ),
        (Client, message(b'Q', b"nonsense\0")),
        (Server, [message(b'1', &[]), message(b'2', &[]), message(b'D', b"row"), message(b'Z', b"I")].concat()),
        (Server, [message(b'E', b"SERROR\0C42601\0Msyntax\0\0"), message(b'Z', b"I")].concat()),
        (Client, message(b'X', &[])),
    ];
    let (lines, counts) = calls(&turns, Name::Postgresql);
    assert_eq!(lines, ["startup", "parse", "query 42601"]);
    assert_eq!(counts, [3, 3, 1]);
    let refused = message(b'E', b"SFATAL\0VFATAL\0C28000\0Mwho is that\0\0");
    let turns = [(Client, [&[0, 0, 0, 17, 0, 3, 0, 0][..], b"user\0me\0\0"].concat()), (Server, refused)];
    assert_eq!(calls(&turns, Name::Postgresql), (vec!["startup 28000".to_owned()], [1, 1, 1]));
}

#[test]
fn what_looks_like_them_is_not() {
    for octets in [
        &b"get lost\n"[..],
        b"*hello\r\n",
        b"set sail\r\n",
        b"AMQ\x01\x02\x03\x04\x05",
        b"\x10\x0c\0\x04MQTX\x04\x02\0\x3c",
    ] {
        let said = [octets, &[0xaa; 3000]].concat();
        let protocol = talk(&[(Client, &said)]).protocol;
        assert!(protocol.is_none() || octets.starts_with(b"get"), "{octets:?} is {protocol:?}");
    }
}

#[test]
fn what_was_missing_is_said() {
    let mut conversation = Conversation::new(0);
    let ping = b"*1\r\n$4\r\nPING\r\n";
    let mut say = |from, start, data: &[u8], acknowledged| {
        let (at, len) = (Timestamp::from_nanos(1), data.len() as u32);
        conversation.payload(from, &Payload { start, data, len, at, acknowledged, first: None });
    };
    say(0, Seq(100), ping, None);
    say(1, Seq(500), b"+PONG\r\n", None);
    // One command was not captured, and arrived.
    say(0, Seq(128), ping, Some(Seq(142)));
    let calls = conversation.record(false).and_then(|application| application.calls).expect("something was asked");
    assert_eq!((calls.requests, calls.responses), (1, 1));
    assert_eq!(calls.gap, Sides { client: true, server: false });
}
