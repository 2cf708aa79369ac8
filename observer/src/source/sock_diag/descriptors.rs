//! Which process has a socket open, by the links of `/proc/PID/fd`.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt as _;

use observer::record::SocketProcess;
use observer_ebpf::Task;
use rustix::fd::OwnedFd;
use rustix::fs::{Dir, Mode, OFlags, RawDir, SeekFrom, open, readlinkat_raw, seek};

use crate::source::stat::Stat;

/// The processes that have one of `wanted` open, by the inode of the socket. Other users' processes show their
/// descriptors only to who may trace them (CAP_SYS_PTRACE).
pub fn find(wanted: &HashSet<u32>) -> HashMap<u32, Task> {
    let mut found = HashMap::new();
    let mut last = (0, None);
    each(|pid, _, inode| {
        if !wanted.contains(&inode) {
            return;
        }
        if last.0 != pid {
            last = (pid, read(pid));
        }
        if let Some(task) = last.1 {
            // A parent comes before those that inherited from it.
            found.entry(inode).or_insert(task);
        }
    });
    found
}

/// Who has which sockets open.
#[derive(Debug, Default)]
pub struct Holders {
    /// Every process that has a socket open, by the inode of the socket.
    pub by_inode: HashMap<u32, Vec<SocketProcess>>,
    /// Processes that do not show their descriptors to us.
    pub hidden: usize,
}

impl Holders {
    /// Looks at every process.
    pub fn find() -> Self {
        let mut by_inode: HashMap<u32, Vec<SocketProcess>> = HashMap::new();
        // No process has the number 0.
        let mut last = (0, String::new());
        let hidden = each(|pid, fd, inode| {
            if last.0 != pid {
                last = (pid, name(pid));
            }
            let name = last.1.clone();
            by_inode.entry(inode).or_default().push(SocketProcess { name, pid, fd });
        });
        Self { by_inode, hidden }
    }
}

/// Hands over every socket that a process has open: process, descriptor and the socket's inode. Gives the number of
/// processes that do not show their descriptors to us.
fn each(mut take: impl FnMut(u32, u32, u32)) -> usize {
    let mut hidden = 0;
    for pid in processes() {
        match each_of(pid, |fd, inode| take(pid, fd, inode)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden += 1,
            // One that has just ended.
            Ok(()) | Err(_) => {}
        }
    }
    hidden
}

/// Every process, by its number.
pub fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
}

/// Hands over every socket that one process has open: descriptor, and the socket's inode.
///
/// # Errors
/// Where the process does not show its descriptors to us, or has ended.
fn each_of(pid: u32, mut take: impl FnMut(u32, u32)) -> io::Result<()> {
    let folder = folder(pid)?;
    for entry in Dir::read_from(&folder)? {
        if let Some((fd, inode)) = socket_at(&folder, entry?.file_name()) {
            take(fd, inode);
        }
    }
    Ok(())
}

/// Hands over some of the sockets that one process has open, as [`each_of`] does: a hundred or two, `from` where the piece
/// before ended, or 0. Gives where the next begins; `None` at the end.
///
/// # Errors
/// As [`each_of`].
pub fn piece_of(pid: u32, from: u64, mut take: impl FnMut(u32, u32)) -> io::Result<Option<u64>> {
    let folder = folder(pid)?;
    if from > 0 {
        seek(&folder, SeekFrom::Start(from))?;
    }
    let mut space = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&folder, &mut space);
    loop {
        let Some(entry) = entries.next() else { return Ok(None) };
        let entry = entry?;
        if let Some((fd, inode)) = socket_at(&folder, entry.file_name()) {
            take(fd, inode);
        }
        let next = entry.next_entry_cookie();
        if entries.is_buffer_empty() {
            return Ok(Some(next));
        }
    }
}

/// How many file descriptors a process has open; `None` where it has ended or does not show them. Since Linux 6.2 the
/// folder's size says so.
pub fn count(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    match fs::metadata(&folder).ok()?.size() {
        0 => fs::read_dir(&folder).ok().map(|entries| entries.count() as u64),
        size => Some(size),
    }
}

fn folder(pid: u32) -> io::Result<OwnedFd> {
    Ok(open(format!("/proc/{pid}/fd"), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The socket behind an entry of such a folder: its descriptor and its inode.
fn socket_at(folder: &OwnedFd, entry: &CStr) -> Option<(u32, u32)> {
    /// Longer than the link of any socket.
    const LONGEST: usize = 64;
    let fd = entry.to_str().ok()?.parse().ok()?;
    let mut target = [MaybeUninit::uninit(); LONGEST];
    let (target, _) = readlinkat_raw(folder, entry, &mut target[..]).ok()?;
    Some((fd, std::str::from_utf8(target).ok().and_then(inode)?))
}

/// `socket:[INODE]`
fn inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The name of a process; empty where it is gone.
pub fn name(pid: u32) -> String {
    let mut name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.truncate(name.trim_end_matches('\n').len());
    name
}

/// A process; `None` where it is gone.
fn read(pid: u32) -> Option<Task> {
    let folder = format!("/proc/{pid}");
    let uid = fs::metadata(&folder).ok()?.uid();
    let line = fs::read(format!("{folder}/stat")).ok()?;
    let Stat { name, parent, started } = Stat::parse(&line)?;
    let mut comm = [0; 16];
    comm.iter_mut().zip(name.iter().take(15)).for_each(|(to, from)| *to = *from);
    Some(Task { pid, uid, parent, started, cgroup: 0, comm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read() {
        assert_eq!(inode("socket:[4711]"), Some(4711));
        assert_eq!(inode("pipe:[4711]"), None);
    }

    #[test]
    fn pieces_together_are_the_whole() {
        let open: Vec<_> =
            (0..400).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").expect("it can be bound")).collect();
        let own = std::process::id();
        let (mut pieces, mut found, mut from) = (0, HashSet::new(), Some(0));
        while let Some(at) = from {
            from = piece_of(own, at, |fd, _| assert!(found.insert(fd), "{fd} comes twice")).expect("it is ours");
            pieces += 1;
        }
        let ours = |socket| std::os::fd::AsRawFd::as_raw_fd(socket).cast_unsigned();
        assert!(open.iter().all(|socket| found.contains(&ours(socket))));
        assert!(pieces > 2 && count(own) >= Some(400), "{pieces}");
        assert_eq!((count(0), piece_of(0, 0, |_, _| ()).is_err()), (None, true));
    }

    #[test]
    fn every_descriptor_of_a_socket_is_found() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair can be made");
        let again = one.try_clone().expect("it can be doubled");
        let inode =
            fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&one))).expect("it is open");
        let holders = Holders::find();
        let found = holders.by_inode.get(&(inode.ino() as u32)).expect("it is found");
        let mut descriptors = [&one, &again].map(|stream| std::os::fd::AsRawFd::as_raw_fd(stream).cast_unsigned());
        descriptors.sort_unstable();
        let own: Vec<_> =
            found.iter().filter(|holder| holder.pid == std::process::id()).map(|holder| holder.fd).collect();
        assert_eq!(own, descriptors);
    }
}
