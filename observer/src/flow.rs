//! What makes two packets parts of one connection.

use crate::packet::{Address, IpVersion, Layer, TunnelKind, Tuple};

/// The key of a connection: the innermost tuple in an order that does not depend on the direction, and the tunnels
/// around it. VLANs, labels and tunnel identifiers differ by direction and are no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// The ends, the lower one as source.
    pub ends: Tuple,
    /// Each tunnel's kind and outer addresses, the lower address first; outermost tunnel first.
    pub tunnels: Option<Box<[TunnelEnds]>>,
}

/// One tunnel as a part of a [`FlowKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TunnelEnds {
    /// What kind of tunnel.
    pub kind: TunnelKind,
    /// The lower and the higher of its outer addresses.
    pub ends: [Address; 2],
    /// Family of the outer addresses.
    pub version: IpVersion,
}

impl FlowKey {
    /// The key of a packet, and whether its source is the lower end.
    pub fn of(tuple: &Tuple, layers: &[Layer]) -> (Self, bool) {
        let forward = tuple.is_canonical();
        let ends = if forward { *tuple } else { tuple.reversed() };
        let tunnels: Vec<TunnelEnds> = tunnels(layers).collect();
        let tunnels = (!tunnels.is_empty()).then(|| tunnels.into_boxed_slice());
        (Self { ends, tunnels }, forward)
    }
}

/// The tunnels among `layers`, as a connection's key holds them.
pub fn tunnels(layers: &[Layer]) -> impl Iterator<Item = TunnelEnds> + '_ {
    layers.iter().filter_map(|layer| match layer {
        Layer::Tunnel(tunnel) => Some(TunnelEnds {
            kind: tunnel.kind,
            ends: [tunnel.src.min(tunnel.dst), tunnel.src.max(tunnel.dst)],
            version: tunnel.version,
        }),
        _ => None,
    })
}

/// A hash that is the same for both directions of a connection: cheap, and keyed by `seed` so that nobody can choose
/// tuples that collide.
pub fn hash(tuple: &Tuple, layers: &[Layer], seed: u64) -> u64 {
    let end = |address: &Address, port: u16| {
        let [a, b] = words(address);
        // The first half of an IPv4 address is 0, and of the second a quarter is the same in all: there is room for the port.
        let (a, b) = match tuple.version {
            IpVersion::V4 => (seed, b ^ u64::from(port).to_le()),
            IpVersion::V6 => (fold(a ^ seed, b ^ 0x9e37_79b9_7f4a_7c15), u64::from(port) ^ seed.rotate_left(32)),
        };
        fold(a, b ^ 0xbf58_476d_1ce4_e5b9)
    };
    let (from, to) = (end(&tuple.src, tuple.sport), end(&tuple.dst, tuple.dport));
    let mut hash = fold(from.wrapping_add(to) ^ seed, (from ^ to) ^ 0x94d0_49bb_1331_11eb) ^ tuple.version as u64;
    for tunnel in tunnels(layers) {
        let [low, high] = tunnel.ends;
        for word in words(&low).into_iter().chain(words(&high)) {
            hash = fold(hash ^ word, seed ^ 0xd6e8_feb8_6659_fd93);
        }
        hash = fold(hash ^ tunnel.kind as u64, 0xa076_1d64_78bd_642f);
    }
    hash
}

/// A key for the hash that needs no secret. Not 0, which [`fold`] hands on whatever it meets: the first half of an IPv4
/// [`Address`] is 0 already.
const SHARDING: u64 = 0x2545_f491_4f6c_dd1d;

/// Which of `count` shards of a run a connection belongs to: the same for both directions, for any tunnels, and in every
/// run, so that what is given up for want of room does not change from run to run.
pub fn shard(tuple: &Tuple, count: u32) -> u32 {
    let end = |address: &Address, port: u16| {
        let [a, b] = words(address);
        fold(a.rotate_left(32) ^ b, u64::from(port) ^ SHARDING)
    };
    let (from, to) = (end(&tuple.src, tuple.sport), end(&tuple.dst, tuple.dport));
    let hash = fold(from.wrapping_add(to), SHARDING);
    // The upper half, as a fraction of 2³²: to divide would take longer than all of the above.
    (((hash >> 32) * u64::from(count)) >> 32) as u32
}

/// Which of `count` shards a datagram belongs to: that of the end with the lower port, hardly ever the client's, so that a client that
/// moves (RFC 9000, section 9) stays in its shard.
pub fn shard_of_datagram(tuple: &Tuple, count: u32) -> u32 {
    let Tuple { src, dst, sport, dport, version } = *tuple;
    let (port, address) = (sport, src).min((dport, dst));
    let end = Tuple { src: address, dst: address, sport: port, dport: port, version };
    shard(&end, count)
}

fn words(address: &Address) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = address.0;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

/// Multiplies to 128 bits and folds the halves: every bit of the result depends on every bit of both.
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Tunnel;

    fn tuple() -> Tuple {
        Tuple {
            src: Address::v4([10, 0, 0, 2]),
            dst: Address::v4([10, 0, 0, 1]),
            sport: 4000,
            dport: 443,
            version: IpVersion::V4,
        }
    }

    #[test]
    fn connections_of_both_families_spread_over_the_shards() {
        for version in [IpVersion::V4, IpVersion::V6] {
            let mut shares = [0; 8];
            for (host, port) in (0..100_u16).flat_map(|host| (1024..1124).map(move |port| (host, port))) {
                let [high, low] = host.to_be_bytes();
                let src = match version {
                    IpVersion::V4 => Address::v4([10, 0, high, low]),
                    IpVersion::V6 => Address([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low]),
                };
                let shard = shard(&Tuple { src, sport: port, version, ..tuple() }, shares.len() as u32);
                shares[shard as usize] += 1;
            }
            assert!(shares.iter().all(|share| (1100..1400).contains(share)), "of 10000 {version:?}: {shares:?}");
        }
    }

    #[test]
    fn both_directions_share_key_and_hash() {
        let out = Layer::Tunnel(Tunnel {
            kind: TunnelKind::Vxlan,
            src: Address::v4([192, 0, 2, 1]),
            dst: Address::v4([192, 0, 2, 2]),
            version: IpVersion::V4,
            id: Some(7),
            source_port: Some(50_000),
        });
        let Layer::Tunnel(mut back) = out else { unreachable!("made as a tunnel above") };
        (back.src, back.dst, back.id, back.source_port) = (back.dst, back.src, Some(8), Some(50_001));
        let (there, back) = ([Layer::Vlan(5), out], [Layer::Tunnel(back)]);
        let (key, forward) = FlowKey::of(&tuple(), &there);
        let (key_back, forward_back) = FlowKey::of(&tuple().reversed(), &back);
        assert_eq!(key, key_back);
        assert_ne!(forward, forward_back);
        assert_eq!(hash(&tuple(), &there, 1), hash(&tuple().reversed(), &back, 1));
        assert_ne!(hash(&tuple(), &there, 1), hash(&tuple(), &[], 1));
    }
}
