//! What contradicts its protocol is counted, whatever the protocol: a line each.

use super::*;

/// What, of which protocol, and what is said.
type Case<'a> = (&'a str, Name, &'a [(Side, &'a [u8])]);

/// A hello of SOCKS 5 and the server's choice.
const SOCKS: [(Side, &[u8]); 2] = [(Client, &[5, 1, 0]), (Server, &[5, 0])];

/// A banner of SSH of either end.
const SSH: [(Side, &[u8]); 2] = [(Server, b"SSH-2.0-a\r\n"), (Client, b"SSH-2.0-b\r\n")];

#[test]
fn what_contradicts_its_protocol_is_counted() {
    let long = [b'x'; 20_000];
    let proxy = [b"PROXY TCP4 ".as_slice(), &long].concat();
    // A KEXINIT whose first list is longer than the packet.
    let lists = [&[0, 0, 0, 30, 4, 20][..], &[0; 16], &[0xff; 12]].concat();
    let cases: [Case<'_>; 9] = [
        ("a line without an end", Name::Smtp, &[(Server, b"220 me ESMTP\r\n"), (Client, b"EHLO "), (Client, &long)]),
        ("the same, of IMAP", Name::Imap, &[(Server, b"* OK "), (Server, &long)]),
        ("a PROXY header without an end", Name::Proxy, &[(Client, &proxy)]),
        ("an unknown kind of address", Name::Socks, &[SOCKS[0], SOCKS[1], (Client, &[5, 1, 0, 9, 1, 2, 3, 4, 0, 80])]),
        ("another version's request", Name::Socks, &[SOCKS[0], SOCKS[1], (Client, &[7, 1, 0, 1])]),
        ("the same in the answer", Name::Socks, &[SOCKS[0], (Server, &[9, 9])]),
        ("lists of algorithms beyond their packet", Name::Ssh, &[SSH[0], SSH[1], (Client, &lists)]),
        ("a length beyond all numbers", Name::Redis, &[(Client, b"*1\r\n$99999999999999999999999\r\nPING\r\n")]),
        ("a number of values that is none", Name::Redis, &[(Client, b"*1\r\n$4\r\nPING\r\n"), (Server, b"*x\r\n")]),
    ];
    for (what, name, turns) in cases {
        for most in [1, 7, usize::MAX] {
            let application = cut(turns, most);
            assert_eq!((application.protocol, application.malformed), (Some(name), 1), "{what}, {most} octets at once");
        }
    }
}

#[test]
fn a_refusal_is_not_malformed() {
    for refusal in [
        &[(Client, &[5, 1, 0][..]), (Server, &[5, 0xff])][..],
        &[SOCKS[0], SOCKS[1], (Client, &[5, 1, 0, 1, 10, 0, 0, 1, 0, 80]), (Server, &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0])],
    ] {
        let application = talk(refusal);
        assert_eq!((application.protocol, application.malformed), (Some(Name::Socks), 0));
    }
    // Null, of RESP 2.
    let null = talk(&[(Client, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"), (Server, b"$-1\r\n")]);
    assert_eq!((null.malformed, null.calls.map(|calls| calls.responses)), (0, Some(1)));
}
