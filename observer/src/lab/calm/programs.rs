//! The servers of ordinary traffic, as Debian has them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::lab::network::host::Host;

/// The servers at work; they end with it.
pub struct Programs {
    folder: TempDir,
    children: Vec<Child>,
    postgres: PathBuf,
}

/// What nginx serves: a name and so many octets.
const PAGES: [(&str, usize); 8] = [
    ("index.html", 4_000),
    ("style.css", 12_000),
    ("logo.png", 30_000),
    ("news.json", 800),
    ("photo.jpg", 90_000),
    ("paper.pdf", 300_000),
    ("image.iso", 1_000_000),
    ("slow/film.mp4", 2_000_000),
];

const NGINX: &str = "\
daemon off;
user root;
worker_processes 1;
pid FOLDER/nginx.pid;
error_log FOLDER/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 65;
    server {
        listen 80;
        listen [::]:80;
        listen 443 ssl;
        listen [::]:443 ssl;
        ssl_certificate FOLDER/web.pem;
        ssl_certificate_key FOLDER/web.key;
        root FOLDER/www;
        location /upload/ { dav_methods PUT; create_full_put_path on; client_max_body_size 1m; }
        location /slow/ { limit_rate 40k; }
    }
}
";

/// All of them, by name.
const NAMES: &[&str] = &[
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--pid-file=",
    "--log-facility=-",
    "--user=root",
    "--no-resolv",
    "--no-hosts",
    "--no-poll",
    "--bind-interfaces",
    "--listen-address=10.0.3.2",
    "--local=/lab/",
    "--local-ttl=60",
    "--host-record=web.lab,10.0.1.2,fd00:1::2",
    "--host-record=shop.lab,10.0.1.2",
    "--host-record=db.lab,10.0.2.2",
    "--host-record=cache.lab,10.0.2.2",
    "--mx-host=lab,mail.lab,10",
    "--txt-record=lab,v=spf1 -all",
];

impl Programs {
    /// Starts them and waits until each answers.
    pub fn start(web: &Host, data: &Host, names: &Host) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for the servers")?;
        let postgres = postgres_folder()?;
        let mut programs = Self { folder, children: Vec::new(), postgres };
        programs.write("resolv.conf", "nameserver 10.0.3.2\n")?;
        programs.write("searching.conf", "nameserver 10.0.3.2\nsearch office.lab\noptions ndots:2\n")?;
        programs.start_nginx(web)?;
        programs.start_redis(data)?;
        programs.start_postgres(data)?;
        programs.child(names, "dnsmasq", NAMES)?;
        for (host, at) in [(web, "10.0.1.2:443"), (data, "10.0.2.2:6379"), (data, "10.0.2.2:5432")] {
            answers(host, at.parse()?)?;
        }
        // What is bound cannot be bound again.
        let taken = || Ok(names.enter(|| UdpSocket::bind("10.0.3.2:53").map(drop)).is_err());
        wait_until("dnsmasq", taken)?;
        Ok(programs)
    }

    /// The programs and their versions.
    pub fn versions(&self) -> Result<Vec<String>> {
        let postgres = self.postgres.join("postgres");
        let all: [(&OsStr, &str); 6] = [
            ("nginx".as_ref(), "-v"),
            ("redis-server".as_ref(), "--version"),
            (postgres.as_ref(), "--version"),
            ("dnsmasq".as_ref(), "--version"),
            ("curl".as_ref(), "--version"),
            ("dig".as_ref(), "-v"),
        ];
        all.into_iter()
            .map(|(program, switch)| {
                let output = Command::new(program).arg(switch).output();
                let output = output.with_context(|| format!("asking {} its version", program.display()))?;
                let said = [output.stdout, output.stderr].concat();
                Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned())
            })
            .collect()
    }

    /// A file or folder of theirs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where PostgreSQL's own programs are.
    pub fn postgres(&self, program: &str) -> PathBuf {
        self.postgres.join(program)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn start_nginx(&mut self, host: &Host) -> Result<()> {
        let www = self.path("www");
        fs::create_dir_all(www.join("slow")).context("making nginx's folder")?;
        fs::create_dir_all(www.join("upload")).context("making nginx's folder")?;
        let mut dice = fastrand::Rng::with_seed(1);
        for (name, octets) in PAGES {
            let page: Vec<u8> = std::iter::repeat_with(|| dice.alphanumeric() as u8).take(octets).collect();
            fs::write(www.join(name), page).with_context(|| format!("writing {name}"))?;
        }
        let [authority_key, key] = [KeyPair::generate()?, KeyPair::generate()?];
        let mut authority = CertificateParams::new(Vec::new())?;
        // Where both had one name, the certificate would pass for its own issuer.
        authority.distinguished_name.push(DnType::CommonName, "the lab's authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.write("authority.pem", &pem("CERTIFICATE", authority.self_signed(&authority_key)?.der()))?;
        let certificate = CertificateParams::new(["web.lab".to_owned(), "shop.lab".to_owned()])?;
        let certificate = certificate.signed_by(&key, &Issuer::new(authority, authority_key))?;
        self.write("web.pem", &pem("CERTIFICATE", certificate.der()))?;
        self.write("web.key", &pem("PRIVATE KEY", &key.serialize_der()))?;
        let folder = self.folder.path().display().to_string();
        self.write("nginx.conf", &NGINX.replace("FOLDER", &folder))?;
        let configuration = self.path("nginx.conf");
        self.child(host, "nginx", &["-c".as_ref(), configuration.as_os_str()])
    }

    fn start_redis(&mut self, host: &Host) -> Result<()> {
        let switches = ["--bind", "10.0.2.2", "--protected-mode", "no", "--save", "", "--daemonize", "no"];
        self.child(host, "redis-server", &switches)
    }

    /// PostgreSQL does not run as root.
    fn start_postgres(&mut self, host: &Host) -> Result<()> {
        let tables = tempfile::Builder::new().prefix("tables").tempdir_in("/var/tmp")?.keep();
        self.write("tables", &tables.display().to_string())?;
        let succeeds = |command: &mut Command| -> Result<()> {
            let output = command.output().with_context(|| format!("starting {}", command.get_program().display()))?;
            ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        };
        succeeds(Command::new("chown").arg("postgres").arg(&tables))?;
        let as_postgres = |program: &str| {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"])
                .arg(self.postgres(program))
                .arg("-D")
                .arg(&tables);
            command.current_dir("/");
            command
        };
        succeeds(as_postgres("initdb").args(["--auth=trust", "--no-sync"]))?;
        // Clients come from the other end of the wire.
        let rules = tables.join("pg_hba.conf");
        let text = fs::read_to_string(&rules).context("reading pg_hba.conf")?;
        fs::write(&rules, format!("{text}\nhost all all 10.0.2.0/24 trust\n")).context("writing pg_hba.conf")?;
        let mut command = as_postgres("postgres");
        command.args(["-c", "listen_addresses=10.0.2.2", "-c", "unix_socket_directories="]);
        self.spawn(host, command)
    }

    fn child(&mut self, host: &Host, program: &str, arguments: &[impl AsRef<OsStr>]) -> Result<()> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.spawn(host, command)
    }

    fn spawn(&mut self, host: &Host, mut command: Command) -> Result<()> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = host.enter(|| command.spawn());
        self.children.push(child.with_context(|| format!("starting {}", command.get_program().display()))?);
        Ok(())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in &mut self.children {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            // One that has ended by itself is gone.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            let _ = child.wait();
        }
        if let Ok(tables) = fs::read_to_string(self.path("tables")) {
            let _ = fs::remove_dir_all(tables);
        }
    }
}

/// DER as text (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    const OCTETS_A_LINE: usize = 48;
    let lines: Vec<String> = der.chunks(OCTETS_A_LINE).map(|line| STANDARD.encode(line)).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Where Debian has the programs of PostgreSQL's newest version.
fn postgres_folder() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("looking for PostgreSQL")?;
    let newest = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).max();
    newest.context("/usr/lib/postgresql is empty")
}

/// Waits until somebody listens.
fn answers(host: &Host, at: SocketAddr) -> Result<()> {
    wait_until(&at.to_string(), || Ok(host.connect(at).is_ok()))
}

fn wait_until(what: &str, holds: impl Fn() -> io::Result<bool>) -> Result<()> {
    const DEADLINE: Duration = Duration::from_secs(30);
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > DEADLINE {
            bail!("{what} does not answer");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
