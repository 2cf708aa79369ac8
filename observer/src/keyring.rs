//! The secrets that are known so far: those of `--keylog`, and those that captures bring.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use observer::capture::Chunk;
use observer::keylog::{KeyLog, Keys};
use observer::record::SecretsRecord;

/// Collects secrets.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: Option<Arc<Keys>>,
}

impl Keyring {
    /// With those of `log`.
    pub fn new(log: KeyLog) -> Self {
        let mut ring = Self::default();
        ring.add(log);
        ring
    }

    /// Takes those that `chunk` brings. Returns what is known from this chunk on; `None` where that is nothing.
    pub fn with(&mut self, chunk: &mut Chunk) -> Option<Arc<Keys>> {
        self.add(std::mem::take(&mut chunk.keys));
        self.known()
    }

    /// What is known.
    pub fn known(&self) -> Option<Arc<Keys>> {
        self.keys.clone()
    }

    /// How many there are; `None` where there was nothing to read.
    pub fn record(&self) -> Option<SecretsRecord> {
        let (known, ignored) = self.keys.as_ref()?.counts();
        Some(SecretsRecord { known, ignored })
    }

    fn add(&mut self, log: KeyLog) {
        if log.is_empty() {
            return;
        }
        let mut keys = self.keys.as_deref().cloned().unwrap_or_default();
        keys.add(log);
        self.keys = Some(Arc::new(keys));
    }
}

/// A key log that programs write to meanwhile.
#[derive(Debug)]
pub struct GrowingLog {
    path: PathBuf,
    file: File,
    /// The front of a line whose end was not written yet.
    begun: Vec<u8>,
    ring: Keyring,
}

/// Octets that are read at once, and of a line.
const MOST_READ: u64 = 1 << 20;
const MOST_LINE: usize = 4 << 10;

impl GrowingLog {
    /// Opens it; what it holds already is the first news.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening the key log {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, begun: Vec::new(), ring: Keyring::default() })
    }

    /// What is known now, where that is more than when it was asked last.
    pub fn news(&mut self) -> Result<Option<Arc<Keys>>> {
        let mut read = (&self.file).take(MOST_READ);
        let octets = read.read_to_end(&mut self.begun);
        if octets.with_context(|| format!("reading the key log {}", self.path.display()))? == 0 {
            return Ok(None);
        }
        let whole = self.begun.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
        let mut log = KeyLog::default();
        log.read(self.begun.get(..whole).unwrap_or_default());
        self.begun.drain(..whole);
        if self.begun.len() > MOST_LINE {
            self.begun.clear();
        }
        if log.is_empty() {
            return Ok(None);
        }
        self.ring.add(log);
        Ok(self.ring.known())
    }
}

/// Reads a key log file.
pub fn read(path: &Path) -> Result<KeyLog> {
    let text = std::fs::read(path).with_context(|| format!("reading the key log {}", path.display()))?;
    let mut log = KeyLog::default();
    log.read(&text);
    if log.secrets() == 0 {
        eprintln!("observer: {} holds no secret of a kind that is known", path.display());
    }
    Ok(log)
}
