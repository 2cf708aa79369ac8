//! The server's certificate is not good: three findings that differ in why.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{Certificate, ConnectionRecord, Severity, Side, TlsRecord, Validity};
use crate::time::{Nanos, Timestamp};
use crate::units;

/// See [`EXPIRED`].
pub struct Expired;
/// See [`NOT_YET_VALID`].
pub struct NotYetValid;
/// See [`OTHER_NAME`].
pub struct OtherName;

const EXPIRED: Page = Page {
    name: "certificate-expired",
    title: "server certificate expired",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "The certificate that the server sent had expired when it was sent. Clients that verify refuse it. Before \
              TLS 1.3 only: later versions encrypt certificates.",
    causes: &["It was not renewed, or it was and the server was not reloaded.", "The server's chain holds an old one."],
    rule: &[
        "A Certificate message was read in the clear (RFC 5246, section 7.4.2).",
        "notAfter of the server's own certificate lies before the moment it was sent (RFC 5280, section 4.1.2.5).",
    ],
    remedy: &[
        "See what is served: `openssl s_client -connect {SERVER}:{PORT} -servername {NAME} </dev/null | openssl x509 -noout \
         -dates`",
        "Renew it and reload the server: `certbot renew && systemctl reload nginx`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::certificates_that_are_no_good",
        near_miss: "observer/src/finding/tests/many.rs::certificates_that_are_no_good",
    },
};

const NOT_YET_VALID: Page = Page {
    name: "certificate-not-yet-valid",
    title: "server certificate not yet valid",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "The certificate that the server sent begins to be valid later than it was sent. Clients that verify refuse it. \
              Before TLS 1.3 only.",
    causes: &["A clock is wrong: the issuer's, the client's, or that of the capture.", "It was deployed too early."],
    rule: &[
        "A Certificate message was read in the clear (RFC 5246, section 7.4.2).",
        "notBefore of the server's own certificate lies after the moment it was sent (RFC 5280, section 4.1.2.5).",
    ],
    remedy: &[
        "Compare the clocks: `chronyc tracking` or `timedatectl` at both ends",
        "See what is served: `openssl s_client -connect {SERVER}:{PORT} -servername {NAME} </dev/null | openssl x509 -noout \
         -dates`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::certificates_that_are_no_good",
        near_miss: "observer/src/finding/tests/many.rs::certificates_that_are_no_good",
    },
};

const OTHER_NAME: Page = Page {
    name: "certificate-other-name",
    title: "server certificate for another name",
    severity: Severity::Error,
    rests_on: RestsOn::Presence,
    meaning: "The client asked for a name, and the certificate that the server sent is not for it. Clients that verify refuse \
              it. Before TLS 1.3 only.",
    causes: &[
        "The server has no certificate for the name and sends its default one.",
        "DNS leads to another server than was meant.",
        "Something on the way ends TLS: a captive portal, an inspecting proxy.",
    ],
    rule: &[
        "The ClientHello named a server (SNI; RFC 6066, section 3).",
        "No subjectAltName of the server's own certificate matches it (RFC 9525, section 6).",
    ],
    remedy: &[
        "See for whom it is: `openssl s_client -connect {SERVER}:{PORT} -servername {NAME} </dev/null | openssl x509 -noout \
         -ext subjectAltName`",
        "See where the name leads: `dig +short {NAME}`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::certificates_that_are_no_good",
        near_miss: "observer/src/finding/tests/many.rs::certificates_that_are_no_good",
    },
};

impl Finding for Expired {
    fn page(&self) -> &'static Page {
        &EXPIRED
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let (tls, certificate) = own(record)?;
        if certificate.validity != Validity::Expired {
            return None;
        }
        let ended = moment(certificate.not_after);
        let ago = record.first_seen.since(ended);
        let ago = if ago > Nanos(0) { format!(", {} before", units::time(ago)) } else { String::new() };
        let what = format!("The certificate of {} expired on {}{ago}.", certificate.subject, units::date(ended));
        Some(verdict(record, tls, certificate, what))
    }
}

impl Finding for NotYetValid {
    fn page(&self) -> &'static Page {
        &NOT_YET_VALID
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let (tls, certificate) = own(record)?;
        if certificate.validity != Validity::NotYetValid {
            return None;
        }
        let begins = units::date(moment(certificate.not_before));
        let what = format!("The certificate of {} is valid from {begins} on, which had not come.", certificate.subject);
        Some(verdict(record, tls, certificate, what))
    }
}

impl Finding for OtherName {
    fn page(&self) -> &'static Page {
        &OTHER_NAME
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let (tls, certificate) = own(record)?;
        if certificate.matches_name != Some(false) {
            return None;
        }
        const NAMED: usize = 3;
        let names: Vec<&str> = certificate.names.iter().take(NAMED).map(String::as_str).collect();
        let more = if certificate.names.len() > NAMED { ", …" } else { "" };
        let names = if names.is_empty() { certificate.subject.clone() } else { names.join(", ") + more };
        let asked = tls.sni.as_deref().unwrap_or("?");
        let what = format!("The client asked for {asked}, and the certificate is for {names}.");
        Some(verdict(record, tls, certificate, what))
    }
}

/// The server's own certificate.
fn own(record: &ConnectionRecord) -> Option<(&TlsRecord, &Certificate)> {
    let tls = record.tls.as_deref()?;
    Some((tls, tls.certificates.first()?))
}

fn verdict(record: &ConnectionRecord, tls: &TlsRecord, certificate: &Certificate, what: String) -> Verdict {
    let sent = format!("certificate {}, issued by {}", certificate.subject, certificate.issuer);
    let at = tls.server_hello.unwrap_or(record.first_seen);
    Verdict::new(Severity::Error, what)
        .by([evidence::at(at, Side::Server, sent)])
        .with("NAME", tls.sni.as_deref().unwrap_or("NAME"))
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000))
}
