//! Sockets that their programs do not close, or cannot, and the descriptors that they use up.

use super::*;

#[test]
fn a_close_wait_leak_is_found_once_it_is_a_minute_old() {
    let mut host = Host { sockets: (1..=20).map(|n| socket(CLOSE_WAIT, n, 80, n as u16)).collect(), ..Host::default() };
    host.process(42, 25, 1000, 1..21);
    host.after(0).after(60);
    assert_eq!(host.names(), []);
    host.after(1);
    assert_eq!(host.names(), [("close-wait-leak", Severity::Warning)]);
    let reading = host.reading("close_wait");
    let ages = reading.ages.expect("they have ages");
    assert_eq!((ages.over_10s, ages.over_1min, ages.over_10min), (20, 20, 0));
    assert_eq!(reading.subject.process.as_ref().map(|process| process.pid), Some(42));
    // Close to its limit, and growing by one descriptor a second.
    host.process(42, 850, 1000, 0..0);
    host.after(1);
    host.process(42, 860, 1000, 0..0);
    host.after(10);
    let names = host.names();
    assert!(names.contains(&("close-wait-leak", Severity::Error)), "{names:?}");
    assert!(names.contains(&("descriptors-exhausted", Severity::Warning)), "{names:?}");
    assert!(host.reading("descriptors").time_left_ns.is_some());
}

#[test]
fn a_leak_on_its_way_to_emfile_is_told_before_it_is_a_minute_old() {
    /// So many sockets more a second for ten seconds, of which `waiting` stay in CLOSE-WAIT.
    fn grows(waiting: bool, a_second: u64, limit: u64) -> Host {
        let mut host = Host::default();
        for second in 0..=10 {
            let all = 12 + a_second * second;
            let state = if waiting { CLOSE_WAIT } else { ESTAB };
            host.sockets = (1..=all).map(|n| socket(state, n, 80, n as u16)).collect();
            host.process(42, all, limit, 1..all as u32 + 1);
            host.after(u64::from(second > 0));
        }
        host
    }
    let leaking = grows(true, 4, 100);
    let both = [("close-wait-leak", Severity::Warning), ("descriptors-exhausted", Severity::Warning)];
    let mut names = leaking.names();
    names.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(names, both);
    let found = leaking.found();
    let what = |name: &str| {
        let record = found.iter().find(|record| record.name == name).expect("it is there");
        record.cases[0].finding.what.clone()
    };
    assert!(what("close-wait-leak").contains("+4/s, EMFILE in 12 s"), "{}", what("close-wait-leak"));
    assert!(what("descriptors-exhausted").contains("52 of 100 file descriptors open, EMFILE in 12 s"));
    assert_eq!(grows(false, 4, 100).names(), [("descriptors-exhausted", Severity::Warning)], "they are in use");
    // Where there is room for hours, or nothing grows, there is time to close them.
    assert_eq!(grows(true, 4, 100_000).names(), []);
    assert_eq!(grows(true, 0, 100).names(), []);
    assert_eq!(grows(false, 4, 1_000).names(), [], "a burst in a process that has hardly begun");
}

#[test]
fn at_their_end_descriptors_are_an_error() {
    let mut host = Host { sockets: vec![socket(ESTAB, 1, 80, 1)], ..Host::default() };
    host.process(42, 97, 100, 1..2);
    host.after(0);
    assert_eq!(host.names(), [("descriptors-exhausted", Severity::Warning)]);
    host.process(42, 98, 100, 1..2);
    host.after(10);
    assert_eq!(host.names(), [("descriptors-exhausted", Severity::Error)]);
    assert_eq!(host.reading("descriptors").time_left_ns, Some(Nanos::from_secs(20)));
}

#[test]
fn a_close_wait_from_before_us_is_as_old_as_its_silence() {
    let mut host = Host { sockets: (1..=10).map(|n| socket(CLOSE_WAIT, n, 80, n as u16)).collect(), ..Host::default() };
    host.sockets.iter_mut().for_each(|seen| seen.quiet = Some(Nanos::from_secs(90)));
    host.after(0);
    assert_eq!(host.names(), [("close-wait-leak", Severity::Warning)]);
    // Nine are no leak, but not closed all the same.
    host.sockets.pop();
    host.after(1);
    assert_eq!(host.names(), [("close-wait", Severity::Warning)]);
    host.sockets.truncate(1);
    host.after(1);
    assert_eq!(host.names(), [("close-wait", Severity::Warning)]);
    host.sockets.iter_mut().for_each(|seen| seen.socket.cookie += 100);
    host.sockets.iter_mut().for_each(|seen| seen.quiet = Some(Nanos::from_secs(60)));
    host.after(1);
    assert_eq!(host.names(), [], "it has been for a minute, and no longer");
}

#[test]
fn sockets_that_are_stuck_while_closing_are_told_though_they_were_there_before() {
    const FIN_WAIT_1: u8 = 4;
    const FIN_WAIT_2: u8 = 5;
    const LAST_ACK: u8 = 9;
    let stuck = |state, kind, expires, retransmits| {
        let mut host = Host::default();
        host.text(Text::FinTimeout, "60\n");
        let mut one = socket(state, 1, 40_000, 80);
        one.socket.inode = 0;
        one.socket.timer = Some(Timer { kind, expires: Nanos::from_secs(expires), retransmits });
        host.sockets = vec![one];
        host.after(0);
        host
    };
    for state in [FIN_WAIT_1, 11, LAST_ACK] {
        let host = stuck(state, TimerKind::On, 9, 6);
        assert_eq!(host.names(), [("stuck-closing", Severity::Warning)], "{state}");
        assert_eq!(stuck(state, TimerKind::On, 9, 5).names(), [], "six seconds are not long");
    }
    let found = stuck(FIN_WAIT_1, TimerKind::On, 9, 6).found();
    let case = &found[0].cases[0];
    assert!(case.finding.what.starts_with("1 connection to 10.0.0.2:80 in FIN-WAIT-1"), "{}", case.finding.what);
    assert!(case.finding.remedy.iter().any(|step| step.contains("mtr -n 10.0.0.2")), "{:?}", case.finding.remedy);
    assert_eq!(stuck(FIN_WAIT_2, TimerKind::TimeWait, 30, 0).names(), [("stuck-closing", Severity::Warning)]);
    assert_eq!(stuck(FIN_WAIT_2, TimerKind::TimeWait, 31, 0).names(), [], "less than half of its time is over");
    let mut held = stuck(FIN_WAIT_2, TimerKind::KeepAlive, 1, 0);
    held.sockets[0].socket.inode = 7;
    held.after(50);
    assert_eq!(held.names(), [], "its program may still read");
    // The other end is here as well: then it is that one that does not close.
    let mut both = stuck(FIN_WAIT_2, TimerKind::TimeWait, 10, 0);
    let mut other = socket(CLOSE_WAIT, 2, 80, 40_000);
    std::mem::swap(&mut other.socket.local.0, &mut other.socket.peer.0);
    both.sockets.push(other);
    both.after(1);
    assert_eq!(both.names(), []);
}

#[test]
fn growth_is_judged_in_the_end() {
    // Fifty descriptors more within a second, and none after that.
    let mut host = Host { sockets: vec![socket(ESTAB, 1, 80, 1)], ..Host::default() };
    let found =
        watched(&mut host, 60, |host, second| host.process(42, if second == 0 { 200 } else { 250 }, 1000, 1..2));
    assert_eq!(found, []);
    // Nearly at its limit, if only for a while.
    let found = watched(&mut host, 9, |host, second| host.process(42, if second == 4 { 990 } else { 250 }, 1000, 1..2));
    assert_eq!((found[0].name, found[0].severity), ("descriptors-exhausted", Severity::Error));
}

#[test]
fn the_growth_of_close_wait_tells_when_descriptors_run_out() {
    let mut host = Host { sockets: (1..=10).map(|n| socket(CLOSE_WAIT, n, 80, n as u16)).collect(), ..Host::default() };
    host.process(42, 90, 100, 1..30);
    host.after(0);
    assert_eq!(host.reading("close_wait").time_left_ns, None);
    host.sockets.extend((11..=20).map(|n| socket(CLOSE_WAIT, n, 80, n as u16)));
    host.after(10);
    assert_eq!(host.reading("close_wait").time_left_ns, Some(Nanos::from_secs(10)));
}
