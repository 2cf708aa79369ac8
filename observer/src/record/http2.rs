//! What HTTP/2 (RFC 9113) and WebSocket (RFC 6455) show besides requests and responses.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Side, Sides};
use crate::time::{Nanos, Timestamp};

/// HTTP/2 over a connection: its streams, and how they went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Http2Record {
    /// Streams that the client opened, and those that the server promised (PUSH_PROMISE).
    pub streams: Sides<u64>,
    /// The most streams that were open at once: from the request's first frame until both ends have ended it, or one has
    /// reset it. `null` where not all frames were seen: one that is missing may have ended a stream.
    pub most_open: Option<u64>,
    /// RST_STREAM frames, by sender and code, in the order of the first of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub resets: Vec<Http2Reset>,
    /// GOAWAY frames; up to 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub goaways: Vec<Http2GoAway>,
    /// How each end, as a sender of DATA, was held up by the other's flow control.
    pub stalls: Sides<Http2Stalls>,
    /// gRPC; absent where no stream was of content type `application/grpc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcRecord>,
}

/// RST_STREAM frames that say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Http2Reset {
    /// By whom.
    pub from: Side,
    /// The error code, by RFC 9113, section 7: `CANCEL`.
    pub code: String,
    /// How many.
    pub count: u64,
}

/// A GOAWAY frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Http2GoAway {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub from: Side,
    /// The last stream of the other end that may have been processed.
    pub last_stream: u32,
    /// The error code, by RFC 9113, section 7: `NO_ERROR`.
    pub code: String,
}

/// Times that a sender's DATA had used a window up (RFC 9113, section 5.2): from the end of the DATA frame that left
/// nothing of it to the WINDOW_UPDATE or SETTINGS frame that gave some back, as they passed the capture point. They count
/// where the sender has sent more DATA in that window afterwards, which shows that it had more to send. `null` where not all
/// frames were seen from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Http2Stalls {
    /// By the window of the whole connection.
    pub connection: Option<Http2Stall>,
    /// By windows of streams, all streams together; times of several at once are added up.
    pub streams: Option<Http2Stall>,
}

/// How often, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Http2Stall {
    /// How often.
    pub count: u64,
    /// All of them together, in nanoseconds.
    pub time_ns: Nanos,
    /// The longest, in nanoseconds.
    pub max_ns: Nanos,
}

/// gRPC over a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GrpcRecord {
    /// Calls.
    pub calls: u64,
    /// Calls whose `grpc-status` was other than 0 (OK).
    pub errors: u64,
}

/// WebSocket over a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WebSocketRecord {
    /// Frames, by sender.
    pub frames: Sides<WebSocketFrames>,
    /// Octets of payload in frames of text and binary data, as they are on the wire, by sender.
    pub bytes: Sides<u64>,
    /// Messages are compressed (RFC 7692), as far as their first frames show.
    pub compressed: bool,
    /// The status code of each end's Close frame; 1005 where it holds none, `null` where none was seen.
    pub close_code: Sides<Option<u16>>,
    /// Octets are missing, and what that end sent after them is not counted.
    pub gap: Sides<bool>,
}

/// Frames by what they are (RFC 6455, section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WebSocketFrames {
    /// Text.
    pub text: u64,
    /// Binary data.
    pub binary: u64,
    /// More of the message before.
    pub continuation: u64,
    /// Ping.
    pub ping: u64,
    /// Pong.
    pub pong: u64,
    /// Close.
    pub close: u64,
}

impl WebSocketFrames {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { text, binary, continuation, ping, pong, close } = self;
        text + binary + continuation + ping + pong + close
    }
}
