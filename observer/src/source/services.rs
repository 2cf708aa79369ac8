//! The names of TCP's ports: services(5).

use std::collections::HashMap;
use std::fs;

/// What `/etc/services` says.
#[derive(Debug, Default)]
pub struct Services {
    names: HashMap<u16, String>,
    ports: HashMap<String, u16>,
}

impl Services {
    /// Reads the file; where there is none, no port has a name.
    pub fn read() -> Self {
        fs::read_to_string("/etc/services").map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut services = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let (Some(name), Some((port, "tcp"))) = (words.next(), words.next().and_then(|word| word.split_once('/')))
            else {
                continue;
            };
            let Ok(port) = port.parse() else { continue };
            services.names.entry(port).or_insert_with(|| name.to_string());
            for name in words.chain([name]) {
                services.ports.entry(name.to_string()).or_insert(port);
            }
        }
        services
    }

    /// The name of a port.
    pub fn name(&self, port: u16) -> Option<&str> {
        self.names.get(&port).map(String::as_str)
    }

    /// The port of a service, by its name or another name it has.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.ports.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_other_names_are_read_for_tcp() {
        let services =
            Services::parse("# all\nhttp\t80/tcp\twww # web\ndomain 53/udp\nssh 22/tcp\nhttp-alt 8080/tcp\n");
        assert_eq!((services.name(80), services.name(53)), (Some("http"), None));
        assert_eq!((services.port("www"), services.port("ssh"), services.port("domain")), (Some(80), Some(22), None));
    }
}
