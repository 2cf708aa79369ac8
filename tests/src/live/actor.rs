//! Clients and servers, each a process of its own.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};

use super::{Netns, until};
use crate::run::observer;

/// A process of `actor`.
pub struct Actor {
    child: Child,
    /// The port it listens on; 0 for a client.
    pub port: u16,
    /// Its process identifier.
    pub pid: u32,
}

impl Actor {
    /// Where the program was built: beside this test.
    ///
    /// # Panics
    /// When it was not.
    pub fn path() -> String {
        let own = std::env::current_exe().expect("this program has a path");
        let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("actor")).find(|path| path.is_file());
        found.expect("cargo builds the actor with the tests").to_string_lossy().into_owned()
    }

    /// What observer says in its namespace as a user without rights; `None`, after saying so, where that cannot be tried.
    ///
    /// # Panics
    /// When observer cannot be put where that user may run it.
    pub fn without_root(&self, test: &str, args: &[&str]) -> Option<Output> {
        // The build's folder may be closed to others.
        let folder = tempfile::tempdir().expect("a folder can be made");
        let copy = folder.path().join("observer");
        std::fs::copy(observer().expect("there is an observer"), &copy).expect("it can be copied");
        let open = Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("it can be opened to all");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid));
        command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"]);
        match command.arg(&copy).args(args).output() {
            Ok(output) => Some(output),
            Err(error) => {
                crate::skip(test, &format!("running nsenter: {error}"));
                None
            }
        }
    }

    pub(super) fn start(netns: Option<&Netns>, role: &str, address: &str, deed: &str, times: u32) -> Self {
        let program = Self::path();
        let command = match netns {
            Some(netns) => netns.command(&program),
            None => Command::new(&program),
        };
        Self::spawn(command, role, address, deed, times)
    }

    pub(super) fn spawn(mut command: Command, role: &str, address: &str, deed: &str, times: u32) -> Self {
        command.args([role, address, deed, &times.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: what it forks ends with it.
        command.process_group(0);
        let mut child = command.spawn().expect("the actor starts");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("piped");
        BufReader::new(out.by_ref()).read_line(&mut line).expect("it says its port");
        let mut words = line.split_whitespace().map(|word| word.parse::<u32>().expect("a number"));
        let (port, pid) = (words.next().expect("a port") as u16, words.next().expect("a process"));
        Self { child, port, pid }
    }

    /// Lets go of what it waits for and waits until it has ended.
    ///
    /// # Panics
    /// When it has not by the deadline.
    pub fn end(mut self) {
        drop(self.child.stdin.take());
        self.await_end();
    }

    /// Waits until it has ended, and then lets go of what its children wait for.
    ///
    /// # Panics
    /// When it has not ended by the deadline.
    pub fn outlive(mut self) -> Self {
        // Waiting would close it.
        let stdin = self.child.stdin.take();
        self.await_end();
        drop(stdin);
        self
    }

    fn await_end(&mut self) {
        let pid = self.pid;
        until(&format!("the actor {pid} ends"), || self.child.try_wait().expect("it can be waited for").is_some());
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // SAFETY: the group was made for the child, which is waited for only below.
        unsafe { libc::kill(-self.child.id().cast_signed(), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}
