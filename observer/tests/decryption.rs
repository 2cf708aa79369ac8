//! TLS with logged secrets: two ends of rustls talk in memory, and what they say is opened as if it had been captured.

use std::fmt::Debug;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use observer::keylog::{KeyLog, Keys};
use observer::protocol::{Conversation, Payload};
use observer::record::{Application, DecryptionStop, ProtocolName};
use observer::sequence::Seq;
use observer::time::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion, version,
};

const CLIENT: u8 = 0;
const SERVER: u8 = 1;

const GET: &[u8] = b"GET /a?key=secret HTTP/1.1\r\nHost: example.test\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n";

/// What the ends logged.
#[derive(Debug, Default)]
struct Log(Mutex<String>);

impl rustls::KeyLog for Log {
    fn log(&self, label: &str, random: &[u8], secret: &[u8]) {
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let line = format!("{label} {} {}\n", hex(random), hex(secret));
        self.0.lock().expect("nobody panicked").push_str(&line);
    }
}

/// Two ends that can talk more than once.
struct Ends {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    log: Arc<Log>,
}

impl Ends {
    fn new(version: &'static SupportedProtocolVersion, suite: CipherSuite) -> Self {
        let made = rcgen::generate_simple_self_signed(["example.test".to_owned()]).expect("a certificate is made");
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("the key is one");
        let mut provider: CryptoProvider = ring::default_provider();
        provider.cipher_suites.retain(|known| known.suite() == suite);
        let provider = Arc::new(provider);
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("the suite is the version's")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("the key is the certificate's");
        (server.max_early_data_size, server.alpn_protocols) = (16_384, vec![b"http/1.1".to_vec()]);
        let mut trusted = RootCertStore::empty();
        trusted.add(certificate).expect("the certificate is one");
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("the suite is the version's")
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let log = Arc::new(Log::default());
        client.key_log = Arc::clone(&log) as Arc<dyn rustls::KeyLog>;
        (client.enable_early_data, client.alpn_protocols) = (true, server.alpn_protocols.clone());
        Self { client: Arc::new(client), server: Arc::new(server), log }
    }

    fn talk(&self) -> Talk {
        let name = ServerName::try_from("example.test").expect("it is a name");
        let client = ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        let server = ServerConnection::new(Arc::clone(&self.server)).expect("a server");
        Talk { client, server, said: Vec::new() }
    }

    /// The secrets, those whose lines `wanted` wants.
    fn keys(&self, wanted: impl Fn(&str) -> bool) -> Arc<Keys> {
        let mut log = KeyLog::default();
        let text = self.log.0.lock().expect("nobody panicked");
        text.lines().filter(|line| wanted(line)).for_each(|line| log.read(line.as_bytes()));
        let mut keys = Keys::default();
        keys.add(log);
        Arc::new(keys)
    }
}

/// One connection, and what went over it.
struct Talk {
    client: ClientConnection,
    server: ServerConnection,
    said: Vec<(u8, Vec<u8>)>,
}

impl Talk {
    /// Each end sends what it has and takes what the other sends, until neither has more to send.
    fn exchange(&mut self) {
        loop {
            let mut octets = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut octets).expect("memory takes it");
            }
            let mut sent = octets.as_slice();
            while !sent.is_empty() {
                self.server.read_tls(&mut sent).expect("memory gives it");
                self.server.process_new_packets().expect("the client does nothing wrong");
            }
            let mut answer = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut answer).expect("memory takes it");
            }
            let mut sent = answer.as_slice();
            while !sent.is_empty() {
                self.client.read_tls(&mut sent).expect("memory gives it");
                self.client.process_new_packets().expect("the server does nothing wrong");
            }
            let is_over = octets.is_empty() && answer.is_empty();
            self.said.extend([(CLIENT, octets), (SERVER, answer)].into_iter().filter(|(_, said)| !said.is_empty()));
            if is_over {
                return;
            }
        }
    }

    fn ask(&mut self, request: &[u8]) {
        self.client.writer().write_all(request).expect("memory takes it");
        self.exchange();
        let _all = self.server.reader().read(&mut [0; 4096]);
    }

    fn answer(&mut self, answer: &[u8], body: usize) {
        self.server.writer().write_all(answer).expect("memory takes it");
        for part in vec![b'x'; body].chunks(10_000) {
            self.server.writer().write_all(part).expect("memory takes it");
            self.exchange();
            let _part = self.client.reader().read(&mut vec![0; 1 << 16]);
        }
        self.exchange();
    }

    fn close(&mut self) {
        self.client.send_close_notify();
        self.server.send_close_notify();
        self.exchange();
    }

    fn once(ends: &Ends) -> Self {
        let mut talk = ends.talk();
        talk.exchange();
        talk.ask(GET);
        talk.answer(ANSWER, 40_000);
        talk.close();
        talk
    }

    /// What is learnt of it in segments of at most `most` octets, those left out that `is_lost` says are: of each it is
    /// told the direction and where it begins.
    fn learnt(&self, keys: &Arc<Keys>, most: usize, is_lost: impl Fn(u8, usize) -> bool) -> Application {
        let mut conversation = Conversation::new(CLIENT);
        conversation.unlock(keys);
        let (mut sent, mut time) = ([0_usize; 2], 0);
        for (from, said) in &self.said {
            for data in said.chunks(most) {
                time += 1_000_000;
                let begins = &mut sent[usize::from(*from)];
                let (start, len) = (Seq(7).plus(*begins as u32), data.len() as u32);
                let is_lost = is_lost(*from, *begins);
                *begins += data.len();
                if !is_lost {
                    // The other end has what the capture lacks.
                    let acknowledged = Some(start);
                    let at = Timestamp::from_nanos(time);
                    conversation.payload(*from, &Payload { start, data, len, at, acknowledged, first: None });
                }
            }
        }
        let at = Timestamp::from_nanos(time + 1);
        [CLIENT, SERVER].into_iter().for_each(|from| {
            conversation.fin(from, Seq(7).plus(sent[usize::from(from)] as u32), at);
        });
        conversation.record(true).expect("something is known")
    }

    fn all(&self, keys: &Arc<Keys>) -> Application {
        self.learnt(keys, usize::MAX, |_, _| false)
    }
}

fn exchanges(application: &Application) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or("-".to_owned());
    let line = |one: &observer::record::Exchange| {
        let status = one.status.map_or("-".to_owned(), |status| status.to_string());
        format!("{} {} {} {status} {}", text(&one.method), text(&one.host), text(&one.path), one.response_bytes)
    };
    application.exchanges.entries.iter().map(line).collect()
}

const WHOLE: &str = "GET example.test /a?key=secret 200 40000";

const SUITES: &[(&SupportedProtocolVersion, CipherSuite)] = &[
    (&version::TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    (&version::TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (&version::TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    (&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
    (&version::TLS13, CipherSuite::TLS13_AES_256_GCM_SHA384),
    (&version::TLS13, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

#[test]
fn every_suite_is_opened_in_segments_of_any_size() {
    for (version, suite) in SUITES {
        let ends = Ends::new(version, *suite);
        let talks = [Talk::once(&ends), Talk::once(&ends)];
        let keys = ends.keys(|_| true);
        for (talk, resumed) in talks.iter().zip([false, true]) {
            for most in [1, 5, 100, 1448, 20_000, usize::MAX] {
                let place = format!("{suite:?}, resumed {resumed}, {most} octets");
                let application = talk.learnt(&keys, most, |_, _| false);
                assert_eq!(exchanges(&application), [WHOLE], "{place}");
                assert_eq!(
                    (&application.via[..], application.protocol),
                    (&[ProtocolName::Tls][..], Some(ProtocolName::Http))
                );
                assert_eq!(application.malformed, 0, "{place}");
                let tls = application.tls.expect("it is TLS");
                assert_eq!(tls.resumed, Some(resumed), "{place}");
                assert_eq!(tls.alpn.as_deref(), Some("http/1.1"), "{place}");
                assert_eq!(tls.client_certificate_requested, Some(false), "{place}");
                assert_eq!(tls.certificates.len(), usize::from(!resumed), "{place}");
                assert_eq!((tls.close_notify.client, tls.close_notify.server), (Some(true), Some(true)), "{place}");
                let decryption = tls.decryption.expect("the secrets are known");
                assert_eq!((decryption.unopened.client, decryption.unopened.server), (0, 0), "{place}");
                assert_eq!((decryption.stopped.client, decryption.stopped.server), (None, None), "{place}");
            }
        }
    }
}

#[test]
fn without_its_secrets_a_connection_is_as_it_was() {
    for (version, suite) in SUITES {
        let (ends, others) = (Ends::new(version, *suite), Ends::new(version, *suite));
        let (talk, other) = (Talk::once(&ends), Talk::once(&others));
        let shown = |keys: &Arc<Keys>| {
            let application = talk.all(keys);
            assert_eq!((application.protocol, application.malformed), (Some(ProtocolName::Tls), 0));
            format!("{:?}", application.tls.expect("it is TLS"))
        };
        let plain = shown(&Arc::new(Keys::default()));
        assert_eq!(shown(&others.keys(|_| true)), plain);
        assert!(plain.contains("decryption: None"), "{plain}");
        assert!(other.all(&others.keys(|_| true)).http.is_some());
    }
}

#[test]
fn early_data_is_part_of_the_conversation() {
    let ends = Ends::new(&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256);
    Talk::once(&ends);
    let mut talk = ends.talk();
    let mut early = talk.client.early_data().expect("the first connection brought a ticket that allows it");
    early.write_all(GET).expect("there is room");
    talk.exchange();
    let mut taken = Vec::new();
    talk.server.early_data().expect("the server takes it").read_to_end(&mut taken).expect("memory gives it");
    assert_eq!(taken, GET);
    talk.answer(ANSWER, 40_000);
    talk.close();
    for most in [1, 1448, usize::MAX] {
        let application = talk.learnt(&ends.keys(|_| true), most, |_, _| false);
        assert_eq!(exchanges(&application), [WHOLE]);
        let tls = application.tls.expect("it is TLS");
        assert_eq!((tls.early_data, tls.early_data_accepted, tls.round_trips), (true, Some(true), Some(0)));
    }
    // Without the secret of early data the rest is opened all the same.
    let application = talk.all(&ends.keys(|line| !line.starts_with("CLIENT_EARLY")));
    assert_eq!(exchanges(&application), ["- - - 200 40000"]);
    let decryption = application.tls.and_then(|tls| tls.decryption).expect("the secrets are known");
    assert!(decryption.unopened.client > 0 && decryption.opened.client > 0, "{decryption:?}");
}

#[test]
fn keys_are_updated() {
    let ends = Ends::new(&version::TLS13, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let mut talk = ends.talk();
    talk.exchange();
    for _ in 0..3 {
        talk.client.refresh_traffic_keys().expect("the handshake is over");
        talk.ask(GET);
        talk.answer(ANSWER, 40_000);
    }
    talk.close();
    let application = talk.learnt(&ends.keys(|_| true), 1448, |_, _| false);
    assert_eq!(exchanges(&application), [WHOLE; 3]);
    let decryption = application.tls.and_then(|tls| tls.decryption).expect("the secrets are known");
    assert_eq!((decryption.key_updates.client, decryption.key_updates.server), (3, 3));
}

#[test]
fn records_are_found_again_behind_a_gap() {
    for (version, suite) in SUITES {
        let ends = Ends::new(version, *suite);
        let mut talk = ends.talk();
        talk.exchange();
        for _ in 0..20 {
            talk.ask(GET);
            talk.answer(ANSWER, 40_000);
        }
        talk.close();
        let keys = ends.keys(|_| true);
        for most in [1448, usize::MAX] {
            let application =
                talk.learnt(&keys, most, |from, begins| from == SERVER && (90_000..120_000).contains(&begins));
            let seen = exchanges(&application);
            assert!(seen.iter().filter(|line| *line == WHOLE).count() > 14, "{suite:?}: {seen:?}");
            let decryption = application.tls.and_then(|tls| tls.decryption).expect("the secrets are known");
            assert_eq!(decryption.stopped.server, None, "{suite:?}");
        }
    }
}

#[test]
fn too_large_a_gap_is_told() {
    let ends = Ends::new(&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut talk = ends.talk();
    talk.exchange();
    for _ in 0..400 {
        talk.ask(GET);
        talk.answer(ANSWER, 10_000);
    }
    let lost = |from, begins| from == SERVER && (20_000..3_000_000).contains(&begins);
    let application = talk.learnt(&ends.keys(|_| true), usize::MAX, lost);
    let decryption = application.tls.and_then(|tls| tls.decryption).expect("the secrets are known");
    assert_eq!(decryption.stopped.server, Some(DecryptionStop::Gap));
    assert_eq!(decryption.stopped.client, None);
}

#[test]
fn secrets_of_the_data_alone_are_enough() {
    let ends = Ends::new(&version::TLS13, CipherSuite::TLS13_AES_256_GCM_SHA384);
    let talk = Talk::once(&ends);
    let keys = ends.keys(|line| line.contains("TRAFFIC_SECRET_0"));
    assert_eq!(exchanges(&talk.learnt(&keys, 1448, |_, _| false)), [WHOLE]);
}

#[test]
fn no_secret_is_shown() {
    let ends = Ends::new(&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256);
    let talk = Talk::once(&ends);
    let keys = ends.keys(|_| true);
    let mut conversation = Conversation::new(CLIENT);
    conversation.unlock(&keys);
    let mut next = [Seq(0); 2];
    for (from, data) in talk.said.iter().take(4) {
        let (start, len) = (next[usize::from(*from)], data.len() as u32);
        let at = Timestamp::default();
        conversation.payload(*from, &Payload { start, data, len, at, acknowledged: None, first: None });
        next[usize::from(*from)] = start.plus(len);
    }
    let shown = [&conversation as &dyn Debug, &keys].map(|value| format!("{value:?}").to_lowercase()).concat();
    let text = ends.log.0.lock().expect("nobody panicked");
    for secret in text.lines().filter_map(|line| line.split(' ').nth(2)) {
        let octets: Vec<_> =
            (0..8).map(|at| 2 * at).map(|at| u8::from_str_radix(&secret[at..at + 2], 16).expect("it is hex")).collect();
        let as_list = format!("{octets:?}");
        assert!(!shown.contains(secret) && !shown.contains(as_list.trim_matches(['[', ']'])));
    }
}
