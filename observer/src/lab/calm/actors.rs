//! Who does what in ordinary traffic.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;

use super::programs::Programs;
use crate::lab::network::host::Host;

/// One who does something again and again.
pub struct Actor<'a> {
    /// Where they sit.
    pub host: &'a Host,
    /// Those whom they ask.
    pub programs: &'a Programs,
    /// Their moods.
    pub dice: Rng,
    /// When they stop.
    pub until: Instant,
    /// How many times as often as an [`Act`] says they do it.
    pub pace: f64,
    /// One of them has failed: nothing of it is of use any more.
    pub failed: &'a AtomicBool,
}

/// What an actor does.
pub struct Act {
    /// In words.
    pub about: &'static str,
    /// How long it waits between two times, on average, in seconds.
    pub pause: f64,
    /// Once.
    pub play: fn(&mut Actor<'_>) -> Result<()>,
}

/// Everybody.
pub const ACTORS: &[Act] = &[
    Act { about: "a page with its pictures, one connection", pause: 25.0, play: page },
    Act { about: "a page over TLS", pause: 40.0, play: page_tls },
    Act { about: "a download of 90 kB to 1 MB", pause: 150.0, play: download },
    Act { about: "uploads of 2 to 100 kB", pause: 90.0, play: upload },
    Act {
        about: "one connection used again and again with pauses of seconds to over a minute",
        pause: 30.0,
        play: poll,
    },
    Act {
        about: "a small request on a connection of its own, and one page that is not there",
        pause: 20.0,
        play: small,
    },
    Act { about: "a film watched for some seconds, then left", pause: 300.0, play: film },
    Act { about: "a look whether the ports are open", pause: 60.0, play: health },
    Act { about: "redis: single commands", pause: 6.0, play: redis },
    Act { about: "redis: a session with a command every few seconds", pause: 40.0, play: redis_session },
    Act { about: "redis: a queue that is waited on, up to 20 s", pause: 30.0, play: redis_queue },
    Act {
        about: "redis: a subscriber that hears nothing for minutes, and a message now and then",
        pause: 60.0,
        play: subscribe,
    },
    Act { about: "PostgreSQL: single queries", pause: 25.0, play: query },
    Act {
        about: "PostgreSQL: a session that thinks between its queries, one of which takes two seconds",
        pause: 90.0,
        play: session,
    },
    Act { about: "PostgreSQL: a large result", pause: 240.0, play: report },
    Act { about: "PostgreSQL: two clients of pgbench for a quarter of a minute", pause: 500.0, play: bench },
    Act { about: "names: addresses, mail servers, texts, and names that nobody has", pause: 15.0, play: names },
];

impl Actor<'_> {
    /// Plays until it is time.
    pub fn play(mut self, act: &Act) -> Result<()> {
        while self.wait(act.pause) {
            let played = (act.play)(&mut self).with_context(|| act.about);
            self.failed.fetch_or(played.is_err(), Ordering::Relaxed);
            played?;
        }
        Ok(())
    }

    /// Waits as long as one does whose mean is `mean` seconds; `false` where it is time to stop.
    fn wait(&mut self, mean: f64) -> bool {
        const LONGEST: f64 = 4.0;
        const STEP: Duration = Duration::from_millis(500);
        let pause = mean / self.pace * (-self.dice.f64().max(0.001).ln()).min(LONGEST);
        let then = Instant::now() + Duration::from_secs_f64(pause);
        while Instant::now() < then.min(self.until) && !self.failed.load(Ordering::Relaxed) {
            thread::sleep(STEP.min(then.saturating_duration_since(Instant::now())));
        }
        then < self.until && !self.failed.load(Ordering::Relaxed)
    }

    /// Runs a program here, with a resolver's configuration, to its end; `fine` are the ways in which it may end.
    fn run(&self, resolver: &str, fine: &[i32], program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("unshare");
        let bound = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        command.args(["--mount", "sh", "-c", bound]).arg(self.programs.path(resolver)).arg(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = self.host.enter(|| command.spawn()).context("starting it")?.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let well = output.status.code().is_some_and(|code| fine.contains(&code));
        ensure!(well, "{arguments:?} ended with {}: {}", output.status, said.trim());
        Ok(())
    }

    fn curl(&self, arguments: &[&str]) -> Result<()> {
        self.run("resolv.conf", &[0], "curl", &[&["-sS", "--max-time", "120"], arguments].concat())
    }

    fn redis(&self, arguments: &[&str]) -> Result<()> {
        self.run("searching.conf", &[0], "redis-cli", &[&["-h", "cache.lab"], arguments].concat())
    }

    fn psql(&self, arguments: &[&str]) -> Result<()> {
        let fixed = ["-h", "db.lab", "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1"];
        self.run("searching.conf", &[0], "psql", &[&fixed, arguments].concat())
    }

    fn site(&mut self) -> &'static str {
        if self.dice.bool() { "web.lab" } else { "shop.lab" }
    }
}

fn page(actor: &mut Actor<'_>) -> Result<()> {
    let site = actor.site();
    actor.curl(
        &["index.html", "style.css", "logo.png"]
            .map(|page| format!("http://{site}/{page}"))
            .each_ref()
            .map(String::as_str),
    )
}

fn page_tls(actor: &mut Actor<'_>) -> Result<()> {
    let site = actor.site();
    let authority = actor.programs.path("authority.pem");
    let authority = authority.to_str().context("its name")?;
    let urls = ["index.html", "style.css", "news.json"].map(|page| format!("https://{site}/{page}"));
    actor.curl(&[&["--cacert", authority], urls.each_ref().map(String::as_str).as_slice()].concat())
}

fn download(actor: &mut Actor<'_>) -> Result<()> {
    let file =
        actor.dice.choice(["photo.jpg", "photo.jpg", "paper.pdf", "paper.pdf", "image.iso"]).unwrap_or("photo.jpg");
    let site = actor.site();
    actor.curl(&[&format!("http://{site}/{file}")])
}

fn upload(actor: &mut Actor<'_>) -> Result<()> {
    let file = actor.dice.choice(["www/style.css", "www/photo.jpg", "nginx.conf"]).unwrap_or("nginx.conf");
    let (path, site) = (actor.programs.path(file), actor.site());
    let name = format!("http://{site}/upload/{}", actor.dice.u32(..10));
    actor.curl(&["-T", path.to_str().context("its name")?, &name])
}

fn poll(actor: &mut Actor<'_>) -> Result<()> {
    let rate = actor.dice.choice(["20/m", "10/m", "4/m", "50/h"]).unwrap_or("20/m");
    let site = actor.site();
    let urls = format!("http://{site}/news.json?[1-4]");
    actor.run("resolv.conf", &[0], "curl", &["-sS", "--rate", rate, &urls])
}

fn small(actor: &mut Actor<'_>) -> Result<()> {
    let site = actor.site();
    let page = if actor.dice.u8(..10) == 0 { "missing.html" } else { "news.json" };
    actor.curl(&["-H", "Connection: close", &format!("http://{site}/{page}")])
}

fn film(actor: &mut Actor<'_>) -> Result<()> {
    const TIMED_OUT: i32 = 28;
    let seconds = actor.dice.u8(2..6).to_string();
    actor.run("resolv.conf", &[TIMED_OUT], "curl", &["-sS", "--max-time", &seconds, "http://web.lab/slow/film.mp4"])
}

fn health(actor: &mut Actor<'_>) -> Result<()> {
    for at in ["10.0.1.2:80", "10.0.2.2:6379", "10.0.2.2:5432"] {
        drop(actor.host.connect(at.parse()?)?);
    }
    Ok(())
}

fn redis(actor: &mut Actor<'_>) -> Result<()> {
    let key = format!("user:{}", actor.dice.u32(..50));
    let value = "v".repeat(actor.dice.usize(1..3000));
    match actor.dice.u8(..4) {
        0 => actor.redis(&["set", &key, &value]),
        1 => actor.redis(&["incr", "visits"]),
        _ => actor.redis(&["get", &key]),
    }
}

fn redis_session(actor: &mut Actor<'_>) -> Result<()> {
    let pause = actor.dice.u8(1..8).to_string();
    actor.redis(&["-r", "8", "-i", &pause, "incr", "visits"])
}

fn redis_queue(actor: &mut Actor<'_>) -> Result<()> {
    if actor.dice.bool() {
        actor.redis(&["rpush", "queue", "a task"])?;
    }
    actor.redis(&["blpop", "queue", "20"])
}

fn subscribe(actor: &mut Actor<'_>) -> Result<()> {
    const TIMED_OUT: i32 = 124;
    let seconds = actor.dice.u16(20..240).to_string();
    actor.redis(&["publish", "news", "something has happened"])?;
    let words = ["--signal=INT", &seconds, "redis-cli", "-h", "cache.lab", "subscribe", "news"];
    actor.run("searching.conf", &[TIMED_OUT], "timeout", &words)
}

fn query(actor: &mut Actor<'_>) -> Result<()> {
    actor.psql(&["-c", "select relname, relpages from pg_class order by 2 desc limit 20"])
}

fn session(actor: &mut Actor<'_>) -> Result<()> {
    let (first, second) = (actor.dice.u8(1..20), actor.dice.u8(1..20));
    let pause = |seconds: u8| format!("\\! sleep {seconds}");
    let words = [
        "-c",
        "select count(*) from pg_class",
        "-c",
        &pause(first),
        "-c",
        "select pg_sleep(2)",
        "-c",
        &pause(second),
        "-c",
        "select now()",
    ];
    actor.psql(&words)
}

fn report(actor: &mut Actor<'_>) -> Result<()> {
    actor.psql(&["-c", "select i, md5(i::text) from generate_series(1, 2000) i"])
}

fn bench(actor: &mut Actor<'_>) -> Result<()> {
    let program: OsString = actor.programs.postgres("pgbench").into();
    let fixed = ["-h", "db.lab", "-U", "postgres", "-i", "-q", "postgres"];
    actor.run("searching.conf", &[0], &program, &fixed)?;
    let words = ["-h", "db.lab", "-U", "postgres", "-n", "-c", "2", "-R", "2", "-T", "15", "postgres"];
    actor.run("searching.conf", &[0], &program, &words)
}

fn names(actor: &mut Actor<'_>) -> Result<()> {
    let words: &[&str] = match actor.dice.u8(..12) {
        0..3 => &["web.lab", "A"],
        3..5 => &["web.lab", "AAAA"],
        5..7 => &["lab", "MX"],
        7..9 => &["lab", "TXT"],
        9 => &["shop.lab", "AAAA"],
        10 => &["-x", "10.0.1.2"],
        _ => &["nobody.lab", "A"],
    };
    actor.run("resolv.conf", &[0], "dig", words)
}
