//! The process at one end of a connection, and how it is known.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::Side;
use super::target::redacted;

/// A process at one end of a connection, as comments on the packets name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProcessRecord {
    /// The end it runs at; `null` where the capture does not say which way the packets went.
    pub side: Option<Side>,
    /// Process identifier.
    pub pid: Option<u32>,
    /// Name of the process or of its program's file.
    pub name: Option<String>,
    /// Path of its program.
    pub command: Option<String>,
    /// Its arguments, separated by spaces; `…` stands at the end where there are more. Of those with a URI in them, users,
    /// passwords and values are not told; what else is secret in them is.
    pub args: Option<String>,
    /// The user it runs as.
    pub uid: Option<u32>,
    /// Process identifier of its parent.
    pub parent_pid: Option<u32>,
    /// Process identifiers of its parent, of its parent's parent and so on, as far as they were seen to start each other;
    /// not told.
    #[serde(skip)]
    pub ancestors: Vec<u32>,
    /// Name of the container it runs in.
    pub container: Option<String>,
    /// Identifier of that container.
    pub container_id: Option<String>,
    /// Name of the Kubernetes pod it runs in.
    pub pod: Option<String>,
    /// Namespace of that pod.
    pub namespace: Option<String>,
    /// Its cgroup, from the root of cgroup v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub cgroup: Option<String>,
    /// The systemd unit that the cgroup belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub unit: Option<String>,
    /// How it is known to be its; absent for what packet comments say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub how: Option<OwnerHow>,
}

impl ProcessRecord {
    /// [`Self::args`] from the words of a command line behind the first.
    pub fn arguments(words: &[String]) -> String {
        let told = words.iter().map(|word| if word.contains("://") { redacted(word).into() } else { Cow::from(word) });
        told.collect::<Vec<_>>().join(" ")
    }
}

/// How it is known that a socket belongs to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerHow {
    /// It called connect(2).
    Connect,
    /// It called listen(2).
    Listen,
    /// accept(2) gave it the socket. Where the kernel lets no program see how that ends: it was the first to ask who the peer
    /// is, as accept(2) does for those who want to know.
    Accept,
    /// It had a file descriptor of the socket when that was looked for.
    Descriptor,
    /// It closed the socket: the last to hold it.
    Close,
    /// It listens on the port that the connection came to; who took it over was not seen.
    Listener,
    /// Only the user is known that the socket belongs to (`sk_uid`).
    User,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_uri_is_not_told() {
        let words =
            ["-s", "http://user:hunter2@127.0.0.1:8000/a?password=s3cret&b=", "--proxy=socks5://u:p@h:1", "a=b"];
        let told = ProcessRecord::arguments(&words.map(str::to_owned));
        assert_eq!(told, "-s http://…@127.0.0.1:8000/a?password=…&b= --proxy=socks5://…@h:1 a=b");
    }
}
