//! `observer-ebpf/observer.bpf.toml`: what the committed object was built from, and with what.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What stands in the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The digest of the programs' sources.
    pub sources: String,
    /// What each toolchain gave; the first one's object is the committed one.
    #[serde(rename = "build", default)]
    pub builds: Vec<Build>,
}

/// What one toolchain gave.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The compiler, as it names itself.
    pub rustc: String,
    /// The linker and the LLVM in it.
    pub linker: String,
    /// The object's SHA-256.
    pub object: String,
}

const HEAD: &str = "\
# Written by `cargo xtask ebpf`: the digest of the eBPF programs' sources, and of the object that each toolchain makes
# of them. The first one's is observer.bpf.o. `cargo xtask test` holds sources, object and a new build against this.

";

impl Record {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).context("writing TOML")?;
        fs::write(path, format!("{HEAD}{text}")).with_context(|| format!("writing {}", path.display()))
    }

    /// What this compiler and linker gave, where it is known.
    pub fn of_same_tools(&self, other: &Build) -> Option<&Build> {
        self.builds.iter().find(|build| build.rustc == other.rustc && build.linker == other.linker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(rustc: &str) -> Build {
        Build { rustc: rustc.to_owned(), linker: "bpf-linker 0.13.0".to_owned(), object: "00".to_owned() }
    }

    #[test]
    fn reads_back_what_it_wrote_and_finds_the_same_tools() {
        let record = Record { sources: "ab".to_owned(), builds: vec![build("rustc 1.97"), build("rustc 1.96")] };
        let text = toml::to_string(&record).expect("TOML");
        assert_eq!(toml::from_str::<Record>(&format!("{HEAD}{text}")).expect("a record"), record);
        assert_eq!(record.of_same_tools(&build("rustc 1.96")), record.builds.get(1));
        assert_eq!(record.of_same_tools(&build("rustc 1.98")), None);
    }
}
