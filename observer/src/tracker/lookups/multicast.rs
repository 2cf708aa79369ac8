//! Questions to everyone: whoever knows answers everyone, without saying whom (RFC 6762), or who asked (RFC 4795).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use super::Asked;
use super::repeats::Topic;

/// Clients that wait for the answer to the same question.
const MOST_CLIENTS: usize = 64;

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Askers(HashMap<Topic, VecDeque<Asked>>);

impl Askers {
    /// What everyone who asks for a name and a type waits for.
    pub(super) fn topic(name: &str, kind: &str) -> Topic {
        Topic::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), name, kind)
    }

    /// One more waits.
    pub(super) fn ask(&mut self, topic: Topic, asked: Asked) {
        let askers = self.0.entry(topic).or_default();
        if askers.len() >= MOST_CLIENTS {
            askers.pop_front();
        }
        askers.push_back(asked);
    }

    /// One waits no more.
    pub(super) fn give_up(&mut self, topic: Topic, asked: &Asked) {
        if let Some(askers) = self.0.get_mut(&topic) {
            askers.retain(|other| other != asked);
            if askers.is_empty() {
                self.0.remove(&topic);
            }
        }
    }

    /// Who waits for an answer that is at hand: all of them, or one, where it was sent to that one alone.
    pub(super) fn answer(&mut self, topic: Topic, alone: Option<IpAddr>) -> Vec<Asked> {
        let Some(mut askers) = self.0.remove(&topic) else { return Vec::new() };
        if let Some(ip) = alone {
            let (those, others) = askers.into_iter().partition(|asked| asked.client.ip == ip);
            askers = those;
            if !others.is_empty() {
                self.0.insert(topic, others);
            }
        }
        askers.into()
    }
}
