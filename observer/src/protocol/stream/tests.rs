use proptest::prelude::*;

use super::*;

/// Octet number `at` of every stream here.
fn octet(at: usize) -> u8 {
    (at * 7 + at / 256) as u8
}

fn octets(start: usize, len: usize) -> Vec<u8> {
    (start..start + len).map(octet).collect()
}

/// Takes units: a length `n` in one octet, then `n` octets that are read or, where `n` is odd, passed over.
#[derive(Default)]
struct Units {
    seen: Vec<String>,
}

impl Units {
    fn take(&mut self, arrival: Arrival<'_>) -> Take {
        match arrival {
            Arrival::Octets(&[length, ref rest @ ..]) => {
                let length = usize::from(length);
                if length % 2 == 1 {
                    return Take::then(1, Next::Pass(length as u64));
                }
                let Some(body) = rest.get(..length) else { return Take::wait_for(1 + length) };
                self.seen.push(format!("{body:?}"));
                Take::used(1 + length)
            }
            Arrival::Octets(_) => Take::wait_for(1),
            Arrival::Passed(octets) => {
                self.seen.push(format!("passed {octets}"));
                Take::used(0)
            }
            Arrival::Gap(octets) => {
                self.seen.push(format!("gap {octets}"));
                Take::used(0)
            }
            Arrival::End => {
                self.seen.push("end".to_string());
                Take::nothing()
            }
        }
    }
}

fn payload(first: u32, start: usize, data: &[u8]) -> Payload<'_> {
    Payload {
        start: Seq(first).plus(start as u32),
        data,
        len: data.len() as u32,
        at: Timestamp::default(),
        acknowledged: None,
        first: Some(Seq(first)),
    }
}

proptest! {
    #[test]
    fn order_and_repetition_change_nothing(
        first: u32,
        total in 1..600_usize,
        cuts in prop::collection::vec((0..600_usize, 1..80_usize), 0..40),
        rotate in 0..40_usize,
    ) {
        let mut segments = cuts;
        segments.extend((0..total).step_by(37).map(|start| (start, 37)));
        let turned = rotate % segments.len();
        segments.rotate_left(turned);
        let (mut stream, mut units) = (Stream::default(), Units::default());
        for (start, len) in segments {
            let start = start.min(total);
            let data = octets(start, len.min(total - start));
            stream.payload(&payload(first, start, &data), &mut |arrival| units.take(arrival));
        }
        stream.fin(Seq(first).plus(total as u32), &mut |arrival| units.take(arrival));

        let (mut plain, mut expected) = (Stream::default(), Units::default());
        let whole = octets(0, total);
        plain.payload(&payload(first, 0, &whole), &mut |arrival| expected.take(arrival));
        plain.fin(Seq(first).plus(total as u32), &mut |arrival| expected.take(arrival));
        prop_assert_eq!(units.seen, expected.seen);
    }
}

/// Takes whatever comes.
fn log(seen: &mut Vec<String>) -> impl FnMut(Arrival<'_>) -> Take + '_ {
    |arrival| {
        seen.push(format!("{arrival:?}"));
        Take::used(if let Arrival::Octets(octets) = arrival { octets.len() } else { 0 })
    }
}

#[test]
fn a_hole_that_was_acknowledged_is_a_gap() {
    let (mut stream, mut seen) = (Stream::default(), Vec::new());
    stream.payload(&payload(5, 0, b"ab"), &mut log(&mut seen));
    stream.payload(&payload(5, 4, b"ef"), &mut log(&mut seen));
    assert_eq!(seen, ["Octets([97, 98])"]);
    let acknowledged = Some(Seq(11));
    stream.payload(&Payload { acknowledged, ..payload(5, 6, b"g") }, &mut log(&mut seen));
    assert_eq!(seen, ["Octets([97, 98])", "Gap(2)", "Octets([101, 102])", "Octets([103])"]);
}

#[test]
fn what_came_first_counts() {
    let (mut stream, mut seen) = (Stream::default(), Vec::new());
    stream.payload(&payload(5, 1, b"b"), &mut log(&mut seen));
    stream.payload(&payload(5, 0, b"xyz"), &mut log(&mut seen));
    stream.payload(&payload(5, 0, b"qqq"), &mut log(&mut seen));
    assert_eq!(seen, ["Octets([120, 121, 122])"], "the octets in order came in one piece first");
    stream.payload(&payload(5, 4, b"e"), &mut log(&mut seen));
    stream.payload(&payload(5, 3, b"de"), &mut log(&mut seen));
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn a_body_of_many_gigabytes_is_passed_over() {
    let length = 10 << 30;
    let (mut stream, mut told) = (Stream::default(), Vec::new());
    let mut take = |arrival: Arrival<'_>| match arrival {
        Arrival::Octets([b'!', ..]) => Take::then(1, Next::Pass(length)),
        other => {
            told.push(format!("{other:?}"));
            Take::used(1)
        }
    };
    stream.payload(&payload(9, 0, b"!"), &mut take);
    let mut at = 1_u64;
    while at < length + 1 {
        let step = (length + 1 - at).min(1 << 20);
        let segment = Payload { len: step as u32, ..payload(9, at as u32 as usize, b"") };
        stream.payload(&segment, &mut take);
        at += step;
    }
    assert_eq!(stream.held(), 0);
    stream.payload(&payload(9, at as u32 as usize, b"?"), &mut take);
    assert_eq!(told, [format!("Passed({length})"), "Octets([63])".to_string()]);
}

#[test]
fn what_waits_is_bounded() {
    let (mut stream, mut seen) = (Stream::default(), Vec::new());
    for piece in 1..100_000 {
        stream.payload(&payload(0, piece * 10, b"abc"), &mut log(&mut seen));
        assert!(stream.held() <= MOST_EARLY + 3, "{} octets", stream.held());
        assert!(stream.early.len() <= MOST_PIECES + 1);
    }
    assert!(seen.iter().any(|told| told.starts_with("Gap")));
}
