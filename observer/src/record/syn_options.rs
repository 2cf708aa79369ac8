//! Options of a SYN, as a set.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::{Offer, Sides};

bitflags::bitflags! {
    /// Options of a SYN or SYN-ACK, of which two copies can be compared.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SynOptions: u8 {
        /// Maximum segment size (RFC 9293, section 3.7.1).
        const MSS = 1;
        /// Window scale (RFC 7323, section 2).
        const WINDOW_SCALE = 2;
        /// SACK permitted (RFC 2018, section 2).
        const SACK = 4;
        /// Timestamps (RFC 7323, section 3).
        const TIMESTAMPS = 8;
        /// Fast Open (RFC 7413, section 4.1.1).
        const FAST_OPEN = 16;
        /// MP_CAPABLE or MP_JOIN (RFC 8684, section 3).
        const MPTCP = 32;
    }
}

impl SynOptions {
    /// Names as JSON has them, and in words.
    const NAMES: [(Self, &'static str, &'static str); 6] = [
        (Self::MSS, "mss", "MSS"),
        (Self::WINDOW_SCALE, "window_scale", "window scale"),
        (Self::SACK, "sack", "SACK"),
        (Self::TIMESTAMPS, "timestamps", "timestamps"),
        (Self::FAST_OPEN, "fast_open", "Fast Open"),
        (Self::MPTCP, "mptcp", "Multipath TCP"),
    ];

    /// Those that an offer has.
    pub fn of(offer: &Offer) -> Self {
        let all = [
            (Self::MSS, offer.mss.is_some()),
            (Self::WINDOW_SCALE, offer.window_scale.is_some()),
            (Self::SACK, offer.sack),
            (Self::TIMESTAMPS, offer.timestamps),
            (Self::FAST_OPEN, offer.fast_open_cookie.is_some()),
            (Self::MPTCP, offer.mptcp),
        ];
        all.into_iter().filter(|(_, has)| *has).fold(Self::empty(), |set, (option, _)| set | option)
    }

    /// In words: `window scale, SACK`.
    pub fn words(self) -> String {
        let named = Self::NAMES.into_iter().filter(|(option, ..)| self.contains(*option));
        named.map(|(.., words)| words).collect::<Vec<_>>().join(", ")
    }

    /// Whether neither side has any.
    pub(super) fn are_none(sides: &Sides<Self>) -> bool {
        sides.client.is_empty() && sides.server.is_empty()
    }
}

impl Serialize for SynOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = Self::NAMES.into_iter().filter(|(option, ..)| self.contains(*option));
        serializer.collect_seq(named.map(|(_, name, _)| name))
    }
}

impl JsonSchema for SynOptions {
    fn schema_name() -> Cow<'static, str> {
        "SynOptions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Self::NAMES.map(|(_, name, _)| name);
        schemars::json_schema!({ "type": "array", "items": { "type": "string", "enum": names } })
    }
}
