//! What the subcommands that judge share: from where on something is wrong.

use observer::finding::Thresholds;

/// From where on something is wrong.
#[derive(Clone, Debug, clap::Args)]
pub struct Judging {
    /// Set a threshold of the findings (`observer explain --thresholds` lists them); may be given several times
    #[arg(long = "threshold", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<String>,
}

impl Judging {
    /// All thresholds.
    pub fn thresholds(&self) -> Thresholds {
        let mut thresholds = Thresholds::default();
        for given in &self.settings {
            // Each was tried when the command line was read.
            let _ = thresholds.set(given);
        }
        thresholds
    }
}

fn setting(given: &str) -> Result<String, observer::finding::ThresholdError> {
    Thresholds::default().set(given)?;
    Ok(given.to_string())
}
