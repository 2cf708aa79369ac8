//! The file system that a kernel boots into: a cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{self, output};

/// An archive that is being written. Several, one behind the other, are one file system to the kernel.
pub struct Archive {
    file: BufWriter<File>,
    path: PathBuf,
    /// How many entries there are: each is an inode of its own.
    entries: u32,
    /// What is in it already.
    names: BTreeSet<PathBuf>,
}

/// The kind of a file, as the upper bits of its mode say it.
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Archive {
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned(), entries: 0, names: BTreeSet::new() })
    }

    /// Adds a folder, and those it is in.
    pub fn folder(&mut self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent().filter(|parent| parent.parent().is_some()) {
            self.folder(parent)?;
        }
        self.entry(path, FOLDER | 0o755, (0, 0), &[])
    }

    /// Adds a file and the folders it is in.
    pub fn file(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        self.folder(path.parent().context("a file without a folder")?)?;
        self.entry(path, REGULAR | mode, (0, 0), bytes)
    }

    /// Adds the device that the kernel gives to the first process as its terminal.
    pub fn console(&mut self) -> Result<()> {
        self.folder(Path::new("/dev"))?;
        self.entry(Path::new("/dev/console"), CHARACTER_DEVICE | 0o600, (5, 1), &[])
    }

    /// Adds a program of this machine as `path`, without its debugging information, and the libraries it needs where
    /// it looks for them.
    pub fn program(&mut self, program: &Path, path: &Path) -> Result<()> {
        let stripped = self.path.with_extension("stripped");
        process::run(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
        let bytes = fs::read(&stripped).with_context(|| format!("reading {}", stripped.display()))?;
        fs::remove_file(&stripped).with_context(|| format!("removing {}", stripped.display()))?;
        self.file(path, 0o755, &bytes)?;
        for library in libraries(program)? {
            let bytes = fs::read(&library).with_context(|| format!("reading {}", library.display()))?;
            let mode = fs::metadata(&library).with_context(|| format!("reading {}", library.display()))?.permissions();
            self.file(&library, mode.mode() & 0o777, &bytes)?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<()> {
        self.write("TRAILER!!!", 0, (0, 0), &[])?;
        self.file.flush().with_context(|| format!("writing {}", self.path.display()))
    }

    fn entry(&mut self, path: &Path, mode: u32, device: (u32, u32), bytes: &[u8]) -> Result<()> {
        if !self.names.insert(path.to_owned()) {
            return Ok(());
        }
        let name = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        self.write(name.trim_start_matches('/'), mode, device, bytes)
    }

    fn write(&mut self, name: &str, mode: u32, device: (u32, u32), bytes: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(bytes.len()).with_context(|| format!("{name} is too large"))?;
        let name_size = u32::try_from(name.len() + 1).context("a name is too long")?;
        let mut header = "070701".to_owned();
        // inode, mode, user, group, links, time, size, device of the file system, device, size of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        header.extend(fields.map(|field| format!("{field:08x}")));
        header.push_str(name);
        header.push('\0');
        for part in [header.as_bytes(), bytes] {
            // Each part ends where a multiple of four octets does.
            let padding = &[0; 3][..part.len().next_multiple_of(4) - part.len()];
            let written = self.file.write_all(part).and_then(|()| self.file.write_all(padding));
            written.with_context(|| format!("writing {}", self.path.display()))?;
        }
        Ok(())
    }
}

/// The libraries that a program loads, and the program that loads them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = output(Command::new("ldd").arg(program)).unwrap_or_default();
    Ok(paths(&text))
}

/// The paths in what ldd prints: `libc.so.6 => /lib/libc.so.6 (0x7f…)`, `/lib64/ld-linux-x86-64.so.2 (0x7f…)`.
fn paths(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x0)\n";
        assert_eq!(paths(text), [Path::new("/lib/x/libc.so.6"), Path::new("/lib64/ld.so.2")]);
        assert!(paths("\tstatically linked\n").is_empty());
    }
}
