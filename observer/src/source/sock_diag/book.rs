//! What became of each socket from one look at the kernel's table to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use observer::kernel::{self, KernelEvent, SocketInput};
use observer::packet::Tuple;
use observer::record::{EntryKind, OwnerHow, ProcessRecord, Source, TcpInfo, TcpState};
use observer::time::Timestamp;

use super::dump::Shown;

/// The sockets of one network namespace.
///
/// A socket that closed first is followed by a smaller thing with a cookie of its own (`struct inet_timewait_sock`), in
/// FIN-WAIT-2 or TIME-WAIT: it is told as the socket's last state, and then ignored until it goes.
#[derive(Debug, Default)]
pub struct Book {
    known: HashMap<Tuple, Known>,
    /// Ports that are listened on.
    listeners: HashMap<u16, Owner>,
    /// How often the table was looked at.
    looks: u64,
    /// How many sockets were given a key.
    keys: u64,
}

#[derive(Debug)]
struct Known {
    key: u64,
    cookie: u64,
    /// Cookie of what stands for it in TIME-WAIT.
    remains: Option<u64>,
    first_seen: Timestamp,
    existed: bool,
    passive: Option<bool>,
    state: TcpState,
    info: Option<TcpInfo>,
    owner: Owner,
    /// The user that opened it; `None` where the kernel does not say.
    uid: Option<u32>,
    /// How many changes of its state were seen; each is told at once.
    events: u32,
    /// The look that showed it last.
    shown: u64,
    /// When a look did not show it, the first time.
    missed: Option<Timestamp>,
    /// All was told that there is to tell.
    is_told: bool,
}

/// Whose a socket is.
#[derive(Clone, Debug, Default)]
struct Owner {
    process: Option<Arc<ProcessRecord>>,
    /// How often it was looked for.
    searches: u8,
}

/// How often the process of a socket is looked for: one that was just accepted may have no descriptor yet, and those of
/// other users may never be seen.
const MOST_SEARCHES: u8 = 3;

/// The kernel's number of LISTEN (include/net/tcp_states.h).
const LISTEN: u8 = 10;

/// Tells whose a socket is.
pub trait Whose {
    /// The process that has it open; `None` where that is not known.
    fn owner(&mut self, shown: &Shown) -> Option<Arc<ProcessRecord>>;
}

impl Book {
    /// Takes in the table as it stood at `now`, and adds to `out` what is new.
    pub fn look(&mut self, table: &[Shown], now: Timestamp, whose: &mut dyn Whose, out: &mut Vec<SocketInput>) {
        self.looks += 1;
        let former = std::mem::take(&mut self.listeners);
        for shown in table.iter().filter(|shown| shown.state == LISTEN) {
            let mut owner = former.get(&shown.tuple.sport).cloned().unwrap_or_default();
            owner.look_for(shown, whose);
            self.listeners.insert(shown.tuple.sport, owner);
        }
        for shown in table.iter().filter(|shown| shown.state != LISTEN && shown.tuple.dport != 0) {
            self.socket(shown, now, whose, out);
        }
        self.miss(now, out);
    }

    /// The sockets whose owner is not known: the inodes of those that a process may have open.
    pub fn without_owner(&self, table: &[Shown]) -> HashSet<u32> {
        let is_unknown = |shown: &&Shown| {
            let owner = match shown.state {
                LISTEN => self.listeners.get(&shown.tuple.sport),
                _ => self.known.get(&shown.tuple).map(|known| &known.owner),
            };
            shown.inode != 0 && owner.is_none_or(Owner::is_worth_a_search)
        };
        table.iter().filter(is_unknown).map(|shown| shown.inode).collect()
    }

    /// Every socket that lives, as it was shown last.
    pub fn living(&self, now: Timestamp) -> impl Iterator<Item = SocketInput> {
        let living = self.known.iter().filter(|(_, known)| !known.is_told);
        living.map(move |(tuple, known)| known.input(*tuple, now, false, Vec::new()))
    }

    /// The namespace is gone, and every socket with it.
    pub fn close(mut self, now: Timestamp, out: &mut Vec<SocketInput>) {
        out.extend(self.known.iter_mut().filter_map(|(tuple, known)| known.end(*tuple, now)));
    }

    /// How many sockets live.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    fn socket(&mut self, shown: &Shown, now: Timestamp, whose: &mut dyn Whose, out: &mut Vec<SocketInput>) {
        let tuple = shown.tuple;
        let state = kernel::state(shown.state);
        if let Some(known) = self.known.get_mut(&tuple)
            && !known.is_same(shown, state)
        {
            out.extend(known.end(tuple, now));
            self.known.remove(&tuple);
        }
        let is_first = self.looks == 1;
        let listener = self.listeners.get(&tuple.sport);
        let (keys, looks) = (&mut self.keys, self.looks);
        let mut is_new = false;
        let known = self.known.entry(tuple).or_insert_with(|| {
            is_new = true;
            *keys += 1;
            Known {
                key: *keys,
                cookie: shown.cookie,
                remains: None,
                first_seen: now,
                existed: is_first,
                passive: match state {
                    TcpState::SynSent => Some(false),
                    TcpState::SynRecv => Some(true),
                    _ if listener.is_some() => Some(true),
                    // Nobody listens, and nobody did before: it called, or its listener closed within one interval.
                    _ => (!is_first).then_some(false),
                },
                state,
                info: None,
                owner: Owner::default(),
                // What a process cannot have open yet, or not any more, is shown as root's.
                uid: (shown.inode != 0).then_some(shown.uid),
                events: 0,
                shown: looks,
                missed: None,
                // What was over before us is not ours to tell.
                is_told: is_first && state == TcpState::TimeWait,
            }
        });
        (known.shown, known.missed) = (looks, None);
        if known.is_told {
            return;
        }
        known.info = shown.info.filter(|_| shown.inode != 0).or(known.info).or(shown.info);
        let mut has_news = is_new;
        has_news |= known.owner.look_for(shown, whose);
        let mut events = Vec::new();
        if known.state != state {
            events.push(known.change(state, now));
            has_news = true;
        }
        let is_last = state == TcpState::TimeWait;
        if is_last {
            (known.remains, known.is_told) = (Some(shown.cookie), true);
        }
        if has_news {
            let mut input = known.input(tuple, now, is_last, events);
            if input.processes.is_empty() && known.passive == Some(true) {
                let process = listener.and_then(|listener| listener.process.as_deref());
                let process = process.map(|process| ProcessRecord { how: Some(OwnerHow::Listener), ..process.clone() });
                input.processes.extend(process.map(Arc::new));
            }
            if input.processes.is_empty()
                && let uid @ Some(_) = known.uid
            {
                let user = ProcessRecord { uid, how: Some(OwnerHow::User), ..ProcessRecord::default() };
                input.processes.push(Arc::new(user));
            }
            out.push(input);
        }
    }

    /// Sockets that the last look did not show. The kernel gives its table in pieces, between which one may slip through:
    /// only what two looks miss is gone.
    fn miss(&mut self, now: Timestamp, out: &mut Vec<SocketInput>) {
        let looks = self.looks;
        self.known.retain(|tuple, known| {
            if known.shown == looks {
                return true;
            }
            match known.missed {
                None => {
                    known.missed = Some(now);
                    true
                }
                Some(at) => {
                    out.extend(known.end(*tuple, at));
                    false
                }
            }
        });
    }
}

impl Owner {
    fn is_worth_a_search(&self) -> bool {
        self.process.is_none() && self.searches < MOST_SEARCHES
    }

    /// Whether it was found just now.
    fn look_for(&mut self, shown: &Shown, whose: &mut dyn Whose) -> bool {
        if shown.inode == 0 || !self.is_worth_a_search() {
            return false;
        }
        self.searches += 1;
        self.process = whose.owner(shown);
        self.process.is_some()
    }
}

impl Known {
    /// Whether what the table shows at this place is this socket, or what is left of it.
    fn is_same(&self, shown: &Shown, state: TcpState) -> bool {
        if shown.cookie == self.cookie || self.remains == Some(shown.cookie) {
            return true;
        }
        let is_remains = shown.inode == 0 && matches!(state, TcpState::TimeWait | TcpState::FinWait2);
        is_remains && !self.is_told
    }

    fn change(&mut self, state: TcpState, at: Timestamp) -> KernelEvent {
        let states = (std::mem::replace(&mut self.state, state), state);
        self.events += 1;
        KernelEvent { at, kind: EntryKind::State, states, detail: None, source: Source::SockDiag }
    }

    /// The last that is said of it.
    fn end(&mut self, tuple: Tuple, at: Timestamp) -> Option<SocketInput> {
        if self.is_told {
            return None;
        }
        let event = self.change(TcpState::Closed, at);
        Some(self.input(tuple, at, true, vec![event]))
    }

    fn input(&self, tuple: Tuple, at: Timestamp, gone: bool, events: Vec<KernelEvent>) -> SocketInput {
        SocketInput {
            key: self.key,
            at,
            tuple,
            cookie: (self.cookie != 0 && self.remains != Some(self.cookie)).then_some(self.cookie),
            first_seen: self.first_seen,
            passive: self.passive,
            existed: self.existed,
            polled: true,
            looked_at: false,
            gone,
            state: self.state,
            processes: self.owner.process.iter().cloned().collect(),
            info: self.info,
            first_event: self.events.saturating_sub(events.len() as u32),
            events,
        }
    }
}

#[cfg(test)]
mod tests {
    use observer::packet::{Address, IpVersion};

    use super::*;

    /// A socket between ports 1000 and `dport`, of file 7 where a process has it open.
    fn shown(state: u8, cookie: u64, inode: u32, dport: u16) -> Shown {
        let address = Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]);
        let tuple = Tuple { src: address, dst: address, sport: 1000, dport, version: IpVersion::V4 };
        Shown { state, tuple, cookie, inode, uid: 1, cgroup: 0, info: None }
    }

    /// Nobody has anything open; counts how often that is asked.
    #[derive(Default)]
    struct Nobody(u32);

    impl Whose for Nobody {
        fn owner(&mut self, _shown: &Shown) -> Option<Arc<ProcessRecord>> {
            self.0 += 1;
            None
        }
    }

    fn look(book: &mut Book, at: u64, table: &[Shown]) -> Vec<SocketInput> {
        let mut out = Vec::new();
        book.look(table, Timestamp::from_nanos(at), &mut Nobody::default(), &mut out);
        out
    }

    fn told(inputs: &[SocketInput]) -> Vec<(TcpState, bool, usize)> {
        inputs.iter().map(|input| (input.state, input.gone, input.events.len())).collect()
    }

    const ESTAB: u8 = 1;
    const FIN_WAIT2: u8 = 5;
    const TIME_WAIT: u8 = 6;

    #[test]
    fn a_socket_is_followed_into_time_wait_and_told_gone_once() {
        let mut book = Book::default();
        assert_eq!(look(&mut book, 1, &[]).len(), 0);
        let first = look(&mut book, 2, &[shown(ESTAB, 40, 7, 80)]);
        assert_eq!(told(&first), [(TcpState::Estab, false, 0)]);
        assert_eq!((first[0].passive, first[0].existed, first[0].cookie), (Some(false), false, Some(40)));
        assert_eq!(told(&look(&mut book, 3, &[shown(ESTAB, 40, 7, 80)])), []);
        // What stands for it from here on has cookies of its own.
        assert_eq!(told(&look(&mut book, 4, &[shown(FIN_WAIT2, 41, 0, 80)])), [(TcpState::FinWait2, false, 1)]);
        let last = look(&mut book, 5, &[shown(TIME_WAIT, 42, 0, 80)]);
        assert_eq!(told(&last), [(TcpState::TimeWait, true, 1)]);
        assert_eq!((last[0].key, last[0].first_event, last[0].cookie), (first[0].key, 1, Some(40)));
        assert_eq!(told(&look(&mut book, 6, &[shown(TIME_WAIT, 42, 0, 80)])), []);
        assert_eq!((look(&mut book, 7, &[]).len(), look(&mut book, 8, &[]).len(), book.len()), (0, 0, 0));
    }

    #[test]
    fn a_socket_that_one_look_misses_is_not_gone() {
        let mut book = Book::default();
        look(&mut book, 1, &[shown(ESTAB, 40, 7, 80), shown(ESTAB, 50, 7, 81)]);
        assert_eq!(told(&look(&mut book, 2, &[shown(ESTAB, 50, 7, 81)])), []);
        assert_eq!(told(&look(&mut book, 3, &[shown(ESTAB, 40, 7, 80)])), []);
        let gone = look(&mut book, 4, &[shown(ESTAB, 40, 7, 80)]);
        assert_eq!(told(&gone), [(TcpState::Closed, true, 1)]);
        // Since the first look that missed it.
        assert_eq!((gone[0].at.as_nanos(), gone[0].existed), (3, true));
    }

    #[test]
    fn another_socket_with_the_same_ends_is_another() {
        let mut book = Book::default();
        let first = look(&mut book, 1, &[shown(ESTAB, 40, 7, 80)]);
        let both = look(&mut book, 2, &[shown(ESTAB, 60, 8, 80)]);
        assert_eq!(told(&both), [(TcpState::Closed, true, 1), (TcpState::Estab, false, 0)]);
        assert!(both[0].key == first[0].key && both[1].key != first[0].key);
    }

    #[test]
    fn time_wait_tells_of_connections_between_looks_but_not_of_those_before_us() {
        let mut book = Book::default();
        assert_eq!(told(&look(&mut book, 1, &[shown(TIME_WAIT, 40, 0, 80)])), []);
        let short = look(&mut book, 2, &[shown(TIME_WAIT, 40, 0, 80), shown(TIME_WAIT, 50, 0, 81)]);
        assert_eq!(told(&short), [(TcpState::TimeWait, true, 0)]);
        assert_eq!((short[0].tuple.dport, short[0].cookie), (81, None));
    }

    #[test]
    fn who_listens_tells_who_was_called_and_owners_are_not_looked_for_without_end() {
        let mut book = Book::default();
        let table = [shown(LISTEN, 30, 6, 0), shown(ESTAB, 40, 7, 80)];
        let (mut nobody, mut out) = (Nobody::default(), Vec::new());
        for at in 0..10 {
            book.look(&table, Timestamp::from_nanos(at), &mut nobody, &mut out);
        }
        assert_eq!((told(&out), out[0].passive), (vec![(TcpState::Estab, false, 0)], Some(true)));
        assert_eq!(nobody.0, 2 * u32::from(MOST_SEARCHES));
        assert!(book.without_owner(&table).is_empty());
    }
}
