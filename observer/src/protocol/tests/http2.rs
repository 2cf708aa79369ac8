//! HTTP/2 and gRPC, frame by frame.

use super::*;

#[test]
fn http_2_streams_in_segments_of_any_size() {
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    // GET, https, /, and :authority a literal that is indexed; later by its index.
    let first = frame(1, 0x5, 1, &[0x82, 0x87, 0x84, 0x41, 4, b'h', b'o', b's', b't']);
    let second =
        [frame(1, 0x0, 3, &[0x83, 0x87]), frame(9, 0x4, 3, &[0x84, 0xbe]), frame(0, 0x1, 3, &[7; 10])].concat();
    let answers =
        [frame(1, 0x4, 3, &[0x8d]), frame(1, 0x4, 1, &[0x88]), frame(0, 0x1, 1, &[7; 3000]), frame(0, 0x1, 3, &[7; 5])]
            .concat();
    let turns: [(Side, &[u8]); 4] = [(Client, &preface), (Client, &first), (Client, &second), (Server, &answers)];
    for most in [1, 3, 1448, 10_000] {
        let application = cut(&turns, most);
        assert_eq!((application.protocol, application.malformed), (Some(Name::Http2), 0), "{most} octets");
        assert_eq!(exchanges(&application), ["GET host / 0 200 3000", "POST host / 10 404 5"], "{most} octets");
    }
}

#[test]
fn http_2_tells_of_streams_and_windows() {
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[0, 4, 0, 0, 0, 100])].concat();
    let get = |stream| frame(1, 0x5, stream, &[0x82, 0x87, 0x84]);
    let requests = [get(1), get(3), get(5)].concat();
    let grant = |stream, octets: u32| frame(8, 0, stream, &octets.to_be_bytes());
    let answers = [frame(1, 0x4, 1, &[0x88]), frame(1, 0x4, 3, &[0x88]), frame(0, 0, 1, &[7; 100])].concat();
    let end = [frame(0, 1, 1, &[7; 20]), frame(1, 0x4, 5, &[0x88]), frame(0, 0, 5, &[7; 100])].concat();
    let cancel = frame(3, 0, 3, &8_u32.to_be_bytes());
    let goaway = frame(7, 0, 0, &[&[0, 0, 0, 5][..], &[0, 0, 0, 11], b"calm down"].concat());
    let turns: [(Side, &[u8]); 8] = [
        (Server, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 9])),
        (Client, &preface),
        (Client, &requests),
        (Server, &answers),
        (Client, &cancel),
        (Client, &grant(1, 50)),
        (Server, &end),
        (Server, &goaway),
    ];
    for most in [1, 3, 8, 1448, 10_000] {
        let application = cut(&turns, most);
        assert_eq!((application.protocol, application.malformed), (Some(Name::Http2), 0), "{most} octets");
        let http = application.http2.expect("it is HTTP/2");
        assert_eq!((http.streams.client, http.most_open), (3, Some(3)));
        let resets: Vec<_> = http.resets.iter().map(|reset| (reset.from, reset.code.as_str(), reset.count)).collect();
        assert_eq!(resets, [(Client, "CANCEL", 1)]);
        let goaways: Vec<_> = http.goaways.iter().map(|one| (one.from, one.code.as_str(), one.last_stream)).collect();
        assert_eq!(goaways, [(Server, "ENHANCE_YOUR_CALM", 5)]);
        let [connection, streams] = [http.stalls.server.connection, http.stalls.server.streams];
        assert_eq!(connection.map(|stall| stall.count), Some(0));
        assert_eq!(streams.map(|stall| stall.count), Some(1), "the fifth stream's was not given back");
        let reset = &application.exchanges.entries[1];
        assert_eq!((reset.reset.as_deref(), reset.complete), (Some("CANCEL"), false));
    }
}

#[test]
fn http_2_does_not_say_what_a_gap_may_have_changed() {
    let mut conversation = Conversation::new(0);
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), &frame(1, 0x5, 1, &[0x82])].concat();
    let answer = [frame(4, 0, 0, &[]), frame(1, 0x5, 1, &[0x88])].concat();
    let mut say = |direction: u8, start: u32, data: &[u8], acknowledged: Option<Seq>| {
        let (start, at, len) = (Seq(start), Timestamp::from_nanos(start.into()), data.len() as u32);
        conversation.payload(direction, &Payload { start, data, len, at, acknowledged, first: None });
    };
    say(0, 100, &preface, None);
    say(1, 1000, &answer, None);
    // Twenty octets of the client that the server has received are not there.
    let next = 100 + preface.len() as u32 + 20;
    say(0, next, &frame(1, 0x5, 5, &[0x82]), Some(Seq(next)));
    let http = conversation.record(false).and_then(|all| all.http2).expect("it is HTTP/2");
    assert_eq!((http.most_open, http.stalls.server.streams), (None, None));
}

#[test]
fn grpc_tells_how_calls_ended() {
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    let literal = |name: &str, value: &str| {
        [&[0, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    let call = |stream| {
        let block = [&[0x83, 0x87, 0x84][..], &literal("content-type", "application/grpc+proto")].concat();
        [frame(1, 0x4, stream, &block), frame(0, 1, stream, &[0, 0, 0, 0, 0])].concat()
    };
    let answer = [frame(1, 0x4, 1, &[0x88]), frame(0, 0, 1, &[0; 9]), frame(1, 0x5, 1, &literal("grpc-status", "0"))];
    let failed = frame(1, 0x5, 3, &[&[0x88][..], &literal("grpc-status", "14")].concat());
    let calls = [preface, call(1), call(3)].concat();
    let answers = [answer.concat(), failed].concat();
    for most in [1, 5, 10_000] {
        let application = cut(&[(Client, &calls), (Server, &answers)], most);
        let grpc = application.http2.and_then(|http| http.grpc).expect("it is gRPC");
        assert_eq!((grpc.calls, grpc.errors), (2, 1));
        let codes: Vec<_> = application.exchanges.entries.iter().map(|one| one.grpc_status).collect();
        assert_eq!(codes, [Some(0), Some(14)]);
    }
}

#[test]
fn an_upgrade_leads_to_http_2() {
    let get = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n";
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    let answer = [frame(4, 0, 0, &[]), frame(1, 0x4, 1, &[0x88]), frame(0, 1, 1, &[7; 30])].concat();
    for most in [1, 7, 10_000] {
        let turns: [(Side, &[u8]); 4] = [(Client, get), (Server, switch), (Server, &answer), (Client, &preface)];
        let application = cut(&turns, most);
        assert_eq!((&application.via[..], application.protocol), (&[Name::Http][..], Some(Name::Http2)));
        // The request is told once, with the answer that it had.
        assert_eq!(exchanges(&application), ["GET h /a 0 200 30"]);
        assert_eq!(application.http.and_then(|http| http.upgrade).as_deref(), Some("h2c"));
        assert_eq!(application.malformed, 0);
    }
}

#[test]
fn http_2_bombs_are_bounded() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // One path of 4 kB, then thousands of references to it: 200 MB of fields.
    let mut block = vec![0x44, 0x7f, 0x80 | 33, 30];
    block.extend(vec![b'b'; 4000]);
    block.extend(vec![0xbe; 50_000]);
    let bomb = frame(1, 0x5, 1, &block);
    let application = talk(&[(Client, &preface), (Client, &bomb), (Client, &bomb)]);
    assert_eq!((application.malformed, application.exchanges.entries.len()), (1, 0));
    let endless: Vec<_> = std::iter::once(frame(1, 0, 1, &[0; 60_000]))
        .chain((0..100).map(|_| frame(9, 0, 1, &[0; 60_000])))
        .flatten()
        .collect();
    assert_eq!(talk(&[(Client, &preface), (Client, &endless)]).malformed, 1);
    // Frames that add nothing, and never end.
    let flood = [frame(1, 0, 1, &[]), frame(9, 0, 1, &[]).repeat(100_000)].concat();
    assert_eq!(talk(&[(Client, &preface), (Client, &flood)]).malformed, 1);
}
