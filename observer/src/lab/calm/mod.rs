//! Ordinary traffic: what observer must find nothing wrong in.
//!
//! Real programs at their ordinary work, which is mostly waiting: curl against nginx, redis-cli, psql and pgbench against
//! their databases, names from dnsmasq. All programs are Debian's, with their own settings. The seed decides who does
//! what and when; the wire to the web server is long and loses a frame now and then, as the Internet does.

mod actors;
mod programs;

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fastrand::Rng;
use serde::Serialize;

use super::Made;
use super::network::fault::Fault;
use super::network::wire::Wire;
use super::network::{self, Description, Network, Plug};
use actors::{ACTORS, Actor};
use programs::Programs;

/// Ordinary traffic to be.
#[derive(Clone, Copy, Debug)]
pub struct Calm {
    /// What decides all that is left to chance.
    pub seed: u64,
    /// How long it goes on. What has begun by then comes to its end.
    pub duration: Duration,
    /// How many times as often as people would they do something; how they do it stays the same, with its own pauses.
    pub pace: f64,
    /// How many octets of each frame are captured.
    pub snap_length: usize,
}

#[derive(Serialize)]
struct Page<'a> {
    about: &'a str,
    command: String,
    kernel: String,
    programs: Vec<String>,
    seconds: u64,
    pace: f64,
    snap_length: usize,
    actors: Vec<&'static str>,
    #[serde(flatten)]
    network: Description,
}

impl Calm {
    /// Lets it happen. Takes root, and the programs.
    pub fn run(&self) -> Result<Made> {
        ensure!(rustix::process::geteuid().is_root(), "the programs' namespaces take root");
        let Self { seed, duration, pace, snap_length } = *self;
        let failed = AtomicBool::new(false);
        let seconds = duration.as_secs();
        let mut network = Network::new(&format!("observer lab calm: seed {seed}, {seconds} s"))?;
        network.capture().cut_at(snap_length);
        let [desk, web, data, names] =
            [network.host("desk")?, network.host("web")?, network.host("data")?, network.host("names")?];
        let far = Wire::new(Duration::from_millis(15)).with_fault(rare_loss(seed));
        let near = || Wire::new(Duration::from_micros(250));
        for (interface, host, own, others, wire) in [
            ("eth0", &web, ["10.0.1.1/24", "fd00:1::1/64"], ["10.0.1.2/24", "fd00:1::2/64"], far),
            ("eth1", &data, ["10.0.2.1/24", "fd00:2::1/64"], ["10.0.2.2/24", "fd00:2::2/64"], near()),
            ("eth2", &names, ["10.0.3.1/24", "fd00:3::1/64"], ["10.0.3.2/24", "fd00:3::2/64"], near()),
        ] {
            network.wire(
                Plug { host: &desk, interface, addresses: &own },
                Plug { host, interface: "eth0", addresses: &others },
                wire,
            )?;
        }
        let programs = Programs::start(&web, &data, &names)?;
        let start = Instant::now();
        let until = start + duration;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(ACTORS)
                .map(|(number, act)| {
                    let actor = Actor {
                        host: &desk,
                        programs: &programs,
                        dice: Rng::with_seed(seed + number),
                        until,
                        pace,
                        failed: &failed,
                    };
                    scope.spawn(move || actor.play(act))
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("an actor panicked"))?)
        })?;
        let seconds_played = start.elapsed().as_secs();
        network.stop_capture();
        let versions = programs.versions()?;
        drop(programs);
        let (capture, network) = network.finish()?;
        let page = Page {
            about: "Ordinary traffic of ordinary programs: nothing in it is meant to be wrong, but for a frame that is lost now and then on the long wire, and names that nobody has.",
            command: format!(
                "observer lab calm --seed {seed} --for {seconds} --pace {pace} --snap-length {snap_length} --write ordinary.pcapng.zst"
            ),
            kernel: network::kernel(),
            programs: versions,
            seconds: seconds_played,
            pace,
            snap_length,
            actors: ACTORS.iter().map(|act| act.about).collect(),
            network,
        };
        Ok(Made { capture, description: toml::to_string(&page).context("describing it")? })
    }
}

/// One frame in two thousand.
fn rare_loss(seed: u64) -> Fault {
    const ONE_IN: u32 = 2000;
    let mut dice = Rng::with_seed(seed);
    Fault::loses(format!("one frame in {ONE_IN} is lost (seed {seed})"), move |_| dice.u32(..ONE_IN) == 0)
}
