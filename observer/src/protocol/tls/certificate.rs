//! Certificates (RFC 5280), as TLS 1.2 and before send them in the clear.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use super::super::text::clean;
use crate::record::{Certificate, Validity};
use crate::time::Timestamp;

/// Names that are kept of one certificate.
const MOST_NAMES: usize = 32;
/// Characters of one.
const MOST_LETTERS: usize = 255;

/// Reads a certificate that was seen at `at` from a server that was asked for `asked`; `None` where it is none.
pub(super) fn parse(der: &[u8], at: Timestamp, asked: Option<&str>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let (now, _) = at.split();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut names = names(&certificate);
    let subject_names: Vec<&str> =
        certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    let matches = |asked: &str| {
        // The subject counts where there are no other names (RFC 6125, section 6.4.4).
        let by_names = names.iter().any(|name| is_for(name, asked));
        by_names || (names.is_empty() && subject_names.iter().any(|name| is_for(name, asked)))
    };
    // All of them are asked, however many are kept.
    let matches_name = asked.map(matches);
    names.truncate(MOST_NAMES);
    Some(Certificate {
        subject: name(certificate.subject()),
        issuer: name(certificate.issuer()),
        not_before,
        not_after,
        key: key(&certificate),
        validity: match () {
            () if now > not_after => Validity::Expired,
            () if now < not_before => Validity::NotYetValid,
            () => Validity::Valid,
        },
        matches_name,
        names,
    })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(clean(name.as_bytes(), MOST_LETTERS)),
        GeneralName::RFC822Name(name) => Some(clean(name.as_bytes(), MOST_LETTERS)),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

/// A distinguished name in the order it is written.
fn name(name: &X509Name<'_>) -> String {
    clean(name.to_string().as_bytes(), MOST_LETTERS)
}

/// Kind and size of the key.
fn key(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC {}", point.key_size()),
        Ok(PublicKey::DSA(_)) => "DSA".to_string(),
        _ => clean(certificate.public_key().algorithm.algorithm.to_string().as_bytes(), 64),
    }
}

/// Whether a certificate's name covers the one asked for: the same, or with its leftmost label left open (RFC 6125,
/// section 6.4.3).
fn is_for(name: &str, asked: &str) -> bool {
    let asked = asked.trim_end_matches('.');
    match name.strip_prefix("*.") {
        Some(domain) => asked.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(is_for("*.example.com", "www.Example.com"));
        assert!(!is_for("*.example.com", "a.b.example.com") && !is_for("*.example.com", "example.com"));
        assert!(is_for("example.com", "example.com."));
    }
}
