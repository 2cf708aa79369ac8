//! Why a connection was closed (RFC 9000, section 20; RFC 9368, section 7).

use super::super::tls::quic::alert_name;

/// The TLS alert that an error code stands for (RFC 9001, section 4.8).
pub(super) fn alert(code: u64) -> Option<u8> {
    code.checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}

/// An error code by its name. What the codes of applications mean, they agree on themselves.
pub(super) fn name(code: u64, of_application: bool) -> String {
    if of_application {
        return format!("application error 0x{code:x}");
    }
    if let Some(alert) = alert(code) {
        return alert_name(alert);
    }
    let name = match code {
        0x00 => "NO_ERROR",
        0x01 => "INTERNAL_ERROR",
        0x02 => "CONNECTION_REFUSED",
        0x03 => "FLOW_CONTROL_ERROR",
        0x04 => "STREAM_LIMIT_ERROR",
        0x05 => "STREAM_STATE_ERROR",
        0x06 => "FINAL_SIZE_ERROR",
        0x07 => "FRAME_ENCODING_ERROR",
        0x08 => "TRANSPORT_PARAMETER_ERROR",
        0x09 => "CONNECTION_ID_LIMIT_ERROR",
        0x0a => "PROTOCOL_VIOLATION",
        0x0b => "INVALID_TOKEN",
        0x0c => "APPLICATION_ERROR",
        0x0d => "CRYPTO_BUFFER_EXCEEDED",
        0x0e => "KEY_UPDATE_ERROR",
        0x0f => "AEAD_LIMIT_REACHED",
        0x10 => "NO_VIABLE_PATH",
        0x11 => "VERSION_NEGOTIATION_ERROR",
        _ => return format!("0x{code:x}"),
    };
    name.to_string()
}
