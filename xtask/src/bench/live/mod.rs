//! `cargo xtask bench live`: what observing costs those who are observed.
//!
//! Every figure is a ratio: traffic while observed, to the same traffic just before and just after without, after the same
//! rest. All of it goes over the loopback interface of a network namespace that is made for the purpose.

mod cost;
pub mod stage;
pub mod traffic;

use std::time::Duration;

use anyhow::{Context as _, Result};

use self::stage::{Observer, Running, Stage};
use super::{Target, judge};
use crate::{process, setup};

/// Measure what `observer watch` costs those who are observed, beside its peers, by turns.
#[derive(clap::Args)]
pub struct Args {
    /// How many rounds; peers, and nobody for a control, take part in every sixth
    #[arg(long, default_value_t = 31)]
    rounds: usize,
    /// How long each run lasts, in milliseconds
    #[arg(long, default_value_t = 1000)]
    milliseconds: u64,
    /// Leave out the peers
    #[arg(long)]
    alone: bool,
}

/// Someone who observes.
struct Contender {
    name: &'static str,
    observer: Observer,
    traffic: &'static str,
    ratios: Vec<f64>,
    /// The ratio to reach.
    target: Option<f64>,
}

impl Contender {
    fn new(name: &'static str, observer: Observer, traffic: &'static str, target: Option<f64>) -> Self {
        Self { name, observer, traffic, ratios: Vec::new(), target }
    }
}

impl Args {
    pub fn run(self) -> Result<()> {
        setup::ensure(setup::BUILD)?;
        let observer = process::release_observer()?;
        let stage = Stage::new()?;
        let watch = |words: &[&str]| Observer::watch(&observer, words);
        let mut contenders = vec![
            Contender::new("lock-step connections, default hooks", watch(&[]), "lockstep", Some(0.85)),
            Contender::new(
                "lock-step connections, --hooks state",
                watch(&["--hooks", "state"]),
                "lockstep",
                Some(0.92),
            ),
            Contender::new("bulk stream, MTU 1500, no GSO, default hooks", watch(&[]), "bulk", Some(0.95)),
            Contender::new("lock-step connections, nobody", Observer::nobody(), "lockstep", None),
            Contender::new("bulk stream, nobody", Observer::nobody(), "bulk", None),
        ];
        if !self.alone {
            if let Err(error) = setup::ensure(setup::OBSERVERS) {
                println!("{error:#}");
            }
            contenders.extend(stage::PEERS.iter().filter_map(|peer| {
                let mut observer = Observer::peer(&stage, peer)?;
                if let Err(error) = observer.start().and_then(Running::stop) {
                    println!("does not run here: {}: {error:#}", peer.name);
                    return None;
                }
                Some(Contender::new(peer.name, observer, "lockstep", None))
            }));
        }
        let length = Duration::from_millis(self.milliseconds);
        for round in 0..self.rounds {
            let takes_part = |contender: &&mut Contender| contender.target.is_some() || round % PEERS_EVERY == 0;
            for contender in contenders.iter_mut().filter(takes_part) {
                let rested = || {
                    std::thread::sleep(REST);
                    stage.traffic(contender.traffic, length)
                };
                let before = rested()?;
                let running = contender.observer.start().with_context(|| format!("starting {}", contender.name))?;
                let observed = rested()?;
                running.stop()?;
                let after = rested()?;
                let ratio = observed / f64::midpoint(before, after);
                println!(
                    "{:>2}  {ratio:>6.3}  {}  ({observed:.0} of {before:.0} and {after:.0}/s)",
                    round + 1,
                    contender.name
                );
                contender.ratios.push(ratio);
            }
        }
        println!();
        let mut targets = Vec::new();
        for contender in &mut contenders {
            contender.ratios.sort_by(f64::total_cmp);
            let median = contender.ratios.get(contender.ratios.len() / 2).copied();
            match contender.target {
                Some(limit) => targets.push(Target::at_least(contender.name, limit, median, "")),
                None => println!("{:>6.3}  {}", median.unwrap_or(f64::NAN), contender.name),
            }
        }
        let idle = cost::idle(&observer)?;
        let steady = cost::steady(&observer, &stage)?;
        println!("at {STEADY} connections/s: {steady}");
        targets.push(Target::at_most("idle, of one processor", 0.3, Some(idle), " %"));
        judge(&targets)
    }
}

/// A target is judged by the median of ratios that differ by a tenth where others use the same hardware, so that it takes
/// many; nothing is judged by a peer's.
const PEERS_EVERY: usize = 6;

/// Before each run. What an observer does at its start (among what earlier rounds have left behind) is not what it costs to
/// leave it on; and traffic right after other traffic goes faster than from rest, so that all get the same.
const REST: Duration = Duration::from_millis(500);

/// Connections a second at which the cost of each is taken.
const STEADY: u32 = 5_000;
