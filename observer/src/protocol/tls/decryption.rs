//! Opening the records of a connection whose secrets were logged.
//!
//! Every record has a number, which its sender counts and does not send: a record is opened by the number of its place, and
//! opens by no other. Where records are missing, the next ones are tried with some numbers further on; authentication tells
//! which is right, so that nothing is ever guessed.

use std::sync::Arc;

use super::cipher::{Opener, Suite};
use crate::keylog::{Keys, Random, SecretKind};
use crate::record::{DecryptionStop, Side, Sides, TlsDecryption};

/// Records that may be missing before the next one that is opened.
const MOST_MISSING: u64 = 64;

/// Octets of records of one end that are opened in vain, before no more are tried.
const MOST_TRIED: usize = 4 << 20;

/// Octets of the shortest record, its header included.
const LEAST_RECORD: u64 = 5 + 1 + 16;

/// What is known of a connection's keys.
#[derive(Debug)]
pub(super) struct Decryption {
    keys: Arc<Keys>,
    client_random: Option<Random>,
    server_random: Option<Random>,
    /// The suites that the client offers.
    offered: Vec<u16>,
    chosen: Option<Chosen>,
    ends: Sides<Lane>,
}

/// What the server chose.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    suite: Option<Suite>,
    is_1_3: bool,
}

/// One end's keys.
#[derive(Debug, Default)]
struct Lane {
    /// In the order they are used; the first is at work.
    keys: Vec<Key>,
    stage: Stage,
    /// There may be more keys than before.
    is_stale: bool,
    /// How many records may have gone by unseen since the last that was opened.
    missing: u64,
    /// Octets opened in vain.
    tried: usize,
    opened: u64,
    passed: u64,
    unopened: u64,
    updates: u64,
    stopped: Option<DecryptionStop>,
}

/// What a key is for, in the order they are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Early data of TLS 1.3.
    #[default]
    Early,
    /// The handshake of TLS 1.3.
    Handshake,
    /// Everything else.
    Traffic,
}

struct Key {
    stage: Stage,
    opener: Opener,
    /// What the next key is made of, in TLS 1.3.
    secret: Option<Vec<u8>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("stage", &self.stage).field("opener", &self.opener).finish_non_exhaustive()
    }
}

impl Decryption {
    /// With these secrets at hand.
    pub(super) fn new(keys: Arc<Keys>) -> Self {
        Self {
            keys,
            client_random: None,
            server_random: None,
            offered: Vec::new(),
            chosen: None,
            ends: Sides::default(),
        }
    }

    /// Takes in the secrets that are known from now on.
    pub(super) fn unlock(&mut self, keys: &Arc<Keys>) {
        self.keys = Arc::clone(keys);
        self.look_again();
    }

    /// Takes in a ClientHello.
    pub(super) fn client_hello(&mut self, random: Random, offered: &[u16]) {
        self.client_random = Some(random);
        self.offered = offered.to_vec();
        self.look_again();
    }

    /// Takes in a ServerHello, not a HelloRetryRequest.
    pub(super) fn server_hello(&mut self, random: Random, suite: u16, is_1_3: bool) {
        self.server_random = Some(random);
        self.chosen = Some(Chosen { suite: Suite::of(suite), is_1_3 });
        self.look_again();
    }

    /// The server asks for another hello: what the client sent early counts for nothing.
    pub(super) fn retry(&mut self) {
        self.advance(Side::Client, Stage::Handshake);
    }

    /// An end's next records are under the keys of TLS 1.2 that were agreed on last.
    pub(super) fn change_cipher(&mut self, from: Side) {
        if self.chosen.is_some_and(|chosen| !chosen.is_1_3) {
            let lane = self.ends.of_mut(from);
            lane.keys.clear();
            (lane.stage, lane.missing, lane.is_stale) = (Stage::Traffic, 0, true);
        }
    }

    /// An end is done with the keys of the stages before `stage`.
    pub(super) fn advance(&mut self, from: Side, stage: Stage) {
        let lane = self.ends.of_mut(from);
        if lane.stage < stage {
            lane.stage = stage;
            lane.keys.retain(|key| key.stage >= stage);
            lane.missing = 0;
        }
    }

    /// An end's next records are under the next key (RFC 8446, section 4.6.3).
    pub(super) fn update(&mut self, from: Side) {
        let Some(suite) = self.suite() else { return };
        let lane = self.ends.of_mut(from);
        lane.updates += 1;
        let next = lane.keys.first().and_then(|key| suite.next_secret(key.secret.as_deref()?));
        let opener = next.as_deref().and_then(|secret| suite.opener_1_3(secret));
        lane.keys.clear();
        lane.missing = 0;
        lane.keys.extend(opener.map(|opener| Key { stage: Stage::Traffic, opener, secret: next }));
    }

    /// So many octets of one end are missing.
    pub(super) fn gap(&mut self, from: Side, octets: u64) {
        let lane = self.ends.of_mut(from);
        lane.missing += 1 + octets / LEAST_RECORD;
    }

    /// Whether an end's next sealed record may be opened.
    pub(super) fn may_open(&mut self, from: Side) -> bool {
        if self.ends.of(from).is_stale {
            self.find_keys(from);
        }
        let lane = self.ends.of(from);
        lane.stopped.is_none() && !lane.keys.is_empty()
    }

    /// Octets of what an end's next record holds, where that shows without opening it.
    pub(super) fn plain_len(&self, from: Side, len: usize) -> Option<usize> {
        let lane = self.ends.of(from);
        // Which number a record has must be known to count on from it.
        let [key] = &lane.keys[..] else { return None };
        key.opener.plain_len(len).filter(|_| lane.missing == 0)
    }

    /// Counts a record that need not be opened.
    pub(super) fn pass(&mut self, from: Side) {
        let lane = self.ends.of_mut(from);
        lane.passed += 1;
        if let Some(key) = lane.keys.first_mut() {
            key.opener.sequence += 1;
        }
    }

    /// A sealed record goes by that there is no key for.
    pub(super) fn lack(&mut self, from: Side) {
        let lane = self.ends.of_mut(from);
        lane.unopened += 1;
        lane.missing += 1;
    }

    /// What an end's next record holds, and what the key is for that opens it; `None` where none does.
    pub(super) fn open(&mut self, from: Side, header: [u8; 5], body: &[u8]) -> Option<(Stage, Vec<u8>)> {
        let lane = self.ends.of_mut(from);
        let further = lane.missing.min(MOST_MISSING);
        for index in 0..lane.keys.len() {
            for ahead in 0..=further {
                let key = lane.keys.get_mut(index)?;
                let number = key.opener.sequence.saturating_add(ahead);
                if let Some(text) = key.opener.open(header, body, number) {
                    key.opener.sequence = number + 1;
                    let stage = key.stage;
                    lane.keys.drain(..index);
                    (lane.missing, lane.stage) = (0, stage);
                    lane.opened += 1;
                    return Some((stage, text));
                }
                lane.tried += body.len();
                if lane.tried > MOST_TRIED {
                    lane.stop();
                    return None;
                }
            }
        }
        lane.unopened += 1;
        // Before the first record is opened, what does not open is another key's.
        if lane.opened > 0 {
            lane.missing += 1;
        }
        None
    }

    /// What to say of it; `None` where no secret of the session is known.
    pub(super) fn facts(&self) -> Option<TlsDecryption> {
        use SecretKind::{ClientEarly, ClientHandshake, ClientTraffic, Master, ServerHandshake, ServerTraffic};
        let random = self.client_random?;
        let is_known = |kind: &SecretKind| self.keys.get(&random, *kind).is_some();
        [Master, ClientEarly, ClientHandshake, ServerHandshake, ClientTraffic, ServerTraffic]
            .iter()
            .find(|kind| is_known(kind))?;
        let unsupported = self.chosen.is_some_and(|chosen| chosen.suite.is_none());
        let each = |of: fn(&Lane) -> u64| Sides { client: of(&self.ends.client), server: of(&self.ends.server) };
        let stopped = |lane: &Lane| lane.stopped.or(unsupported.then_some(DecryptionStop::Cipher));
        Some(TlsDecryption {
            opened: each(|lane| lane.opened),
            passed: each(|lane| lane.passed),
            unopened: each(|lane| lane.unopened),
            key_updates: each(|lane| lane.updates),
            stopped: Sides { client: stopped(&self.ends.client), server: stopped(&self.ends.server) },
        })
    }

    fn suite(&self) -> Option<Suite> {
        self.chosen?.suite
    }

    fn look_again(&mut self) {
        (self.ends.client.is_stale, self.ends.server.is_stale) = (true, true);
    }

    /// Looks for the keys of an end's stages that there are none of yet.
    fn find_keys(&mut self, from: Side) {
        let secret = |kind| self.client_random.and_then(|random| self.keys.get(&random, kind));
        let lane = self.ends.of_mut(from);
        lane.is_stale = false;
        let lacks = |lane: &Lane, stage| lane.stage <= stage && lane.keys.iter().all(|key| key.stage != stage);
        let mut found = Vec::new();
        let mut add = |stage, suite: Suite, secret: &[u8]| {
            let secret = Some(secret.to_vec());
            let opener = secret.as_deref().and_then(|secret| suite.opener_1_3(secret));
            found.extend(opener.map(|opener| Key { stage, opener, secret }));
        };
        match self.chosen {
            Some(Chosen { suite: None, .. }) => {}
            Some(Chosen { suite: Some(suite), is_1_3: true }) => {
                let kinds = match from {
                    Side::Client => [SecretKind::ClientHandshake, SecretKind::ClientTraffic],
                    Side::Server => [SecretKind::ServerHandshake, SecretKind::ServerTraffic],
                };
                for (stage, kind) in [Stage::Handshake, Stage::Traffic].into_iter().zip(kinds) {
                    // After an update the first key is of no use.
                    if let Some(secret) = secret(kind).filter(|_| lacks(lane, stage) && lane.updates == 0) {
                        add(stage, suite, secret.octets());
                    }
                }
            }
            Some(Chosen { suite: Some(suite), is_1_3: false }) => {
                if let Some((client, server)) = self.client_random.zip(self.server_random)
                    && let Some(master) = secret(SecretKind::Master)
                    && lane.stage == Stage::Traffic
                    && lane.keys.is_empty()
                    && let Some(openers) = suite.openers_1_2(master.octets(), &client, &server)
                {
                    let opener = if from == Side::Client { openers.client } else { openers.server };
                    found.push(Key { stage: Stage::Traffic, opener, secret: None });
                }
            }
            None => {}
        }
        // Early data is under the suite of the former session, which is one of those that are offered.
        if from == Side::Client
            && lacks(lane, Stage::Early)
            && let Some(secret) = secret(SecretKind::ClientEarly)
        {
            let suites = self.offered.iter().filter(|suite| *suite >> 8 == 0x13).filter_map(|suite| Suite::of(*suite));
            let mut add = |suite: Suite| {
                let opener = suite.opener_1_3(secret.octets());
                found.extend(opener.map(|opener| Key { stage: Stage::Early, opener, secret: None }));
            };
            suites.filter(|suite| suite.secret_len() == secret.octets().len()).for_each(&mut add);
        }
        lane.keys.extend(found);
        lane.keys.sort_by_key(|key| key.stage);
    }
}

impl Lane {
    fn stop(&mut self) {
        self.keys.clear();
        self.unopened += 1;
        self.stopped = Some(if self.opened > 0 { DecryptionStop::Gap } else { DecryptionStop::Key });
    }
}
