//! What SSH (RFC 4253) shows of itself.

use schemars::JsonSchema;
use serde::Serialize;

use super::Sides;

/// SSH, up to its key exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SshRecord {
    /// The line by which each end names its version.
    pub banners: Sides<Option<String>>,
    /// The method of key exchange that both ends come to.
    pub key_exchange: Option<String>,
    /// The algorithm of the server's key.
    pub host_key: Option<String>,
    /// The cipher of what each end sends.
    pub cipher: Sides<Option<String>>,
    /// The authentication code of what each end sends; of no use with some ciphers.
    pub mac: Sides<Option<String>>,
}
