//! What a request was for, as a URL.

use std::net::IpAddr;

use observer::record::{ConnectionRecord, Exchange};

/// `https` for what came within TLS; what a proxy is asked for has not begun to be.
pub fn scheme(record: &ConnectionRecord, exchange: &Exchange) -> &'static str {
    let is_tunnel = exchange.method.as_deref() == Some("CONNECT");
    if record.tls.is_some() && !is_tunnel { "https" } else { "http" }
}

/// The URL that an exchange was for. Where the request names no host, it is the connection's.
pub fn url(record: &ConnectionRecord, exchange: &Exchange) -> String {
    let scheme = scheme(record, exchange);
    let usual = if scheme == "https" { 443 } else { 80 };
    let host = exchange.host.clone().unwrap_or_else(|| {
        let name = record.name.as_ref().map(|name| name.name.clone());
        let name = name.unwrap_or_else(|| match record.server.ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        });
        if record.server.port == usual { name } else { format!("{name}:{}", record.server.port) }
    });
    let path = exchange.path.as_deref().unwrap_or_default();
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{host}{slash}{path}")
}
