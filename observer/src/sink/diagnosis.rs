//! What `observer doctor` gathers: findings, and what many connections show together.

use std::io::Write;

use anyhow::Result;
use observer::finding::{Context, Readings, Report, Thresholds};
use observer::record::{CaptureRecord, ConnectionRecord, FindingRecord, GaugeRecord, LookupRecord, Object};

use super::{Sink, json};

/// Gathers findings.
pub struct Diagnosis {
    report: Report,
    thresholds: Thresholds,
    connections: u64,
}

impl Diagnosis {
    /// Nothing found yet.
    pub fn new(thresholds: Thresholds) -> Self {
        Self { report: Report::default(), thresholds, connections: 0 }
    }

    /// Takes in what gauges show while the host is watched.
    pub fn passing(&mut self, readings: &[GaugeRecord]) {
        self.report.passing(Readings(readings), &context(&self.thresholds, readings));
    }

    /// Takes in what gauges show in the end.
    pub fn gauges(&mut self, readings: &[GaugeRecord]) {
        self.report.gauges(Readings(readings), &context(&self.thresholds, readings));
    }

    /// What was found by the sinks of all shards, the worst first.
    pub fn findings(sinks: Vec<Self>, capture: &CaptureRecord) -> Vec<FindingRecord> {
        let Some(thresholds) = sinks.first().map(|sink| sink.thresholds) else { return Vec::new() };
        let mut report = Report::default();
        sinks.into_iter().for_each(|sink| report.merge(sink.report));
        let lost = capture.dropped.is_some_and(|dropped| dropped > 0);
        report.finish(&Context { thresholds: &thresholds, until: capture.last_seen.unwrap_or_default(), lost })
    }
}

/// What rules over the readings of a sweep go by.
fn context<'a>(thresholds: &'a Thresholds, readings: &[GaugeRecord]) -> Context<'a> {
    let until = readings.iter().map(|reading| reading.at).max().unwrap_or_default();
    Context { thresholds, until, lost: false }
}

impl Sink for Diagnosis {
    fn connection(&mut self, record: Box<ConnectionRecord>) -> Result<()> {
        self.connections += 1;
        self.report.connection(&record);
        Ok(())
    }

    fn lookup(&mut self, record: Box<LookupRecord>) -> Result<()> {
        self.report.lookup(&record);
        Ok(())
    }

    fn has_printed(&self) -> bool {
        self.connections > 0
    }

    fn finish(sinks: Vec<Self>, capture: &CaptureRecord, out: &mut dyn Write) -> Result<()> {
        let found = Self::findings(sinks, capture);
        found.into_iter().try_for_each(|record| json::line(&mut *out, &Object::Finding(Box::new(record))))
    }
}
