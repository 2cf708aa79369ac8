//! What goes wrong on wires, by rules that fall out alike in every run.

use std::fmt;
use std::time::Duration;

use etherparse::{Ipv4Header, NetHeaders, PacketHeaders, TcpHeader, TransportHeader};

use super::wire::{End, Passing};

/// Something that happens to frames on a wire.
pub struct Fault {
    /// In words.
    pub about: String,
    /// What becomes of each frame. The first fault that does not let it pass decides.
    pub decide: Box<dyn FnMut(&Passing<'_>) -> Fate + Send>,
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried.
    Pass,
    /// It is lost.
    Drop,
    /// It is carried, so much later than others.
    Late(Duration),
    /// It is carried once so many later frames of its direction have overtaken it; where they do not come, after a
    /// tenth of a second.
    Overtaken(usize),
    /// It is carried, and once more so much later.
    Twice(Duration),
    /// Another frame was sent in its place.
    Replaced(Vec<u8>),
    /// It leaves as it is, and another arrives: what stands on the way has changed it.
    Rewritten(Vec<u8>),
}

impl Fault {
    /// A fault of one's own.
    pub fn new(about: impl Into<String>, decide: impl FnMut(&Passing<'_>) -> Fate + Send + 'static) -> Self {
        Self { about: about.into(), decide: Box::new(decide) }
    }

    /// Loses everything that `end` sends and `wanted` picks.
    pub fn loses(about: impl Into<String>, mut wanted: impl FnMut(&Passing<'_>) -> bool + Send + 'static) -> Self {
        Self::new(about, move |passing| if wanted(passing) { Fate::Drop } else { Fate::Pass })
    }

    /// Loses frames of both directions at random: `percent` of them. Which ones depends on `seed` alone, each
    /// direction counted for itself.
    pub fn random_loss(percent: u8, seed: u64) -> Self {
        let mut dice = [End::Near, End::Far].map(|end| fastrand::Rng::with_seed(seed ^ end as u64));
        Self::loses(
            format!("loses {percent}% of the frames of both directions at random (seed {seed})"),
            move |passing| {
                let [near, far] = &mut dice;
                let dice = if passing.from == End::Near { near } else { far };
                dice.u8(..100) < percent
            },
        )
    }

    /// Treats the segments with payload from `end` whose place in the row, counted from 1, is in `which`.
    pub fn on_data(about: impl Into<String>, end: End, which: &'static [usize], fate: Fate) -> Self {
        let mut place = 0;
        Self::new(about, move |passing| {
            place += usize::from(passing.is_data_from(end));
            if passing.is_data_from(end) && which.contains(&place) { fate.clone() } else { Fate::Pass }
        })
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("about", &self.about).finish_non_exhaustive()
    }
}

/// The headers of the segment in `frame` as `change` leaves them, without payload; `None` for what is no TCP over IPv4, and
/// where it is not to be changed.
pub fn rewritten(frame: &[u8], change: impl FnOnce(&mut Ipv4Header, &mut TcpHeader) -> Option<()>) -> Option<Vec<u8>> {
    let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
    let (NetHeaders::Ipv4(mut ip, _), Some(TransportHeader::Tcp(mut tcp))) = (headers.net?, headers.transport) else {
        return None;
    };
    change(&mut ip, &mut tcp)?;
    ip.set_payload_len(tcp.header_len()).ok()?;
    ip.header_checksum = ip.calc_header_checksum();
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).ok()?;
    let mut out = Vec::with_capacity(frame.len());
    headers.link?.write(&mut out).ok()?;
    ip.write(&mut out).ok()?;
    tcp.write(&mut out).ok()?;
    Some(out)
}
