//! Digests: of a file, and of everything that the eBPF programs are built from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The package that holds the programs, and its folder in the workspace.
const PACKAGE: &str = "observer-ebpf";

/// The digest of the programs' sources in the workspace at `root`: their files, their manifest, and the versions that
/// Cargo.lock gives to the packages below theirs. The other packages of the lock file are left out: that one of those
/// was updated does not change the programs.
pub fn sources(root: &Path) -> Result<String> {
    let package = root.join(PACKAGE);
    let mut files = vec![package.join("Cargo.toml")];
    list(&package.join("src"), &mut files)?;
    let mut parts = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        parts.insert(name, fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    let lock = root.join("Cargo.lock");
    let text = fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
    let locked = locked(&text).with_context(|| format!("reading {}", lock.display()))?;
    parts.insert("Cargo.lock".to_owned(), locked.into_bytes());
    Ok(of_parts(&parts))
}

/// The digest of one file.
pub fn of_file(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

/// Names and lengths go in too, so that no two sets of files give the same bytes.
fn of_parts(parts: &BTreeMap<String, Vec<u8>>) -> String {
    let mut digest = Sha256::new();
    for (name, bytes) in parts {
        digest.update(format!("{name}\0{}\0", bytes.len()));
        digest.update(bytes);
    }
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Adds all files below `folder`.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// A Cargo.lock.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// One line for each package that the programs' package leads to, itself among them: name, version, checksum.
fn locked(lock: &str) -> Result<String> {
    let lock: Lock = toml::from_str(lock)?;
    let mut found = BTreeMap::new();
    let mut wanted = vec![PACKAGE];
    while let Some(wish) = wanted.pop() {
        // `name`, or `name version` where there are several versions.
        let (name, version) = wish.split_once(' ').map_or((wish, None), |(name, version)| (name, Some(version)));
        let package = lock.package.iter().find(|p| p.name == name && version.is_none_or(|v| p.version == v));
        let package = package.with_context(|| format!("there is no package {wish}"))?;
        if found.insert((&package.name, &package.version), package).is_none() {
            wanted.extend(package.dependencies.iter().map(String::as_str));
        }
    }
    let line = |package: &Locked| {
        format!("{} {} {}\n", package.name, package.version, package.checksum.as_deref().unwrap_or("-"))
    };
    Ok(found.into_values().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\
        [[package]]\nname = \"observer-ebpf\"\nversion = \"0.1.0\"\ndependencies = [\"aya-ebpf\", \"syn 2.0.1\"]\n\
        [[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\nchecksum = \"aa\"\ndependencies = [\"syn 2.0.1\"]\n\
        [[package]]\nname = \"syn\"\nversion = \"2.0.1\"\nchecksum = \"bb\"\n\
        [[package]]\nname = \"syn\"\nversion = \"3.0.0\"\nchecksum = \"cc\"\n\
        [[package]]\nname = \"clap\"\nversion = \"4.0.0\"\nchecksum = \"dd\"\n";

    #[test]
    fn only_packages_below_the_programs_count() {
        let before = locked(LOCK).expect("a lock file");
        assert_eq!(before, "aya-ebpf 0.2.1 aa\nobserver-ebpf 0.1.0 -\nsyn 2.0.1 bb\n");
        assert_eq!(locked(&LOCK.replace("4.0.0", "4.1.0")).expect("a lock file"), before);
        assert_ne!(locked(&LOCK.replace("bb", "ee")).expect("a lock file"), before);
        assert!(locked("package = []").is_err());
    }

    #[test]
    fn names_and_bytes_of_files_count() {
        let digest = |parts: &[(&str, &str)]| {
            of_parts(&parts.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect())
        };
        assert_eq!(digest(&[("a", "1"), ("b", "2")]), digest(&[("b", "2"), ("a", "1")]));
        assert_ne!(digest(&[("a", "12")]), digest(&[("a", "1")]));
        assert_ne!(digest(&[("a", "1")]), digest(&[("b", "1")]));
        assert_eq!(hex(&Sha256::digest(b"")).len(), 64);
    }
}
