//! Secrets of TLS sessions, as programs log them for those who look into their own traffic: the key log format of NSS
//! (draft-ietf-tls-keylogfile), in a file or in the decryption secrets blocks of a pcapng file.
//!
//! A secret goes to the protocol that opens records with it and to nowhere else: none is printed, not even for debugging.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The random of a ClientHello, by which a session's secrets are found.
pub type Random = [u8; 32];

/// Sessions whose secrets are kept; of those beyond, lines count as ignored.
const MOST_SESSIONS: usize = 1 << 18;

/// Octets of the longest secret: a master secret, or one of SHA-384.
const MOST_SECRET: usize = 48;

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// The master secret of TLS 1.2 and before (`CLIENT_RANDOM`).
    Master,
    /// `CLIENT_EARLY_TRAFFIC_SECRET`, and so on: of TLS 1.3 (RFC 8446, section 7.1).
    ClientEarly,
    /// Of the client's part of the handshake.
    ClientHandshake,
    /// Of the server's.
    ServerHandshake,
    /// Of the client's first application data.
    ClientTraffic,
    /// Of the server's.
    ServerTraffic,
}

impl SecretKind {
    /// By the label of a line.
    fn of(label: &[u8]) -> Option<Self> {
        Some(match label {
            b"CLIENT_RANDOM" => Self::Master,
            b"CLIENT_EARLY_TRAFFIC_SECRET" => Self::ClientEarly,
            b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Self::ClientHandshake,
            b"SERVER_HANDSHAKE_TRAFFIC_SECRET" => Self::ServerHandshake,
            b"CLIENT_TRAFFIC_SECRET_0" => Self::ClientTraffic,
            b"SERVER_TRAFFIC_SECRET_0" => Self::ServerTraffic,
            _ => return None,
        })
    }

    /// Whether a secret of this kind may have so many octets.
    fn has_length(self, octets: usize) -> bool {
        octets == MOST_SECRET || (octets == 32 && self != Self::Master)
    }
}

/// One secret.
#[derive(Clone, Copy)]
pub struct Secret {
    octets: [u8; MOST_SECRET],
    len: u8,
}

impl Secret {
    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len.into()).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secrets of some sessions.
#[derive(Clone, Default)]
pub struct KeyLog {
    sessions: HashMap<Random, Vec<(SecretKind, Secret)>>,
    secrets: u64,
    ignored: u64,
}

impl KeyLog {
    /// Reads lines. Those that hold no secret of a known kind are counted; empty ones and comments are not.
    pub fn read(&mut self, text: &[u8]) {
        for line in text.split(|octet| *octet == b'\n') {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match parse(line) {
                Some((random, kind, secret)) => self.add(random, kind, secret),
                None => self.ignored += 1,
            }
        }
    }

    /// Whether it has no secret, and no line was ignored.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.ignored == 0
    }

    /// Secrets.
    pub fn secrets(&self) -> u64 {
        self.secrets
    }

    /// Lines that hold none of a known kind, or for which there was no room.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Takes in the secrets of `other`.
    pub fn append(&mut self, other: Self) {
        self.ignored += other.ignored;
        for (random, secrets) in other.sessions {
            secrets.into_iter().for_each(|(kind, secret)| self.add(random, kind, secret));
        }
    }

    fn add(&mut self, random: Random, kind: SecretKind, secret: Secret) {
        if self.sessions.len() >= MOST_SESSIONS && !self.sessions.contains_key(&random) {
            self.ignored += 1;
            return;
        }
        let secrets = self.sessions.entry(random).or_default();
        // Both ends may log the same session.
        if secrets.iter().all(|(known, _)| *known != kind) {
            secrets.push((kind, secret));
            self.secrets += 1;
        }
    }

    fn get(&self, random: &Random, kind: SecretKind) -> Option<Secret> {
        let (_, secret) = self.sessions.get(random)?.iter().find(|(known, _)| *known == kind)?;
        Some(*secret)
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secrets, ignored, .. } = self;
        f.debug_struct("KeyLog").field("secrets", secrets).field("ignored", ignored).finish_non_exhaustive()
    }
}

/// All secrets that are known at some point of the input. A copy costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Each has more sessions than the one after it, so that there are few.
    logs: Vec<Arc<KeyLog>>,
}

impl Keys {
    /// Takes in the secrets of `log`. Copies of before do not know them.
    pub fn add(&mut self, mut log: KeyLog) {
        let known: usize = self.logs.iter().map(|log| log.sessions.len()).sum();
        if known >= MOST_SESSIONS {
            log = KeyLog { ignored: log.ignored + log.secrets, ..KeyLog::default() };
        }
        while self.logs.last().is_some_and(|last| last.sessions.len() <= log.sessions.len())
            && let Some(last) = self.logs.pop()
        {
            log.append(Arc::unwrap_or_clone(last));
        }
        self.logs.push(Arc::new(log));
    }

    /// The secret of a session; `None` where it is not known.
    pub fn get(&self, random: &Random, kind: SecretKind) -> Option<Secret> {
        self.logs.iter().find_map(|log| log.get(random, kind))
    }

    /// How many secrets there are, and how many lines hold none.
    pub fn counts(&self) -> (u64, u64) {
        self.logs.iter().fold((0, 0), |(secrets, ignored), log| (secrets + log.secrets, ignored + log.ignored))
    }
}

/// A line: what the secret is for, the client's random, the secret.
fn parse(line: &[u8]) -> Option<(Random, SecretKind, Secret)> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let kind = SecretKind::of(words.next()?)?;
    let mut random = Random::default();
    if unhex(words.next()?, &mut random)? != random.len() {
        return None;
    }
    let mut octets = [0; MOST_SECRET];
    let len = unhex(words.next()?, &mut octets)?;
    if !kind.has_length(len) || words.next().is_some() {
        return None;
    }
    Some((random, kind, Secret { octets, len: len as u8 }))
}

/// Reads hexadecimal digits into the front of `octets`. Returns how many octets they make; `None` where they are none or
/// too many.
fn unhex(digits: &[u8], octets: &mut [u8]) -> Option<usize> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > octets.len() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    for ([high, low], octet) in pairs.iter().zip(octets) {
        *octet = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(pairs.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, random: u8, octets: usize) -> String {
        format!("{label} {} {}\n", format!("{random:02x}").repeat(32), "Ab".repeat(octets))
    }

    #[test]
    fn lines_are_read_or_counted() {
        let mut text = line("CLIENT_RANDOM", 1, 48) + &line("SERVER_TRAFFIC_SECRET_0", 2, 32) + "# a comment\r\n\r\n";
        text += &line("CLIENT_RANDOM", 1, 48);
        for wrong in
            [line("EXPORTER_SECRET", 1, 32), line("CLIENT_RANDOM", 3, 32), line("CLIENT_TRAFFIC_SECRET_0", 3, 49)]
        {
            text += &wrong;
        }
        text += "RSA Session-ID:00 Master-Key:00\nCLIENT_RANDOM 0g 00\nCLIENT_RANDOM\n\u{fffd}";
        let mut log = KeyLog::default();
        log.read(text.as_bytes());
        assert_eq!((log.secrets(), log.ignored()), (2, 7));
        let mut keys = Keys::default();
        keys.add(log);
        let secret = keys.get(&[1; 32], SecretKind::Master).expect("it was logged");
        assert_eq!(secret.octets(), [0xab; 48]);
        assert!(keys.get(&[1; 32], SecretKind::ServerTraffic).is_none());
        assert_eq!(keys.get(&[2; 32], SecretKind::ServerTraffic).map(|secret| secret.octets().len()), Some(32));
    }

    #[test]
    fn many_small_logs_are_few_in_the_end() {
        let mut keys = Keys::default();
        for number in 0..2000_u32 {
            let mut log = KeyLog::default();
            let random = format!("{number:064x}");
            log.read(format!("CLIENT_RANDOM {random} {}", "00".repeat(48)).as_bytes());
            keys.add(log);
        }
        assert_eq!(keys.counts(), (2000, 0));
        assert!(keys.logs.len() <= 11, "{} logs", keys.logs.len());
        let mut random = [0; 32];
        random[31] = 200;
        assert!(keys.get(&random, SecretKind::Master).is_some());
    }

    #[test]
    fn no_secret_is_printed() {
        let mut log = KeyLog::default();
        log.read(line("CLIENT_RANDOM", 7, 48).as_bytes());
        let mut keys = Keys::default();
        keys.add(log);
        let secret = keys.get(&[7; 32], SecretKind::Master);
        let shown = format!("{keys:?} {secret:?}");
        assert!(!shown.contains("ab") && !shown.contains("171"), "{shown}");
    }
}
