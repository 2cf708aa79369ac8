//! Many connections in bad weather: what tools that analyse TCP are held against each other with.
//!
//! Real TCP stacks, whose segments are lost, overtaken, delayed and doubled on the way, whose readers are slow, whose
//! ports are used again, and whose capture has gaps. The seed decides what is done and how often things go wrong; which
//! segments there are at all is the kernel's business, so that two runs of one seed are alike but not the same.

mod probe;
mod talk;
mod weather;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;

use super::network::fault::{Fate, Fault};
use super::network::host::Host;
use super::network::wire::{End, Segment, Wire};
use super::network::{self, Network};
use talk::Lane;
use weather::{Forecast, client_port};

/// Servers listen at ports from here on, one a lane.
const SERVERS: u16 = 5_000;
/// Clients connect from ports above this.
const CLIENTS: u16 = 10_000;
/// How many connections there are at a time.
const LANES: u16 = 40;

/// A storm to be.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// What decides all that is left to chance.
    pub seed: u64,
    /// How many connections are made, or tried.
    pub connections: usize,
}

impl Storm {
    /// Lets it happen and gives what was captured of it: a pcapng file.
    pub fn run(&self) -> Result<Vec<u8>> {
        network::acquire_rights()?;
        let Self { seed, connections } = *self;
        let mut network = Network::new(&format!("observer lab storm: seed {seed}, {connections} connections"))?;
        let mut dice = Rng::with_seed(seed);
        let [client, server] = network.pair(self.wire(&mut dice))?;
        self.set_options(&mut dice, &client, &server)?;
        let failed = self.play(&client, &server)?;
        ensure!(failed * 2 < connections, "{failed} of {connections} connections did not come to their end");
        Ok(network.finish()?.0)
    }

    fn wire(&self, dice: &mut Rng) -> Wire {
        let seed = self.seed;
        let (mut on_the_way, mut captured) = (Forecast::new(seed), Forecast::new(seed));
        let is_probed_with_octets = |tcp: &Segment| !client_port(tcp).is_multiple_of(3);
        let mut probes = probe::one_octet_probes(is_probed_with_octets);
        let at = if dice.bool() { End::Near } else { End::Far };
        Wire::new(Duration::from_micros(dice.u64(500..6000)))
            .captured_at(&[at])
            .with_fault(Fault::new(
                "some clients and servers probe closed windows with an octet",
                move |passing| match (probes(passing), on_the_way.fate(passing)) {
                    (Fate::Pass, fate) => fate,
                    (probe, _) => probe,
                },
            ))
            .with_missed(move |passing| captured.misses(passing))
    }

    /// Some storms do without one of TCP's options.
    fn set_options(&self, dice: &mut Rng, client: &Host, server: &Host) -> Result<()> {
        const OPTIONS: [&str; 3] = ["tcp_sack", "tcp_timestamps", "tcp_window_scaling"];
        if let Some(option) = OPTIONS.get(dice.usize(..OPTIONS.len() + 2)) {
            let host = if dice.bool() { client } else { server };
            host.sysctl(&format!("net.ipv4.{option}"), "0")?;
        }
        Ok(())
    }

    /// Makes all connections and gives the number of those that did not come to the end they should have had.
    fn play(&self, client: &Host, server: &Host) -> Result<usize> {
        let left = Mutex::new((0..self.connections).collect::<VecDeque<_>>());
        let failed = Mutex::new(0);
        let run = |number: u16| -> Result<()> {
            let dice = Rng::with_seed(self.seed ^ u64::from(number) << 32);
            let mut lane = Lane::new(client, server, SERVERS + number, CLIENTS + number * talk::PORTS, dice);
            while left.lock().unwrap_or_else(PoisonError::into_inner).pop_front().is_some() {
                if lane.one_connection().is_err() {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(move || run(number))).collect();
            lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| anyhow::anyhow!("a lane panicked"))?)
        })
        .context("making connections")?;
        Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}
