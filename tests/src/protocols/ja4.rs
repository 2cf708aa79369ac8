//! JA4 and JA4S, as the ja4 project's own Python program has them.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Corpus, Tally, place, sorted, text};

pub(super) fn compare(corpus: &Corpus<'_>, tally: &mut Tally) -> Result<()> {
    for (capture, file) in corpus.results("ja4")? {
        if !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python__")) {
            continue;
        }
        let records = corpus.replay(&capture, &[])?;
        let streams: Vec<Value> =
            serde_json::from_str(&fs::read_to_string(&file)?).with_context(|| format!("reading {}", file.display()))?;
        for stream in &streams {
            let end = |ip: &str, port: &str| Some((text(stream, ip), text(stream, port).parse().ok()?));
            let Some((from, to)) = end("/src", "/srcport").zip(end("/dst", "/dstport")) else { continue };
            let Some(tls) = records.tls(&sorted(from, to)) else { continue };
            let place = place(&file, &stream["stream"]);
            for (name, field, own) in [("JA4", "JA4.1", "/ja4"), ("JA4S", "JA4S", "/ja4s")] {
                if let Some(theirs) = stream[field].as_str() {
                    tally.compare(&place, ("ja4", name), &text(tls, own), theirs);
                }
            }
        }
    }
    Ok(())
}
