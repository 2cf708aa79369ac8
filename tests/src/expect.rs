//! What must be found in a capture: the `[[connection]]` tables of its description.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::run::objects;

/// A capture's description, as `observer lab run` prints it.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// The scenario.
    pub name: String,
    /// Thresholds other than those that hold by default.
    #[serde(default)]
    pub thresholds: Vec<String>,
    /// The findings that are in it, and no others, in the order of the alphabet.
    pub findings: Vec<String>,
    /// All its connections, in groups.
    pub connection: Vec<Group>,
}

/// Connections to one port.
#[derive(Clone, Debug, Deserialize)]
pub struct Group {
    /// The server's port.
    pub server_port: u64,
    /// How many there are.
    pub connections: usize,
    /// Paths into each one's record, with what must stand there.
    pub must: BTreeMap<String, String>,
}

impl Page {
    /// Reads a description.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// The connections that `observer` tells of a capture.
    pub fn connections(&self, observer: &Path, capture: &Path) -> Result<Vec<Value>> {
        objects(&self.run("replay", observer, capture)?, "connection")
    }

    /// The findings that `observer` has in a capture, in the order of the alphabet.
    pub fn found(&self, observer: &Path, capture: &Path) -> Result<Vec<String>> {
        let records = objects(&self.run("doctor", observer, capture)?, "finding")?;
        let mut found: Vec<String> =
            records.iter().filter_map(|record| Some(record.get("name")?.as_str()?.to_owned())).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// What a command of `observer` says of a capture. Its exit status tells whether something is wrong in it.
    fn run(&self, command: &str, observer: &Path, capture: &Path) -> Result<String> {
        let mut line = Command::new(observer);
        line.args([command, "--output", "json"]).arg(capture);
        line.args(self.thresholds.iter().flat_map(|threshold| ["--threshold", threshold]));
        let output = line.output().with_context(|| format!("running observer {command}"))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What does not hold of these connections, one line each.
    pub fn failures(&self, connections: &[Value]) -> Vec<String> {
        let mut failures = Vec::new();
        let mut expected = 0;
        for group in &self.connection {
            expected += group.connections;
            let port = Value::from(group.server_port);
            let found: Vec<&Value> =
                connections.iter().filter(|record| record.pointer("/server/port") == Some(&port)).collect();
            if found.len() != group.connections {
                failures.push(format!("{} connections to port {port}, not {}", found.len(), group.connections));
            }
            for record in found {
                let id = record.get("id").unwrap_or(&Value::Null);
                for (path, condition) in &group.must {
                    let value = record.pointer(&format!("/{}", path.replace('.', "/")));
                    if !value.is_some_and(|value| holds(value, condition)) {
                        let value = value.map_or("absent".to_owned(), ToString::to_string);
                        failures.push(format!("connection {id} to port {port}: {path} is {value}, not {condition}"));
                    }
                }
            }
        }
        if connections.len() != expected {
            failures.push(format!("{} connections in all, not {expected}", connections.len()));
        }
        failures
    }
}

/// Whether a condition of a description holds of a value: `>= N`, `<= N`, `has TEXT`, `A | B`, or the value itself.
fn holds(value: &Value, condition: &str) -> bool {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let bound = |prefix: &str| condition.strip_prefix(prefix).and_then(|bound| bound.parse::<f64>().ok());
    if let Some(least) = bound(">= ") {
        value.as_f64().is_some_and(|number| number >= least)
    } else if let Some(most) = bound("<= ") {
        value.as_f64().is_some_and(|number| number <= most)
    } else if let Some(part) = condition.strip_prefix("has ") {
        text.contains(part)
    } else {
        condition.split(" | ").any(|one| one == text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions() {
        for (value, condition, expected) in [
            (json!("SF"), "SF", true),
            (json!("SF"), "S1", false),
            (json!("SF"), "S1 | SF", true),
            (json!(3), "3", true),
            (json!(3), ">= 3", true),
            (json!(3), ">= 4", false),
            (json!(3), "<= 2", false),
            (json!(null), ">= 0", false),
            (json!(null), "null", true),
            (json!([42]), "[42]", true),
            (json!("ShADt"), "has t", true),
            (json!("ShAD"), "has t", false),
        ] {
            assert_eq!(holds(&value, condition), expected, "{value} against {condition:?}");
        }
    }

    #[test]
    fn a_connection_too_many_is_a_failure() {
        let page = Page {
            name: "x".to_owned(),
            thresholds: Vec::new(),
            findings: Vec::new(),
            connection: vec![Group {
                server_port: 80,
                connections: 1,
                must: BTreeMap::from([("bytes.client".to_owned(), "7".to_owned())]),
            }],
        };
        let good = json!({"id": 1, "server": {"port": 80}, "bytes": {"client": 7}});
        let other = json!({"id": 2, "server": {"port": 81}, "bytes": {"client": 7}});
        assert_eq!(page.failures(std::slice::from_ref(&good)), Vec::<String>::new());
        assert_eq!(page.failures(&[good.clone(), other]), ["2 connections in all, not 1"]);
        assert_eq!(page.failures(&[good.clone(), good]).len(), 2);
    }
}
