//! A small process apart that may enter network namespaces, which takes CAP_SYS_ADMIN: it opens what is wanted there, hands
//! it over, and looks at nothing. Observer itself, which reads what others send, does without that right.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use observer::gauge::Text;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::addresses::Addresses;
use super::conntrack::{Entries, Events, Wanted};
use super::links::Links;
use super::namespace;
use super::nft::Rules;
use super::sock_diag::dump::Table;
use crate::privilege::{self, Needs};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A packet socket that receives nothing yet.
    PacketSocket,
    /// An eBPF iterator, of the program that is handed over.
    Iterator,
    /// A socket for the tables of sockets.
    Table,
    /// A socket that hears of new entries of connection tracking.
    NewFlows,
    /// A socket for the entries of connection tracking.
    Entries,
    /// A socket for the namespace's addresses.
    Addresses,
    /// A socket for the rules of nf_tables.
    Rules,
    /// A socket that hears of the interfaces.
    Links,
    /// A text of /proc.
    Text(Text),
}

impl Errand {
    /// Where texts begin.
    const TEXTS: u8 = 16;

    fn number(self) -> u8 {
        match self {
            Self::PacketSocket => 1,
            Self::Iterator => 2,
            Self::Table => 3,
            Self::NewFlows => 4,
            Self::Entries => 5,
            Self::Addresses => 6,
            Self::Rules => 7,
            Self::Links => 8,
            Self::Text(text) => Self::TEXTS + text as u8,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        let plain = [
            Self::PacketSocket,
            Self::Iterator,
            Self::Table,
            Self::NewFlows,
            Self::Entries,
            Self::Addresses,
            Self::Rules,
            Self::Links,
        ];
        let texts = Text::ALL.into_iter().map(Self::Text);
        plain.into_iter().chain(texts).find(|errand| errand.number() == number)
    }

    /// Opens it in the namespace that this thread is in.
    ///
    /// # Errors
    /// Where it is not there, or not allowed.
    pub fn run(self, program: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
        match self {
            Self::PacketSocket => Ok(namespace::packet_socket()?.into()),
            Self::Iterator => open_iterator(program.context("an iterator without a program")?),
            Self::Table => Table::socket(),
            Self::NewFlows => Events::socket(Wanted::New),
            Self::Entries => Entries::socket(),
            Self::Addresses => Addresses::socket(),
            Self::Rules => Rules::socket(),
            Self::Links => Links::socket(),
            // /proc/net is that of the process's first thread.
            Self::Text(text) => {
                let file = File::open(text.source().replace("/proc/net/", "/proc/thread-self/net/"))?;
                Ok(file.into())
            }
        }
    }
}

/// What comes with a descriptor; a message without any octet would be the end of the line.
const DONE: &[u8] = b"done";

/// Longest message: a path, or an error.
const LONGEST: usize = 4096;

/// The process; ends with the last hold on it.
#[derive(Debug)]
pub struct Porter {
    line: Mutex<OwnedFd>,
}

impl Porter {
    /// Starts it, with these rights. To be called while this process has one thread only.
    pub fn start(needs: Needs) -> Result<Self> {
        // Messages keep their bounds, and the end of the other side is seen.
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .context("making a pair of sockets")?;
        // SAFETY: this process has one thread, so that nothing is left half done in the child, which never returns.
        match unsafe { libc::fork() } {
            -1 => Err(std::io::Error::last_os_error()).context("starting the process that enters namespaces"),
            0 => {
                drop(ours);
                serve(&theirs, needs);
                // SAFETY: ends this process at once; there is nothing to be cleaned up.
                unsafe { libc::_exit(0) }
            }
            _ => Ok(Self { line: Mutex::new(ours) }),
        }
    }

    /// Has something opened in the namespace at `path`.
    pub fn open(&self, errand: Errand, path: &Path, program: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
        let line = self.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut message = vec![errand.number()];
        message.extend_from_slice(path.as_os_str().as_bytes());
        send(&line, &message, program).context("asking the process that enters namespaces")?;
        let (answer, descriptor) = receive(&line).context("hearing from the process that enters namespaces")?;
        descriptor.with_context(|| {
            let why = String::from_utf8_lossy(&answer).into_owned();
            if why.is_empty() { "the process that enters namespaces has ended".to_string() } else { why }
        })
    }
}

/// The child's life: an errand after the other, until nobody is left to send it on one.
fn serve(line: &OwnedFd, needs: Needs) {
    // SAFETY: the arguments are numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // A Ctrl-C is for the parent, which still has things to say.
    // SAFETY: ignoring a signal takes no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    // What it cannot lay down it keeps: less is better, but nothing depends on it.
    let _ = privilege::lay_down(needs);
    while let Ok((message, program)) = receive(line) {
        let Some((errand, path)) = message.split_first() else { return };
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
        let sent = match run(*errand, &path, program.as_ref()) {
            Ok(opened) => send(line, DONE, Some(opened.as_fd())),
            Err(error) => send(line, format!("{error:#}").as_bytes(), None),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn run(errand: u8, path: &Path, program: Option<&OwnedFd>) -> Result<OwnedFd> {
    let namespace = File::open(path).with_context(|| format!("opening the network namespace {}", path.display()))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering the network namespace {} (this takes CAP_SYS_ADMIN)", path.display()))?;
    let errand = Errand::from_number(errand).with_context(|| format!("no errand {errand}"))?;
    errand.run(program.map(|program| program.as_fd()))
}

/// `union bpf_attr` as `BPF_LINK_CREATE` and `BPF_ITER_CREATE` take it.
#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    descriptor: u32,
    target_or_flags: u32,
    attach_type: u32,
    flags: u32,
    rest: [u64; 6],
}

/// Opens an iterator of a loaded program in this process's namespace: reading the file runs it.
pub fn open_iterator(program: BorrowedFd<'_>) -> Result<OwnedFd> {
    const LINK_CREATE: libc::c_long = 28;
    const ITER_CREATE: libc::c_long = 33;
    const TRACE_ITER: u32 = 28;
    let call = |command: libc::c_long, attributes: &LinkAttributes| {
        // SAFETY: the attributes are as large as is said, and outlive the call.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<LinkAttributes>())
        };
        if result < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given out this descriptor, to nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
    };
    let of = |descriptor: BorrowedFd<'_>| descriptor.as_raw_fd().cast_unsigned();
    let attributes = LinkAttributes { descriptor: of(program), attach_type: TRACE_ITER, ..LinkAttributes::default() };
    let link = call(LINK_CREATE, &attributes).context("starting an iterator")?;
    let attributes = LinkAttributes { descriptor: of(link.as_fd()), ..LinkAttributes::default() };
    call(ITER_CREATE, &attributes).context("opening an iterator")
}

fn send(line: &OwnedFd, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    sendmsg(line, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(line: &OwnedFd) -> Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut message = vec![0; LONGEST];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(line, &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    message.truncate(received.bytes);
    let descriptor = control.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((message, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errands_are_told_apart_by_their_numbers() {
        for number in 0..=u8::MAX {
            assert!(Errand::from_number(number).is_none_or(|errand| errand.number() == number));
        }
        let errands = (0..=u8::MAX).filter_map(Errand::from_number);
        assert_eq!(errands.count(), 8 + Text::ALL.len());
    }
}
