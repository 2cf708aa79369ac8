//! Kernels: Debian's packages, fetched with the machine's own apt and made into what qemu boots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::initramfs::Archive;
use crate::process::{self, output};
use crate::setup;

/// A kernel to run on.
pub struct Kernel {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The release of Debian that has it.
    suite: &'static str,
    /// The hooks that it cannot give (`error`), and what it does not tell at others (`drop.reason`).
    pub lacks: &'static [&'static str],
}

pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        suite: "bullseye",
        lacks: &["reset_sent.reason", "retransmit.error", "drop.reason", "error"],
    },
    Kernel { name: "6.1", suite: "bookworm", lacks: &["reset_sent.reason", "retransmit.error"] },
    Kernel { name: "6.12", suite: "trixie", lacks: &["retransmit.error"] },
    Kernel { name: "7.x", suite: "sid", lacks: &[] },
];

/// Depends on the newest kernel of a release, built for virtual machines: small, with all that networks need.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// Modules that are loaded, after those they need: what labs and live tests build networks from. One that ends with `*`
/// stands for all that begin so; one that a kernel does not have is built into it, or it goes without.
const MODULES: &[&str] = &[
    "8021q",
    "bridge",
    "dummy",
    "tun",
    "veth",
    "vxlan",
    "tcp_diag",
    "mptcp_diag",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_*",
    "sch_htb",
    "sch_netem",
    "sch_tbf",
];

/// A kernel that can be booted.
pub struct Image {
    pub vmlinuz: PathBuf,
    /// An initramfs, or the first part of one: /modules, named in the order in which to load them.
    pub modules: PathBuf,
}

impl Kernel {
    /// Fetches the kernel, the first time.
    pub fn image(&self) -> Result<Image> {
        let folder = super::folder().join(self.name);
        let image = Image { vmlinuz: folder.join("vmlinuz"), modules: folder.join("modules.cpio") };
        if !folder.is_dir() {
            let part = super::folder().join(format!("{}.part", self.name));
            if part.exists() {
                fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))?;
            }
            self.fetch(&part).with_context(|| format!("fetching Debian's kernel {}", self.name))?;
            fs::rename(&part, &folder).with_context(|| format!("renaming {}", part.display()))?;
        }
        Ok(image)
    }

    fn fetch(&self, folder: &Path) -> Result<()> {
        let unpacked = folder.join("unpacked");
        let apt = Apt::of(self.suite, folder)?;
        apt.unpack(&apt.kernel_packages()?, &unpacked)?;
        let files = files(&unpacked)?;
        let named = |file: &&PathBuf, start: &str| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
        };
        let vmlinuz = files.iter().find(|file| named(file, "vmlinuz")).context("the packages hold no vmlinuz")?;
        fs::copy(vmlinuz, folder.join("vmlinuz")).context("copying vmlinuz")?;
        let mut archive = Archive::create(&folder.join("modules.cpio"))?;
        for (number, (name, bytes)) in modules(&files)?.iter().enumerate() {
            archive.file(Path::new(&format!("/modules/{number:03}-{name}.ko")), 0o644, bytes)?;
        }
        archive.finish()?;
        // What stays is what is booted.
        for rest in ["unpacked", "apt"] {
            fs::remove_dir_all(folder.join(rest)).with_context(|| format!("removing {rest}"))?;
        }
        Ok(())
    }
}

/// apt, with lists of its own for a release that the machine does not install from.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// Knows `suite` from the server that the machine has Debian's packages from.
    fn of(suite: &str, folder: &Path) -> Result<Self> {
        for program in ["apt-get", "dpkg"] {
            ensure!(process::find(program).is_some(), "it takes Debian's {program}, which is not installed");
        }
        let format = "$(ORIGIN) $(LABEL) $(REPO_URI)";
        let targets = output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
        let server = targets.lines().find_map(|line| line.strip_prefix("Debian Debian "));
        let server = server.context("apt has no packages of Debian among its sources")?;
        let apt = folder.join("apt");
        for lists in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(lists)).with_context(|| format!("making {}", apt.display()))?;
        }
        // Debian signs all its releases with keys that this file holds, where there is one.
        let keys = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
        let keys = if keys.is_file() { format!("[signed-by={}] ", keys.display()) } else { String::new() };
        let list = apt.join("sources.list");
        fs::write(&list, format!("deb {keys}{server} {suite} main\n"))
            .with_context(|| format!("writing {}", list.display()))?;
        let options = [
            format!("Dir::State={}", apt.join("state").display()),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", apt.join("cache").display()),
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "APT::Architecture=amd64".to_owned(),
        ];
        let apt = Self { options: options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect() };
        apt.step(Path::new("."), &["update", "--quiet"])?;
        Ok(apt)
    }

    /// Names the packages that hold the kernel and its modules.
    fn kernel_packages(&self) -> Result<Vec<String>> {
        let mut command = Command::new("apt-cache");
        command.args(&self.options).args(["depends", "--recurse", "--important", META_PACKAGE]);
        let depends = output(&mut command)?;
        let holds = |name: &&str| {
            // `linux-image-6.1.0-50-cloud-amd64`; newer ones are in several parts.
            let rest = ["linux-image-", "linux-binary-", "linux-modules-"].iter().find_map(|p| name.strip_prefix(p));
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let names: BTreeSet<&str> = depends.lines().filter(holds).collect();
        ensure!(!names.is_empty(), "{META_PACKAGE} depends on no kernel");
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut words = vec!["download", "--quiet"];
        words.extend(packages.iter().map(String::as_str));
        self.step(folder, &words)?;
        for package in files(folder)?.iter().filter(|file| file.extension().is_some_and(|e| e == "deb")) {
            process::run(Command::new("dpkg").arg("-x").arg(package).arg(folder))?;
        }
        Ok(())
    }

    fn step(&self, folder: &Path, words: &[&str]) -> Result<()> {
        let mut command = Command::new("apt-get");
        command.current_dir(folder).args(words).args(&self.options).stdout(std::io::stderr());
        setup::say(&command);
        process::run(&mut command)
    }
}

/// The modules that [`MODULES`] names among `files`, and those they need, each after the ones it needs itself.
fn modules(files: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>> {
    let known: BTreeMap<String, &PathBuf> = files.iter().filter_map(|file| Some((module_name(file)?, file))).collect();
    let is_wanted = |name: &str| {
        MODULES.iter().any(|wanted| wanted.strip_suffix('*').map_or(*wanted == name, |start| name.starts_with(start)))
    };
    let mut loaded = Vec::new();
    let mut met = BTreeSet::new();
    for name in known.keys().filter(|name| is_wanted(name)) {
        load(name, &known, &mut met, &mut loaded)?;
    }
    Ok(loaded)
}

fn load(
    name: &str,
    known: &BTreeMap<String, &PathBuf>,
    met: &mut BTreeSet<String>,
    loaded: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    // What is not among them is built in.
    let Some(file) = known.get(name).filter(|_| met.insert(name.to_owned())) else { return Ok(()) };
    let bytes = if file.extension().is_some_and(|extension| extension == "xz") {
        let mut command = Command::new("xz");
        let output = command.arg("--decompress").arg("--stdout").arg(file).output().context("starting xz")?;
        ensure!(output.status.success(), "{} ended with {}", process::line(&command), output.status);
        output.stdout
    } else {
        fs::read(file).with_context(|| format!("reading {}", file.display()))?
    };
    for needed in needs(&bytes) {
        load(&needed, known, met, loaded)?;
    }
    loaded.push((name.to_owned(), bytes));
    Ok(())
}

/// The name of the module in a file, as other modules call it.
fn module_name(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let name = name.strip_suffix(".xz").unwrap_or(name).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// The modules that a module names as those it needs: `depends=` in its section .modinfo.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[start + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// All files below `folder`.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            // Links inside a package lead to where it would be installed.
            match entry.file_type().with_context(|| format!("reading {}", folder.display()))? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_say_what_they_need() {
        assert_eq!(needs(b"\x7fELF\0license=GPL\0depends=nf-tables,nfnetlink\0name=x\0"), ["nf_tables", "nfnetlink"]);
        assert_eq!(needs(b"\0depends=\0"), [""; 0]);
        assert_eq!(needs(b"\0depends"), [""; 0]);
        assert_eq!(module_name(Path::new("/a/nf-x.ko.xz")).as_deref(), Some("nf_x"));
        assert_eq!(module_name(Path::new("/a/System.map")), None);
    }
}
