//! SSH (RFC 4253): both banners, and the algorithms that the key exchange comes to.

use super::text::clean;
use super::{Arrival, Guess, Protocol, Take};
use crate::record::{Application, ProtocolName, Side, Sides, SshRecord};
use crate::time::Timestamp;

const BANNER: &[u8] = b"SSH-";
/// Octets of a banner and of the lines before it (RFC 4253, section 4.2).
const MOST_BANNER: usize = 255;
/// Octets of a packet that is read (RFC 4253, section 6.1).
const MOST_PACKET: usize = 35_000;
const KEXINIT: u8 = 20;
/// Lists of names in a KEXINIT that are compared: key exchange, host key, ciphers and MACs of either direction.
const LISTS: usize = 6;

/// A connection that speaks SSH.
#[derive(Debug, Default)]
struct Ssh {
    banners: Sides<Option<String>>,
    offers: Sides<Option<Vec<String>>>,
    malformed: u64,
}

/// Whether these octets begin a connection that speaks SSH. Either end may send its banner first; most often the server's
/// is seen first.
pub(super) fn recognise(octets: &[u8]) -> Guess {
    if octets.len() < BANNER.len() {
        return if BANNER.starts_with(octets) { Guess::Unsure } else { Guess::No };
    }
    if !octets.starts_with(BANNER) {
        return Guess::No;
    }
    // Clients that wait for no banner are as common as servers: which end it is is told by the connection.
    Guess::Either(Box::new(Ssh::default()))
}

impl Protocol for Ssh {
    fn take(&mut self, from: Side, arrival: Arrival<'_>, _: Timestamp) -> Take {
        let octets = match arrival {
            Arrival::Octets(octets) => octets,
            Arrival::Passed(_) => return Take::used(0),
            Arrival::Gap(_) | Arrival::End => return Take::nothing(),
        };
        if self.banners.of(from).is_none() {
            let Some(end) = octets.iter().position(|octet| *octet == b'\n') else {
                let is_line = octets.len() <= MOST_BANNER;
                return if is_line { Take::wait_for(octets.len() + 1) } else { self.give_up() };
            };
            let line = octets.get(..end).unwrap_or_default();
            if line.starts_with(BANNER) {
                *self.banners.of_mut(from) = Some(clean(line.trim_ascii_end(), MOST_BANNER));
            }
            return Take::used(end + 1);
        }
        let &[a, b, c, d, _, kind, ref rest @ ..] = octets else { return Take::wait_for(6) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MOST_PACKET || kind != KEXINIT {
            return self.give_up();
        }
        let Some(body) = rest.get(..length.saturating_sub(2)) else { return Take::wait_for(4 + length) };
        let Some(offer) = lists(body) else { return self.give_up() };
        *self.offers.of_mut(from) = Some(offer);
        Take::nothing()
    }

    fn record(&self, into: &mut Application) {
        into.speaks(ProtocolName::Ssh);
        into.malformed += self.malformed;
        let agreed = |list: usize| -> Option<String> {
            let [client, server] = [&self.offers.client, &self.offers.server].map(|offer| offer.as_ref()?.get(list));
            let (client, server) = (client?, server?);
            // The first of the client's that the server has as well (RFC 4253, section 7.1).
            client.split(',').find(|name| server.split(',').any(|other| other == *name)).map(str::to_string)
        };
        into.ssh = Some(SshRecord {
            banners: self.banners.clone(),
            key_exchange: agreed(0),
            host_key: agreed(1),
            cipher: Sides { client: agreed(2), server: agreed(3) },
            mac: Sides { client: agreed(4), server: agreed(5) },
        });
    }
}

impl Ssh {
    fn give_up(&mut self) -> Take {
        self.malformed += 1;
        Take::nothing()
    }
}

/// The first lists of names behind a KEXINIT's cookie.
fn lists(body: &[u8]) -> Option<Vec<String>> {
    let mut rest = body.get(16..)?;
    let mut lists = Vec::new();
    while lists.len() < LISTS {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (names, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        lists.push(clean(names, MOST_PACKET));
        rest = behind;
    }
    Some(lists)
}
