//! Connections written down segment by segment, and what Zeek says of them.

use proptest::prelude::*;

use super::*;
use crate::packet::{Address, IpVersion};
use crate::time::Timestamp;

/// A script of segments, one a line: `> S 100`, `< S. 500 101`, `> P. 101+20 501 w0`: direction (from the sender of the
/// first packet or to it), flags as tcpdump prints them, sequence number with payload length, acknowledgment number,
/// `w0` for a window of 0, `cut` for a payload the capture lacks a part of, `bad` for a wrong checksum, `@7.5` for the
/// second at which it comes.
fn play(script: &str) -> Outcome {
    play_between(40_000, 5_000, script)
}

fn play_between(sport: u16, dport: u16, script: &str) -> Outcome {
    let tuple = Tuple {
        src: Address::v4([10, 0, 0, 1]),
        dst: Address::v4([10, 0, 0, 2]),
        sport,
        dport,
        version: IpVersion::V4,
    };
    let mut outcome: Option<Outcome> = None;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let step = Step::parse(line);
        let outcome = outcome.get_or_insert_with(|| Outcome::new(&tuple, 0, step.segment.flags, Timeouts::Zeek));
        step.run(outcome);
    }
    outcome.expect("a script has a segment")
}

#[derive(Clone, Debug)]
struct Step {
    from: u8,
    segment: Segment,
    whole: bool,
    bad: bool,
    age: Nanos,
}

impl Step {
    fn parse(line: &str) -> Self {
        let mut step = Self {
            from: 0,
            segment: Segment { window: 512, ..Segment::default() },
            whole: true,
            bad: false,
            age: Nanos(0),
        };
        let mut numbers = 0;
        for (index, word) in line.split_whitespace().enumerate() {
            match (index, word) {
                (0, ">") => step.from = 0,
                (0, "<") => step.from = 1,
                (1, flags) => step.segment.flags = flags.chars().map(flag).collect(),
                (_, "w0") => step.segment.window = 0,
                (_, "cut") => step.whole = false,
                (_, "bad") => step.bad = true,
                (_, word) if word.starts_with('@') => {
                    let seconds: f64 = word[1..].parse().expect("a time");
                    step.age = Nanos((seconds * 1e9) as u64);
                }
                (_, number) => {
                    let (number, len) = number.split_once('+').unwrap_or((number, "0"));
                    let number = Seq(number.parse().expect("a sequence number"));
                    if numbers == 0 {
                        (step.segment.seq, step.segment.len) = (number, len.parse().expect("a length"));
                    } else {
                        step.segment.ack = number;
                    }
                    numbers += 1;
                }
            }
        }
        step
    }

    fn run(&self, outcome: &mut Outcome) {
        if self.bad {
            outcome.bad_checksum(self.from);
        } else {
            outcome.segment(self.from, &self.segment, self.whole, self.age);
        }
    }
}

fn flag(letter: char) -> Flags {
    match letter {
        'F' => Flags::FIN,
        'S' => Flags::SYN,
        'R' => Flags::RST,
        'P' => Flags::PSH,
        '.' => Flags::ACK,
        _ => panic!("no flag is written {letter}"),
    }
}

fn result(script: &str) -> (ConnState, String) {
    let outcome = play(script);
    (outcome.conn_state(), outcome.history().to_owned())
}

fn expect(script: &str, state: ConnState, history: &str) {
    assert_eq!(result(script), (state, history.to_owned()), "{script}");
}

/// An established connection whose originator's first sequence number is `isn`.
fn play_from(isn: u32) -> Outcome {
    let next = isn.wrapping_add(1);
    play(&format!("> S {isn}\n< S. 500 {next}\n> . {next} 501"))
}

const OPEN: &str = "> S 100\n< S. 500 101\n> . 101 501\n";

fn opened(script: &str) -> String {
    format!("{OPEN}{script}")
}

#[test]
fn a_whole_connection() {
    let request = opened("> P. 101+10 501\n< . 501 111\n< P. 501+20 111\n> . 111 521\n");
    expect(&request, ConnState::S1, "ShADad");
    expect(&format!("{request}> F. 111 521\n"), ConnState::S2, "ShADadF");
    expect(&format!("{request}< F. 521 111\n"), ConnState::S3, "ShADadf");
    expect(&format!("{request}> F. 111 521\n< F. 521 112\n> . 112 522\n"), ConnState::SF, "ShADadFf");
    expect(&format!("{request}> R. 111 521\n"), ConnState::RSTO, "ShADadR");
    expect(&format!("{request}< R. 521 111\n"), ConnState::RSTR, "ShADadr");
}

#[test]
fn attempts_that_come_to_nothing() {
    expect("> S 100\n> S 100", ConnState::S0, "S");
    expect("> S 100\n< R. 0 101", ConnState::REJ, "Sr");
    expect("> S 100\n> R 101", ConnState::RSTOS0, "SR");
    expect("> S 100\n> F. 101 0", ConnState::SH, "SF");
    expect("> S 100\n> F. 101 0\n> R 102", ConnState::OTH, "SFR");
    expect("> S 100\n< S. 500 101\n> R 101", ConnState::RSTO, "ShR");
    expect("> S 100\n> S 300", ConnState::S0, "S");
}

#[test]
fn connections_that_were_not_seen_from_the_start() {
    expect("> P. 100+10 500", ConnState::OTH, "D");
    expect("> P. 100+10 500\n< P. 500+10 110\n> . 110 510", ConnState::OTH, "DdA");
    expect("> P. 100+10 500\n< F. 500 110", ConnState::SHR, "Df");
    expect("> P. 100+10 500\n< R 500", ConnState::RSTRH, "Dr");
    expect("> S. 500 100", ConnState::OTH, "H");
    // The SYN was lost by the capture: an ACK after the SYN-ACK makes it established all the same.
    expect("> . 1 1\n< S. 500 2\n> . 2 501", ConnState::OTH, "Ah");
}

#[test]
fn the_order_of_syn_and_syn_ack() {
    expect("> S. 500 101\n< S 100", ConnState::S1, "Hs^");
    expect("> S 100\n< S 500\n> S. 100 501\n< S. 500 101", ConnState::S1, "Ss");
    let flipped = play_between(80, 6705, "> S. 500 101");
    assert_eq!((flipped.conn_state(), flipped.history(), flipped.originator()), (ConnState::OTH, "^h", 1));
}

#[test]
fn letters_that_repeat() {
    expect(&opened("> F. 101 501\n> F. 101 501\n> F. 101 501"), ConnState::S2, "ShAF");
    expect(&opened("> F. 101 501\n> F. 111 501"), ConnState::S2, "ShAFF");
    expect(&opened("> F. 101+5 501\n> F. 106 501"), ConnState::S2, "ShAF");
    expect(&opened("> R 101\n> R 101\n> R 105"), ConnState::RSTO, "ShARR");
    expect(&opened("> FR 101 501"), ConnState::RSTO, "ShAI");
    expect("> SF 100\n> SF 100", ConnState::SH, "Q");
    expect(&opened("< R. 501 101\n< S. 700 101"), ConnState::RSTR, "ShArh");
}

#[test]
fn counted_letters() {
    let sent_again = opened(&format!("> P. 101+10 501\n{}", "> P. 101+10 501\n".repeat(10)));
    expect(&sent_again, ConnState::S1, "ShADTT");
    expect(&opened("< . 501 101 w0\n> . 101 501 w0"), ConnState::S1, "ShAawW");
    expect(&opened("> F. 101 501\n< . 501 102 w0"), ConnState::S2, "ShAFa");
    expect(&opened("> R 101 501 w0"), ConnState::RSTO, "ShAR");
    expect("> S 100 0 bad\n> S 100", ConnState::S0, "CS");
    // A keep-alive with an octet of garbage looks like a retransmission.
    expect(&opened("> P. 101+10 501\n> . 110+1 501"), ConnState::S1, "ShADT");
}

#[test]
fn gaps() {
    expect(&opened("> P. 111+10 501\n< . 501 121"), ConnState::S1, "ShADaG");
    expect(&opened("> P. 111+10 501\n> P. 131+10 501\n< . 501 161"), ConnState::S1, "ShADaG");
    let three = "> P. 111+10 501\n> P. 131+10 501\n< . 501 121\n< . 501 141\n< . 501 161";
    expect(&opened(three), ConnState::S1, "ShADaG");
    expect(&opened("> P. 111+10 501\n> P. 101+10 501\n< . 501 121"), ConnState::S1, "ShADTa");
    expect(&opened("> P. 101+10 501 cut\n< . 501 111"), ConnState::S1, "ShADaG");
    // Ten holes make two letters.
    let script: String = (1..=10).map(|hole| format!("> P. {}+10 501\n", 101 + hole * 20)).collect();
    expect(&opened(&format!("{script}< . 501 400")), ConnState::S1, "ShADaGG");
    // A reset may acknowledge anything; a connection that was not seen from the start may have begun anywhere.
    expect(&opened("> P. 101+10 501\n< R. 501 900"), ConnState::RSTR, "ShADr");
    expect("> P. 100+10 500\n> P. 120+10 500\n< . 500 130", ConnState::OTH, "Da");
    // Without any acknowledgment the data beyond a hole is given up after 16 KiB, and no gap is seen any more.
    let given_up = "> P. 111+10000 501\n> P. 10111+10000 501\n< . 501 20111";
    expect(&opened(given_up), ConnState::S1, "ShADa");
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_nanos((seconds * 1e9) as u64)
}

/// Whether a connection is over at `now`, in a capture that holds nothing else.
fn over_alone(script: &str, last: f64, now: f64) -> bool {
    play(script).is_expired(&Clock { first: at(0.0), last: at(last), previous: at(last), now: at(now) })
}

#[test]
fn timers_end_connections() {
    // An attempt.
    assert!(!over_alone("> S 100\n> S 100 @1\n> S 100 @3", 3.0, 4.9));
    assert!(over_alone("> S 100\n> S 100 @1\n> S 100 @3", 3.0, 5.0));
    // A close.
    let closed = opened("> F. 101 501 @1\n< F. 501 102 @2\n");
    assert!(!over_alone(&closed, 2.0, 6.9));
    assert!(over_alone(&format!("{closed}> . 102 502 @6"), 6.0, 7.0), "whatever comes after the close");
    assert!(over_alone(&opened("> R 101 @1"), 1.0, 6.0));
    // A half-closed connection lives on, and so does an established one, up to five minutes.
    for script in [opened("> F. 101 501 @1"), opened("> . 101 501 @1")] {
        assert!(!over_alone(&script, 1.0, 300.9));
        assert!(over_alone(&script, 1.0, 301.0));
    }
    // A reset while data is missing leaves nothing that looks for the end.
    assert!(!over_alone(&opened("> P. 120+5 501 @1\n> R 200 @1"), 1.0, 300.0));
    // Nothing but a wrong checksum: the check at 5 s is too early by a hair, unless it comes late.
    let bad = play("> S 100 0 bad");
    let clock = Clock { first: at(0.0), last: at(0.0), previous: at(5.0), now: at(10.0) };
    assert!(!bad.is_expired(&clock));
    assert!(bad.is_expired(&Clock { previous: at(0.0), ..clock }));
    assert!(bad.is_expired(&Clock { now: at(11.0), ..clock }));
    // An hour for an interactive port.
    let ssh = play_between(40_000, 22, OPEN);
    let clock = Clock { first: at(0.0), last: at(0.0), previous: at(0.0), now: at(3599.0) };
    assert!(!ssh.is_expired(&clock));
    assert!(ssh.is_expired(&Clock { now: at(3600.0), ..clock }));
}

#[test]
fn reuse() {
    let syn = |seq| Segment { seq: Seq(seq), flags: Flags::SYN, ..Segment::default() };
    let syn_ack = |seq| Segment { seq: Seq(seq), flags: Flags::SYN | Flags::ACK, ..Segment::default() };
    let attempt = play("> S 100");
    assert!(!attempt.is_reuse(&syn(100)) && attempt.is_reuse(&syn(101)) && !attempt.is_reuse(&syn_ack(7)));
    let refused = play("> S 100\n< R. 0 101");
    assert!(refused.is_reuse(&syn(100)));
    let reversed = play("> S. 500 101");
    assert!(!reversed.is_reuse(&syn(100)) && reversed.is_reuse(&syn(101)));
    let closed = play(&opened("> F. 101 501\n< F. 501 102\n"));
    assert!(closed.is_reuse(&syn(9000)));
}

#[test]
fn is_compact() {
    assert_eq!(size_of::<Outcome>(), 120);
}

fn any_step() -> impl Strategy<Value = Step> {
    let seq = prop_oneof![0u32..60, (u32::MAX - 60)..=u32::MAX, any::<u32>(), (1u32 << 31)..(1 << 31) + 60];
    let len = prop_oneof![Just(0u32), 1u32..40, any::<u32>()];
    (any::<(bool, u16, bool, bool, bool)>(), (seq.clone(), seq, len), any::<u64>()).prop_map(
        |((first, flags, bad, whole, open), (seq, ack, len), age)| Step {
            from: u8::from(first),
            segment: Segment {
                seq: Seq(seq),
                ack: Seq(ack),
                flags: Flags::from_bits_truncate(flags & 0x1f),
                window: u16::from(open),
                len,
                ..Segment::default()
            },
            whole,
            bad,
            age: Nanos(age),
        },
    )
}

/// The gaps in one direction, octet by octet.
#[derive(Default)]
struct Gaps {
    received: std::collections::BTreeSet<u32>,
    next: u32,
    count: u32,
}

impl Gaps {
    fn data(&mut self, start: u32, len: u32) {
        self.received.extend((start..start + len).filter(|octet| *octet >= self.next));
        self.go_on();
    }

    fn acknowledged(&mut self, up_to: u32) {
        while self.next < up_to {
            self.count += 1;
            let found = self.received.range(self.next..up_to).next();
            self.next = found.copied().unwrap_or(up_to);
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        while self.received.contains(&self.next) {
            self.next += 1;
        }
    }
}

/// A segment whose numbers, where it is no more than an ACK, count from those of both ends' last ones; and whether all of
/// it was captured.
fn near_step() -> impl Strategy<Value = (Step, bool)> {
    let others = [Flags::FIN | Flags::ACK, Flags::RST, Flags::empty()];
    let flags = prop_oneof![20 => Just(Flags::ACK), 3 => prop::sample::select(others.to_vec())];
    let seq = prop_oneof![9 => Just(0u32), 1 => Just(1), 1 => Just(u32::MAX), 1 => Just(20_000)];
    let ack = prop_oneof![6 => Just(0u32), 3 => Just(u32::MAX - 2), 1 => Just(1), 1 => Just(1 << 31)];
    let len = prop_oneof![3 => Just(0u32), 3 => Just(3), 1 => Just(17_000), 1 => Just(11 << 20), 1 => Just(1 << 31)];
    let window = prop_oneof![9 => Just(5u16), 1 => Just(0)];
    (0u8..2, flags, seq, ack, len, window, prop::bool::weighted(0.9)).prop_map(
        |(from, flags, seq, ack, len, window, whole)| {
            let segment = Segment { seq: Seq(seq), ack: Seq(ack), flags, window, len, ..Segment::default() };
            (Step { from, segment, whole, bad: false, age: Nanos(0) }, whole)
        },
    )
}

proptest! {
    /// Held against the obvious way: every octet by itself.
    #[test]
    fn gaps_are_counted_like_octets(
        isn in prop_oneof![Just(100u32), Just(u32::MAX - 150)],
        steps in prop::collection::vec((any::<bool>(), 0u32..400, 1u32..60), 1..120),
    ) {
        let mut outcome = play_from(isn);
        let first = Seq(isn).plus(1);
        let mut gaps = Gaps::default();
        let mut highest = 0;
        for (is_data, at, len) in steps {
            if is_data {
                let segment = Segment { seq: first.plus(at), ack: Seq(501), flags: Flags::ACK, len, ..Segment::default() };
                outcome.segment(0, &segment, true, Nanos(0));
                gaps.data(at, len);
                highest = highest.max(at + len);
            } else {
                // Nobody acknowledges more than was sent, or less than before.
                let up_to = at.clamp(gaps.next.min(highest), highest);
                let segment = Segment { seq: Seq(501), ack: first.plus(up_to), flags: Flags::ACK, ..Segment::default() };
                outcome.segment(1, &segment, true, Nanos(0));
                gaps.acknowledged(up_to);
            }
            let counted = outcome.trouble.as_ref().map_or(0, |trouble| trouble.counts[0].gaps);
            prop_assert_eq!(counted, gaps.count);
        }
    }

    #[test]
    fn the_short_way_ends_where_the_long_one_does(
        isn in prop_oneof![Just(100u32), Just(u32::MAX - 150)],
        opened in 0usize..4,
        steps in prop::collection::vec(near_step(), 1..40),
    ) {
        let mut short = Outcome::new(&Tuple::default(), 0, Flags::SYN, Timeouts::Zeek);
        let mut long = short.clone();
        let next = Seq(isn).plus(1);
        let segment = |seq, ack, flags| Segment { seq, ack, flags, window: 9, ..Segment::default() };
        let open = [
            (0, segment(Seq(isn), Seq(0), Flags::SYN)),
            (1, segment(Seq(500), next, Flags::SYN | Flags::ACK)),
            (0, segment(next, Seq(501), Flags::ACK)),
        ];
        let open = open.into_iter().take(opened).map(|(from, segment)| (from, segment, true));
        let steps = steps.into_iter().map(|(step, whole)| (step.from, step.segment, whole));
        for (from, mut segment, whole) in open.chain(steps) {
            let me = End::sending(from);
            if segment.flags.is_ack_alone() {
                let [end, peer] = [short.end(me), short.end(me.peer())];
                segment.seq = end.last.plus(segment.seq.0);
                segment.ack = peer.last.plus(segment.ack.0);
            }
            short.segment(from, &segment, whole, Nanos(0));
            long.takes_any(me, &segment, whole, Nanos(0));
            prop_assert_eq!(format!("{:?}", short), format!("{:?}", long));
        }
    }

    /// Whatever comes, it ends in an outcome, and what is kept of it stays bounded.
    #[test]
    fn takes_anything(steps in prop::collection::vec(any_step(), 1..200), ports in any::<(u16, u16)>()) {
        let tuple = Tuple { sport: ports.0, dport: ports.1, ..Tuple::default() };
        let mut outcome = Outcome::new(&tuple, steps[0].from, steps[0].segment.flags, Timeouts::Zeek);
        for step in &steps {
            let clock = Clock {
                first: at(0.0),
                last: Timestamp::from_nanos(step.age.0 / 2),
                previous: Timestamp::from_nanos(step.age.0 / 2),
                now: Timestamp::from_nanos(step.age.0),
            };
            let _ = outcome.is_succeeded_by(&step.segment, &clock);
            step.run(&mut outcome);
            let _ = outcome.conn_state();
        }
        prop_assert!(outcome.history().len() <= history::MAX_LETTERS);
    }
}
