//! Transport parameters (RFC 9000, section 18): what an end says of itself in its hello. Those of the server are under keys
//! that are not known here.

use super::super::text::hex;
use super::version::Version;
use super::wire::Reader;
use crate::record::TransportParameter;

/// Parameters, and octets of one, that are kept.
const MOST_LISTED: usize = 64;
const MOST_OCTETS: usize = 64;

/// RFC 9368, section 3.
const VERSION_INFORMATION: u64 = 0x11;

/// What a parameter's value is.
enum Value {
    Integer,
    Octets,
}

/// The parameters, in the order they were sent; those that stand for nothing (RFC 9000, section 18.1) are left out.
pub(super) fn parse(octets: &[u8]) -> Vec<TransportParameter> {
    let mut listed = Vec::new();
    for (id, value) in each(octets) {
        if listed.len() == MOST_LISTED {
            break;
        }
        if id % 31 == 27 {
            continue;
        }
        let (name, kind) = name(id);
        let number = Reader(value).varint().filter(|_| matches!(kind, Value::Integer));
        let octets = value.get(..MOST_OCTETS).unwrap_or(value);
        listed.push(TransportParameter {
            name: name.map_or_else(|| format!("0x{id:x}"), str::to_string),
            value: number,
            octets: (number.is_none() && !octets.is_empty()).then(|| hex(octets)),
        });
    }
    listed
}

/// The versions that the client can speak besides, by its version_information.
pub(super) fn versions(octets: &[u8]) -> Option<Vec<Version>> {
    let (_, value) = each(octets).find(|(id, _)| *id == VERSION_INFORMATION)?;
    let (versions, _) = value.as_chunks();
    let versions = versions.iter().skip(1).map(|octets| Version(u32::from_be_bytes(*octets)));
    Some(versions.filter(|version| !version.is_reserved()).take(MOST_LISTED).collect())
}

fn each(octets: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut reader = Reader(octets);
    std::iter::from_fn(move || Some((reader.varint()?, reader.counted()?)))
}

/// A parameter's name, as IANA lists it.
const fn name(id: u64) -> (Option<&'static str>, Value) {
    let (name, value) = match id {
        0x00 => ("original_destination_connection_id", Value::Octets),
        0x01 => ("max_idle_timeout", Value::Integer),
        0x02 => ("stateless_reset_token", Value::Octets),
        0x03 => ("max_udp_payload_size", Value::Integer),
        0x04 => ("initial_max_data", Value::Integer),
        0x05 => ("initial_max_stream_data_bidi_local", Value::Integer),
        0x06 => ("initial_max_stream_data_bidi_remote", Value::Integer),
        0x07 => ("initial_max_stream_data_uni", Value::Integer),
        0x08 => ("initial_max_streams_bidi", Value::Integer),
        0x09 => ("initial_max_streams_uni", Value::Integer),
        0x0a => ("ack_delay_exponent", Value::Integer),
        0x0b => ("max_ack_delay", Value::Integer),
        0x0c => ("disable_active_migration", Value::Octets),
        0x0d => ("preferred_address", Value::Octets),
        0x0e => ("active_connection_id_limit", Value::Integer),
        0x0f => ("initial_source_connection_id", Value::Octets),
        0x10 => ("retry_source_connection_id", Value::Octets),
        VERSION_INFORMATION => ("version_information", Value::Octets),
        0x20 => ("max_datagram_frame_size", Value::Integer),
        0x173e => ("discard", Value::Octets),
        0x26ab => ("google_handshake_message", Value::Octets),
        0x2ab2 => ("grease_quic_bit", Value::Octets),
        0x3127 => ("initial_rtt", Value::Integer),
        0x3128 => ("google_connection_options", Value::Octets),
        0x4752 => ("google_version", Value::Octets),
        0x0f73_9bbc_1b66_6d06 => ("enable_multipath", Value::Integer),
        0xff04_de1b => ("min_ack_delay", Value::Integer),
        _ => return (None, Value::Octets),
    };
    (Some(name), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_names_and_those_that_stand_for_nothing_are_left_out() {
        let octets =
            [&[1, 4, 0x80, 0, 0x75, 0x30][..], &[12, 0], &[27, 1, 9], &[15, 2, 0xab, 0xcd], &[0x40, 0x99, 1, 7]];
        let listed = parse(&octets.concat());
        let shown: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.value, one.octets.as_deref())).collect();
        let expected = [
            ("max_idle_timeout", Some(30_000), None),
            ("disable_active_migration", None, None),
            ("initial_source_connection_id", None, Some("abcd")),
            ("0x99", None, Some("07")),
        ];
        assert_eq!(shown, expected);
        assert_eq!(parse(&[1, 9, 0]), []);
    }

    #[test]
    fn the_versions_besides_are_read() {
        let octets =
            [&[0x11, 16][..], &[0, 0, 0, 1], &[0x0a, 0x1a, 0x2a, 0x3a], &[0x6b, 0x33, 0x43, 0xcf], &[0, 0, 0, 1]];
        assert_eq!(versions(&octets.concat()), Some(vec![Version::V2, Version::V1]));
    }
}
