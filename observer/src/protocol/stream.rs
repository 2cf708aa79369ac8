//! One direction's octets put in order, as many of them as a protocol asks for.
//!
//! - What came first counts: octets that come again, whatever they hold, are left aside.
//! - Octets beyond a hole wait for it to be filled. The hole is declared a gap once the other end has acknowledged it (it
//!   has what the capture lacks), once the direction ends, or once too much waits.
//! - Octets that a protocol passes over are not kept, and may come in any order.
//! - What a protocol has not used yet is kept until it has enough for one unit of its own.

use crate::sequence::Seq;
use crate::time::Timestamp;

/// Octets and pieces that may wait beyond a hole, in one direction.
const MOST_EARLY: usize = 256 << 10;
const MOST_PIECES: usize = 256;

/// Octets of one unfinished unit. Protocols give up before; this is the bound on those that do not.
const MOST_PENDING: usize = 256 << 10;

/// How far from the first octet the first to come may be.
const FAR: u32 = MOST_EARLY as u32;

/// How far the next wanted octet may be ahead: less than half the space of sequence numbers.
const AHEAD: u32 = 1 << 30;

/// What comes next on a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// Octets in order: those not used before, and new ones behind them.
    Octets(&'a [u8]),
    /// What was to be passed over has gone by; or the direction has ended before that, after this many octets.
    Passed(u64),
    /// This many octets are missing from the capture. What was not used before is lost as well.
    Gap(u64),
    /// Nothing more comes.
    End,
}

/// What a protocol makes of an arrival: how many octets it has used, and what it wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    /// Octets that need not be handed over again.
    pub used: usize,
    /// What is wanted next.
    pub next: Next,
}

/// What a protocol wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Whatever there is.
    Octets,
    /// Nothing before there are this many octets.
    AtLeast(usize),
    /// To pass over so many octets, to be told when they have gone by.
    Pass(u64),
    /// Nothing more of this direction.
    Nothing,
    /// To be replaced: another protocol begins here.
    Change,
}

/// Whoever takes what arrives.
pub type Taker<'t> = dyn FnMut(Arrival<'_>) -> Take + 't;

impl Take {
    /// So many octets used, and whatever there is next.
    pub const fn used(used: usize) -> Self {
        Self { used, next: Next::Octets }
    }

    /// None used; there must be `least` octets first.
    pub const fn wait_for(least: usize) -> Self {
        Self { used: 0, next: Next::AtLeast(least) }
    }

    /// Nothing more of this direction.
    pub const fn nothing() -> Self {
        Self { used: 0, next: Next::Nothing }
    }

    /// So many octets used, and something else next.
    pub const fn then(used: usize, next: Next) -> Self {
        Self { used, next }
    }
}

/// One segment's payload.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// Sequence number of its first octet.
    pub start: Seq,
    /// What was captured of it.
    pub data: &'a [u8],
    /// Octets on the wire; no less than were captured.
    pub len: u32,
    /// When it was captured.
    pub at: Timestamp,
    /// What the other end has acknowledged so far.
    pub acknowledged: Option<Seq>,
    /// Where the direction's octets begin, where that is known.
    pub first: Option<Seq>,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Stream {
    /// The octet wanted next; `None` where the next to come is.
    next: Option<Seq>,
    /// The first octet was wanted already.
    begun: bool,
    /// While passing over octets: how many in all, and how many of them come after `next`.
    passing: Option<Box<Passing>>,
    /// Nothing is wanted.
    deaf: bool,
    /// Nothing comes any more.
    ended: bool,
    /// Where the sender's FIN says that its octets end.
    fin: Option<Seq>,
    /// How many octets there must be before the protocol is asked again.
    least: usize,
    /// In order before `next`, and not used yet.
    pending: Vec<u8>,
    /// Beyond a hole, in order of their sequence numbers.
    early: Vec<Piece>,
    /// Segments that said something else of octets beyond a hole than others had.
    conflicts: u64,
}

#[derive(Debug)]
struct Passing {
    total: u64,
    /// Of those, how many lie beyond `next`.
    beyond: u64,
    /// The end of the furthest segment.
    reached: Seq,
}

#[derive(Debug)]
struct Piece {
    start: Seq,
    data: Box<[u8]>,
}

impl Piece {
    fn end(&self) -> Seq {
        self.start.plus(self.data.len() as u32)
    }
}

impl Stream {
    /// Whether nothing is wanted of this direction.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Octets that are kept.
    pub fn held(&self) -> usize {
        self.pending.capacity() + self.early.iter().map(|piece| piece.data.len()).sum::<usize>()
    }

    /// Segments that said something else of octets that waited than others had.
    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// Wants nothing, and keeps nothing.
    pub fn stop(&mut self) {
        let Self { ended, begun, conflicts, .. } = *self;
        *self = Self { deaf: true, ended, begun, conflicts, ..Self::default() };
    }

    /// Wants octets again, whether it did or not. Where it did not, `take` is told of a gap.
    pub fn resume(&mut self, take: &mut Taker<'_>) {
        self.least = 0;
        if self.deaf && !self.ended {
            (self.deaf, self.next) = (false, None);
            self.tell(Arrival::Gap(0), take);
        }
        self.deliver(&[], take);
        self.drain(None, take);
    }

    /// Takes in a segment's payload, and has `take` take what that puts in order.
    pub fn payload(&mut self, payload: &Payload<'_>, take: &mut Taker<'_>) {
        let Payload { start, data, len, .. } = *payload;
        if self.deaf || self.ended {
            return;
        }
        let end = start.plus(len);
        if let Some(passing) = &mut self.passing
            && let Some(next) = self.next
        {
            if end.before(next) {
                passing.reached = passing.reached.latest(end);
                return self.end_at_fin(take);
            }
            self.pass_on(end);
        }
        // A connection may have begun long before what was captured of it.
        let first = payload.first.filter(|first| !self.begun && start.offset_from(*first) < FAR);
        let next = *self.next.get_or_insert(first.unwrap_or(start));
        self.begun = true;
        if start.after(next) {
            self.keep(start, data);
        } else if end.at_or_after(next) {
            let seen = next.offset_from(start) as usize;
            let fresh = data.get(seen..).unwrap_or_default();
            self.next = Some(next.plus(fresh.len() as u32));
            self.deliver(fresh, take);
            self.skip_missing(end, take);
        }
        self.drain(payload.acknowledged, take);
        self.end_at_fin(take);
    }

    /// The octets up to `end` were sent, though not all of them are shown: those that are to be passed over have come.
    pub fn sent(&mut self, end: Seq) {
        self.pass_on(end);
        if let (Some(passing), Some(next)) = (&mut self.passing, self.next)
            && passing.reached.after(next)
        {
            passing.reached = next;
        }
    }

    /// The octets up to `end` were sent, though not all of them are shown and none of those beyond what is known will be: what
    /// was to be passed over has gone by if it ends there, and what comes behind it is a gap. Gives whether something went by
    /// at a time that nobody saw.
    pub fn unseen(&mut self, end: Seq, take: &mut Taker<'_>) -> bool {
        let mut went_by = false;
        self.pass_on(end);
        while let Some(next) = self.next.filter(|next| end.at_or_after(*next))
            && !self.deaf
            && !self.ended
        {
            if let Some(passing) = self.passing.take() {
                went_by = true;
                self.tell(Arrival::Passed(passing.total), take);
                self.pass_on(end);
            } else if next == end {
                break;
            } else {
                self.gap(next, end, take);
            }
        }
        went_by
    }

    /// Whether all that is known of it, what is to be passed over included, ends before `end`.
    pub fn ends_before(&self, end: Seq) -> bool {
        let beyond = self.passing.as_ref().map_or(0, |passing| passing.beyond);
        self.next.is_some_and(|next| beyond == 0 && end.after(next))
    }

    /// Takes in the sender's FIN, before which come the octets up to `end`.
    pub fn fin(&mut self, end: Seq, take: &mut Taker<'_>) {
        self.fin.get_or_insert(end);
        self.end_at_fin(take);
    }

    /// Ends once all that comes before the FIN has come.
    fn end_at_fin(&mut self, take: &mut Taker<'_>) {
        let Some(fin) = self.fin else { return };
        let here = self.passing.as_ref().map(|passing| passing.reached).or(self.next);
        if self.deaf || here.is_none_or(|here| here.at_or_after(fin)) {
            self.end(take);
        }
    }

    /// Nothing more comes in this direction: what waits is handed over, then the end.
    pub fn end(&mut self, take: &mut Taker<'_>) {
        // What has not begun does not end: a RST may answer what came before the connection.
        if self.ended || (self.next.is_none() && !self.deaf) {
            return;
        }
        while !self.early.is_empty() && !self.deaf {
            self.declare_gap(take);
            self.drain(None, take);
        }
        if let Some(passing) = self.passing.take()
            && !self.deaf
        {
            let lacking = self.next.unwrap_or_default().offset_from(passing.reached);
            let passed = passing.total.saturating_sub(passing.beyond).saturating_sub(lacking.into());
            self.tell(Arrival::Passed(passed), take);
        }
        self.ended = true;
        if !self.deaf {
            take(Arrival::End);
        }
        self.stop();
    }

    /// How many octets from `at` on would be passed over unread, `at` being behind all that came.
    pub fn passes(&self, at: Seq) -> u64 {
        match (&self.passing, self.next) {
            _ if self.deaf => u64::MAX,
            (Some(passing), Some(next)) => passing.beyond + u64::from(next.offset_from(at)),
            _ => 0,
        }
    }

    /// Octets are missing, nobody knows how many: the next to come is wanted, whichever it is.
    pub fn lose(&mut self, take: &mut Taker<'_>) {
        if !self.deaf && !self.ended {
            (self.next, self.passing, self.least) = (None, None, 0);
            (self.pending, self.early) = (Vec::new(), Vec::new());
            self.tell(Arrival::Gap(0), take);
        }
    }

    /// Gives up what is kept: a gap, whatever it was.
    pub fn give_up(&mut self, take: &mut Taker<'_>) {
        let kept = self.held();
        self.pending = Vec::new();
        if let Some(last) = self.early.last() {
            self.next = Some(last.end());
        }
        self.early = Vec::new();
        self.tell(Arrival::Gap(kept as u64), take);
    }

    /// Moves what is wanted next on, while all of the octets up to `end` are to be passed over.
    fn pass_on(&mut self, end: Seq) {
        let Some(passing) = &mut self.passing else { return };
        while let Some(next) = self.next
            && passing.beyond > 0
            && end.at_or_after(next)
        {
            let step = passing.beyond.min(AHEAD.into()) as u32;
            passing.beyond -= u64::from(step);
            self.next = Some(next.plus(step));
        }
        passing.reached = passing.reached.latest(end);
    }

    /// Keeps octets beyond a hole, those that are not kept already.
    fn keep(&mut self, mut start: Seq, mut data: &[u8]) {
        let mut conflicts = false;
        while !data.is_empty() {
            let at = self.early.partition_point(|piece| piece.start.at_or_before(start));
            let before = at.checked_sub(1).and_then(|before| self.early.get(before));
            let known = before.and_then(|before| before.data.get(start.offset_from(before.start) as usize..));
            let known = known.unwrap_or_default();
            let (again, rest) = data.split_at_checked(known.len()).unwrap_or((data, &[]));
            conflicts |= !known.starts_with(again);
            (start, data) = (start.plus(again.len() as u32), rest);
            let room = self.early.get(at).map_or(data.len(), |after| after.start.offset_from(start) as usize);
            let (fresh, rest) = data.split_at_checked(room).unwrap_or((data, &[]));
            if !fresh.is_empty() {
                self.early.insert(at, Piece { start, data: fresh.into() });
            } else if again.is_empty() {
                break;
            }
            (start, data) = (start.plus(fresh.len() as u32), rest);
        }
        self.conflicts += u64::from(conflicts);
    }

    /// Hands over what is in order behind what was just handed over, and declares the gaps that are sure.
    fn drain(&mut self, acknowledged: Option<Seq>, take: &mut Taker<'_>) {
        while !self.deaf
            && let (Some(next), Some(first)) = (self.next, self.early.first())
        {
            if first.start.at_or_before(next) {
                let piece = self.early.remove(0);
                self.pass_on(piece.end());
                let next = self.next.unwrap_or(next);
                let seen = next.offset_from(piece.start) as usize;
                if let Some(fresh) = piece.data.get(seen..)
                    && (!fresh.is_empty() || self.passing.is_some())
                {
                    self.next = Some(next.plus(fresh.len() as u32));
                    self.deliver(fresh, take);
                }
                continue;
            }
            let early: usize = self.early.iter().map(|piece| piece.data.len()).sum();
            let is_full = early > MOST_EARLY || self.early.len() > MOST_PIECES;
            if !is_full && acknowledged.is_none_or(|acknowledged| acknowledged.before(first.start)) {
                return;
            }
            self.declare_gap(take);
        }
    }

    /// What lies before the first octets that wait will not come.
    fn declare_gap(&mut self, take: &mut Taker<'_>) {
        let (Some(next), Some(first)) = (self.next, self.early.first()) else { return };
        let start = first.start;
        self.gap(next, start, take);
    }

    fn gap(&mut self, from: Seq, to: Seq, take: &mut Taker<'_>) {
        self.next = Some(to);
        self.pending.clear();
        if let Some(passing) = self.passing.take() {
            self.tell(Arrival::Passed(passing.total), take);
        }
        if !self.deaf {
            self.tell(Arrival::Gap(to.offset_from(from).into()), take);
        }
    }

    /// The capture kept less of a segment than was on the wire: the rest of it will not come.
    fn skip_missing(&mut self, end: Seq, take: &mut Taker<'_>) {
        if let Some(next) = self.next
            && !self.deaf
            && next.before(end)
        {
            self.gap(next, end, take);
        }
    }

    /// Hands over octets, `self.next` being behind them already.
    fn deliver(&mut self, fresh: &[u8], take: &mut Taker<'_>) {
        if let Some(passing) = &self.passing {
            if passing.beyond > 0 {
                return;
            }
            let total = passing.total;
            self.passing = None;
            self.tell(Arrival::Passed(total), take);
            if self.passing.is_some() || self.deaf {
                return;
            }
        }
        let mut pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            let used = self.offer(fresh, take);
            self.pending.extend_from_slice(fresh.get(used..).unwrap_or_default());
        } else {
            pending.extend_from_slice(fresh);
            let used = self.offer(&pending, take);
            pending.drain(..used.min(pending.len()));
            self.pending = pending;
        }
        if self.deaf || self.pending.is_empty() {
            self.pending = Vec::new();
        } else if self.pending.len() > MOST_PENDING {
            self.pending = Vec::new();
            self.tell(Arrival::Gap(0), take);
        }
    }

    /// Has `take` use octets as long as it uses any. Gives how many are done with.
    fn offer(&mut self, octets: &[u8], take: &mut Taker<'_>) -> usize {
        let mut done = 0;
        while let Some(rest) = octets.get(done..)
            && !rest.is_empty()
            && rest.len() >= self.least
        {
            self.least = 0;
            let Take { used, next } = take(Arrival::Octets(rest));
            let used = used.min(rest.len());
            done += used;
            match next {
                Next::Octets if used == 0 => break,
                Next::Octets => {}
                Next::AtLeast(least) => {
                    self.least = least;
                    if used == 0 || rest.len() - used < least {
                        break;
                    }
                }
                Next::Pass(total) => {
                    let here = total.min((octets.len() - done) as u64);
                    done += here as usize;
                    if here == total {
                        self.tell(Arrival::Passed(total), take);
                        if self.passing.is_some() || self.deaf {
                            return octets.len();
                        }
                        continue;
                    }
                    self.pass(total, total - here);
                    return octets.len();
                }
                Next::Nothing => {
                    self.stop();
                    return octets.len();
                }
                Next::Change => break,
            }
        }
        done
    }

    /// Starts to pass over octets, `left` of which are still to come.
    fn pass(&mut self, total: u64, left: u64) {
        let step = left.min(AHEAD.into()) as u32;
        let reached = self.next.unwrap_or_default();
        self.passing = Some(Box::new(Passing { total, beyond: left - u64::from(step), reached }));
        self.next = self.next.map(|next| next.plus(step));
    }

    /// Tells something that is not octets.
    fn tell(&mut self, arrival: Arrival<'_>, take: &mut Taker<'_>) {
        match take(arrival).next {
            Next::Nothing => self.stop(),
            Next::Pass(total) => self.pass(total, total),
            Next::AtLeast(least) => self.least = least,
            Next::Octets | Next::Change => {}
        }
    }
}

#[cfg(test)]
mod tests;
