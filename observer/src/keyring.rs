//! The secrets that are known so far: those of `--keylog`, and those that captures bring.

use std::path::Path;
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
