//! The toolchains that build the eBPF programs, and how to come by them. Everything but packages goes into the target
//! folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Build, digest, folder};
use crate::process::{self, cargo, output, root};
use crate::setup;

/// A way to a compiler for eBPF.
pub struct Toolchain {
    pub name: &'static str,
    /// Makes sure that it is there.
    compiler: fn() -> Result<Compiler>,
}

/// The first is the one whose object is committed, where there is a choice.
pub const TOOLCHAINS: [Toolchain; 2] =
    [Toolchain { name: "rustup", compiler: rustup }, Toolchain { name: "debian", compiler: debian }];

/// rustup's toolchain: eBPF is a target for which only its nightly compilers can build the core library. Pinned, so
/// that everyone gets the same bytes; its LLVM must not be newer than [`setup::LLVM`].
const NIGHTLY: &str = "nightly-2026-05-20";

/// Debian's packages of a compiler that comes with a core library for eBPF. Only unpacked: installed they would stand
/// where Debian's other Rust packages and rustup's do.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "libstd-rust-web-dev", "libstd-rust-web-dev-bpf"];

/// Little-endian, as nearly all machines are.
const TARGET: &str = "bpfel-unknown-none";

const LINKER_VERSION: &str = "0.13.0";

/// Sees to it that rustc calls bpf-linker the same way everywhere; needs its path in `BPF_LINKER`.
const LINK_SCRIPT: &str = "xtask/src/ebpf/link.sh";

/// A compiler that is there.
struct Compiler {
    /// How it names itself.
    version: String,
    /// The cargo that uses it.
    cargo: Command,
    /// Where its libraries are.
    sysroot: PathBuf,
    /// What cargo must be told.
    arguments: &'static [&'static str],
}

impl Toolchain {
    /// Builds the programs; returns what with, and the object.
    pub fn build(&self) -> Result<(Build, PathBuf)> {
        setup::ensure(setup::BUILD)?;
        setup::ensure(setup::EBPF)?;
        let llvm = setup::llvm_config().context("llvm-config is gone")?;
        let linker = linker(&llvm)?;
        let Compiler { version, mut cargo, sysroot, arguments } = (self.compiler)()?;
        let target = folder().join(self.name);
        let place = |command: &mut Command| {
            command.args(["--package", "observer-ebpf", "--release", "--target", TARGET, "--target-dir"]).arg(&target);
        };
        // cargo would not notice that another linker is there.
        let mut clean = process::cargo();
        place(clean.args(["clean", "--quiet"]));
        process::run(&mut clean)?;
        // The profile that BTF needs, whatever the workspace's is.
        for (name, value) in [("DEBUG", "2"), ("LTO", "false"), ("PANIC", "abort"), ("CODEGEN_UNITS", "1")] {
            cargo.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
        }
        // Not among the flags: those go into the names of functions, and a folder must not.
        cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", root().join(LINK_SCRIPT)).env("BPF_LINKER", &linker);
        // Set to 1, it would give other octets.
        cargo.env("CARGO_INCREMENTAL", "0");
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(&sysroot)?.join("\x1f"));
        place(cargo.arg("build"));
        cargo.args(["--locked", "--bin", "observer-ebpf", "--features", "programs"]).args(arguments);
        process::run(&mut cargo)?;

        let built = target.join(TARGET).join("release/observer-ebpf");
        let object = target.join("observer.bpf.o");
        let strip = Path::new(&output(Command::new(&llvm).arg("--bindir"))?).join("llvm-strip");
        // BTF says all that the kernel and aya read of the debugging information.
        process::run(Command::new(strip).args(["--strip-debug", "-o"]).arg(&object).arg(&built))?;
        let llvm = output(Command::new(&llvm).arg("--version"))?;
        let linker = format!("bpf-linker {LINKER_VERSION} with LLVM {llvm}");
        Ok((Build { rustc: version, linker, object: digest::of_file(&object)? }, object))
    }
}

/// rustup's compiler, in a rustup home of our own.
fn rustup() -> Result<Compiler> {
    ensure!(process::find("rustup").is_some(), "rustup is not installed");
    let home = folder().join("rustup-home");
    let run = || {
        let mut command = Command::new("rustup");
        command.env("RUSTUP_HOME", &home).current_dir(root()).args(["run", NIGHTLY]);
        command
    };
    let sysroot = || output(run().args(["rustc", "--print", "sysroot"])).map(PathBuf::from);
    let has_source = |sysroot: &PathBuf| sysroot.join("lib/rustlib/src/rust/library/core").is_dir();
    if !sysroot().is_ok_and(|sysroot| has_source(&sysroot)) {
        let mut command = Command::new("rustup");
        command.env("RUSTUP_HOME", &home).stdout(std::io::stderr());
        command.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"]);
        setup::say(&command);
        process::run(command.arg("--no-self-update"))?;
    }
    let mut cargo = run();
    cargo.arg("cargo");
    // Else the one that runs this program would be taken.
    for variable in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC"] {
        cargo.env_remove(variable);
    }
    Ok(Compiler {
        version: output(run().args(["rustc", "--version"]))?,
        cargo,
        sysroot: sysroot()?,
        arguments: &["-Zbuild-std=core"],
    })
}

/// Debian's compiler, unpacked. It has the core library already built.
fn debian() -> Result<Compiler> {
    for program in ["apt-get", "dpkg"] {
        ensure!(process::find(program).is_some(), "{program} is not installed");
    }
    let unpacked = folder().join("debian-root");
    let sysroot = unpacked.join("usr");
    let rustc = sysroot.join("bin/rustc");
    let libraries = sysroot.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
    if !sysroot.join("lib/rustlib").join(TARGET).is_dir() {
        unpack(&unpacked)?;
    }
    let version = output(Command::new(&rustc).env("LD_LIBRARY_PATH", &libraries).arg("--version"))?;
    let mut cargo = cargo();
    cargo.env("RUSTC", &rustc).env("LD_LIBRARY_PATH", &libraries).env("RUSTC_BOOTSTRAP", "1");
    Ok(Compiler { version, cargo, sysroot, arguments: &[] })
}

/// Fetches Debian's packages and unpacks them into `folder`, which is there only when all is in it.
fn unpack(folder: &Path) -> Result<()> {
    let part = folder.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))?;
    }
    fs::create_dir_all(&part).with_context(|| format!("making {}", part.display()))?;
    let mut packages = DEBIAN_PACKAGES.map(str::to_owned).to_vec();
    packages.push(runtime_package()?);
    let fetch = || {
        let mut command = Command::new("apt-get");
        command.current_dir(&part).arg("download").args(&packages).stdout(std::io::stderr());
        setup::say(&command);
        process::run(&mut command)
    };
    if let Err(error) = fetch() {
        // What apt knows may be older than what its servers have.
        setup::refresh().with_context(|| format!("{error:#}"))?;
        fetch()?;
    }
    for entry in fs::read_dir(&part).with_context(|| format!("reading {}", part.display()))? {
        let package = entry.with_context(|| format!("reading {}", part.display()))?.path();
        process::run(Command::new("dpkg").arg("-x").arg(&package).arg(&part))?;
        fs::remove_file(&package).with_context(|| format!("removing {}", package.display()))?;
    }
    fs::rename(&part, folder).with_context(|| format!("renaming {}", part.display()))
}

/// The package of the compiler's own libraries, whose name holds the version.
fn runtime_package() -> Result<String> {
    let depends = output(Command::new("apt-cache").args(["depends", "libstd-rust-web-dev"]))?;
    let mut words = depends.split_whitespace();
    let found = words.find(|word| word.starts_with("libstd-rust-web-") && !word.contains("-dev"));
    found.map(str::to_owned).context("apt knows no package libstd-rust-web-dev (it is in Debian's security suites)")
}

/// bpf-linker, built once.
fn linker(llvm_config: &Path) -> Result<PathBuf> {
    let home = folder().join("bpf-linker");
    let linker = home.join("bin/bpf-linker");
    let wanted = format!("bpf-linker {LINKER_VERSION}");
    if !output(Command::new(&linker).arg("--version")).is_ok_and(|version| version == wanted) {
        let mut command = cargo();
        // Nearly all its time is LLVM's: unoptimised it is built in half the time and links no slower.
        command
            .env("LLVM_PREFIX", output(Command::new(llvm_config).arg("--prefix"))?)
            .env("CARGO_PROFILE_DEV_DEBUG", "0");
        command.args([
            "install",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
            "--force",
            "--debug",
            "--root",
        ]);
        command.arg(&home).args(["--no-default-features", "--features", &format!("llvm-{}", setup::LLVM)]);
        // Not in the system's folder for temporary files, which may be small and where a build that fails would stay.
        let build = home.join("build");
        command.arg("--target-dir").arg(&build);
        setup::say(&command);
        process::run(&mut command)?;
        fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))?;
    }
    Ok(linker)
}

/// What rustc must be told: to have BTF written, and no name of this machine's folders.
fn flags(sysroot: &Path) -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registry = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let mut folders = vec![(root().to_owned(), "."), (sysroot.to_owned(), "rust")];
    // cargo names what lies in the workspace relative to it.
    if let Ok(relative) = sysroot.strip_prefix(root()) {
        folders.push((relative.to_owned(), "rust"));
    }
    // One for each registry, named after where that is.
    for entry in fs::read_dir(&registry).into_iter().flatten() {
        folders.push((entry.with_context(|| format!("reading {}", registry.display()))?.path(), "crates"));
    }
    let mut flags = vec!["-Clink-arg=--btf".to_owned()];
    for (folder, name) in folders {
        let folder = folder.to_str().with_context(|| format!("{} is not UTF-8", folder.display()))?;
        flags.push(format!("--remap-path-prefix={folder}={name}"));
    }
    Ok(flags)
}
