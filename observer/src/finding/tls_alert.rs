//! TLS says why it ends.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Severity};

/// See [`PAGE`].
pub struct TlsAlert;

const PAGE: Page = Page {
    name: "tls-alert",
    title: "TLS handshake failed with an alert",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "One end ended the TLS handshake with a fatal alert that went by in the clear. Who sent it is the one that did \
              not like what the other end did; its description says what.",
    causes: &[
        "handshake_failure, protocol_version, insufficient_security: no version, cipher suite or group in common.",
        "unknown_ca, bad_certificate, certificate_unknown: the receiver does not trust the other end's certificate.",
        "certificate_expired: the certificate or one above it has expired, or a clock is wrong.",
        "unrecognized_name: the server has no certificate for the name that was asked for (SNI).",
        "certificate_required: the server wants a client certificate, and got none.",
    ],
    rule: &["A fatal alert was read in the clear (RFC 8446, section 6.2; RFC 5246, section 7.2.2)."],
    remedy: &[
        "See what the server offers: `openssl s_client -connect {SERVER}:{PORT} -servername {NAME} </dev/null`",
        "See which versions it speaks: `openssl s_client -connect {SERVER}:{PORT} -tls1_2 </dev/null`, the same with \
         -tls1_3",
        "See what the client offered: `observer replay FILE --connection {ID}`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::tls_that_fails_or_should_not_be_spoken",
        near_miss: "observer/src/finding/tests/many.rs::tls_that_fails_or_should_not_be_spoken",
    },
};

impl Finding for TlsAlert {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let tls = record.tls.as_deref()?;
        let alert = tls.alerts.iter().find(|alert| alert.fatal && alert.description != "close_notify")?;
        let who = super::verdict::name(alert.from);
        let description = &alert.description;
        let verdict = Verdict::new(Severity::Error, format!("The {who} ended TLS with the alert {description}."))
            .by([evidence::at(alert.at, alert.from, format!("alert {description}"))])
            .with("NAME", tls.sni.as_deref().unwrap_or("NAME"));
        Some(verdict)
    }
}
