//! TLS that should no longer be spoken.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Severity, Side};

/// See [`PAGE`].
pub struct OutdatedTls;

const PAGE: Page = Page {
    name: "outdated-tls",
    title: "outdated TLS version or cipher",
    severity: Severity::Warning,
    rests_on: RestsOn::Presence,
    meaning: "Both ends agreed on a version of TLS or on a cipher suite that is known to be weak and is forbidden by RFC 8996, \
              RFC 7465 or RFC 9325. Browsers and current libraries refuse it.",
    causes: &[
        "The server, or a device in front of it, is too old or configured for clients that are.",
        "The client's library is too old.",
    ],
    rule: &[
        "The ServerHello chose SSL 2.0, SSL 3.0, TLS 1.0 or TLS 1.1 (RFC 8996), or",
        "a cipher suite with RC4 (RFC 7465), DES, 3DES, export keys, MD5, no encryption or no authentication (RFC 9325, \
         section 4.1).",
    ],
    remedy: &[
        "See what the server offers: `nmap --script ssl-enum-ciphers -p {PORT} {SERVER}`",
        "Allow TLS 1.2 and 1.3 only: nginx `ssl_protocols TLSv1.2 TLSv1.3;`",
        "See what the client offers: `observer replay FILE --connection {ID}`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/many.rs::tls_that_fails_or_should_not_be_spoken",
        near_miss: "observer/src/finding/tests/many.rs::tls_that_fails_or_should_not_be_spoken",
    },
};

const VERSIONS: [&str; 4] = ["SSL 2.0", "SSL 3.0", "TLS 1.0", "TLS 1.1"];
const CIPHERS: [&str; 7] = ["_RC4_", "_DES_", "_DES40_", "_3DES_", "EXPORT", "_anon_", "_NULL_"];

impl Finding for OutdatedTls {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        let tls = record.tls.as_deref()?;
        let (version, cipher) = (tls.version.as_deref()?, tls.cipher.as_deref().unwrap_or("an unknown cipher suite"));
        let old = VERSIONS.contains(&version);
        let weak = CIPHERS.iter().any(|part| cipher.contains(part)) || cipher.ends_with("_MD5");
        let what = match (old, weak) {
            (false, false) => return None,
            (true, false) => format!("The server chose {version}, which RFC 8996 forbids."),
            (false, true) => format!("The server chose {cipher}, which is weak."),
            (true, true) => format!("The server chose {version} with {cipher}: both are outdated."),
        };
        let hello =
            tls.server_hello.map(|at| evidence::at(at, Side::Server, format!("ServerHello: {version}, {cipher}")));
        Some(Verdict::new(Severity::Warning, what).by(hello))
    }
}
