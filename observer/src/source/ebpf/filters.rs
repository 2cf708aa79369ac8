//! Where the packet filter is: on packet sockets in each network namespace, one for each interface. That on the loopback one
//! takes IPv6 alone: IPv4 is seen as it leaves there, and would pay for a second look on a socket for all interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use socket2::Socket as PacketSocket;

use super::load::Loaded;
use crate::source::links::{Link, Links};
use crate::source::namespace;
use crate::source::porter::{Errand, Porter};

/// Interfaces of a namespace that have a socket each; where there are more, one socket is for all.
const MOST: usize = 64;

/// Index of the loopback interface in every namespace.
const LOOPBACK: u32 = 1;

/// Stands for every interface.
const ANY: u32 = 0;

/// Namespaces that are asked about at once.
const CHANGES: usize = 16;

/// The packet filters of all namespaces.
pub struct Filters {
    namespaces: BTreeMap<u32, Namespace>,
    /// Tells in which of them interfaces came or went.
    changes: rustix::fd::OwnedFd,
}

/// One namespace.
#[derive(Default)]
struct Namespace {
    /// Where to enter it; `None` for the one that this thread is in.
    path: Option<PathBuf>,
    /// Its interfaces; `None` where one socket is for all of them.
    links: Option<Links>,
    /// By the interface's index.
    sockets: BTreeMap<u32, PacketSocket>,
}

/// What opens sockets, and what they get.
pub struct Tools<'a> {
    pub loaded: &'a mut Loaded,
    /// Enters namespaces; none where that is forbidden or not needed.
    pub porter: Option<&'a Porter>,
}

impl Tools<'_> {
    /// Has something opened in the namespace at `path`, or in this thread's.
    pub fn open(&self, errand: Errand, path: Option<&Path>) -> Result<rustix::fd::OwnedFd> {
        match (path, self.porter) {
            (Some(path), Some(porter)) => porter.open(errand, path, None),
            (Some(_), None) => bail!("it is not the one that observer runs in"),
            (None, _) => errand.run(None),
        }
    }

    /// A packet socket with the filter, which receives from an interface.
    fn filter(&mut self, path: Option<&Path>, interface: u32) -> Result<PacketSocket> {
        let socket: PacketSocket = self.open(Errand::PacketSocket, path)?.into();
        self.loaded.filter(&socket)?;
        let protocol = if interface == LOOPBACK { namespace::ETH_P_IPV6 } else { namespace::ETH_P_ALL };
        namespace::open_up(&socket, interface, protocol, !self.loaded.sees_leaving)?;
        Ok(socket)
    }
}

impl Filters {
    /// None yet.
    pub fn new() -> Result<Self> {
        let changes = epoll::create(epoll::CreateFlags::CLOEXEC).context("making an epoll instance")?;
        Ok(Self { namespaces: BTreeMap::new(), changes })
    }

    /// Whether a namespace has its filters, or cannot have any.
    pub fn has(&self, inode: u32) -> bool {
        self.namespaces.contains_key(&inode)
    }

    /// Lets go of the namespaces that are not there any more.
    pub fn retain(&mut self, is_there: impl Fn(u32) -> bool) {
        self.namespaces.retain(|inode, _| is_there(*inode));
    }

    /// Puts filters into a namespace.
    ///
    /// # Errors
    /// Where none can be had; the namespace is not tried again.
    pub fn add(&mut self, inode: u32, path: Option<PathBuf>, tools: &mut Tools<'_>) -> Result<()> {
        let namespace = self.namespaces.entry(inode).or_default();
        namespace.path = path;
        if !tools.loaded.sees_leaving {
            return namespace.take_all(tools);
        }
        let links = tools.open(Errand::Links, namespace.path.as_deref()).and_then(Links::by);
        let followed = links.and_then(|links| {
            watched(&self.changes, inode, &links)?;
            namespace.links = Some(links);
            namespace.follow(tools)
        });
        followed.or_else(|error| {
            tracing::info!("one packet socket is for all interfaces of network namespace {inode}: {error:#}");
            namespace.take_all(tools)
        })
    }

    /// Follows the interfaces that came or went; gives whether that went well everywhere. A namespace where it did not is one
    /// without filters again: the process may have gone by which it was entered.
    pub fn follow(&mut self, tools: &mut Tools<'_>) -> bool {
        let mut events = Vec::with_capacity(CHANGES);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // What cannot be waited for now is still there the next time.
        if epoll::wait(&self.changes, spare_capacity(&mut events), Some(&at_once)).is_err() {
            return true;
        }
        let before = self.namespaces.len();
        let changed: BTreeSet<u32> = events.iter().map(|event| event.data.u64() as u32).collect();
        for inode in changed {
            if let Some(namespace) = self.namespaces.get_mut(&inode)
                && let Err(error) = namespace.follow(tools)
            {
                tracing::info!("the interfaces of network namespace {inode} cannot be followed: {error:#}");
                self.namespaces.remove(&inode);
            }
        }
        self.namespaces.len() == before
    }
}

fn watched(changes: &rustix::fd::OwnedFd, inode: u32, links: &Links) -> Result<()> {
    let data = epoll::EventData::new_u64(inode.into());
    epoll::add(changes, links, data, epoll::EventFlags::IN).context("watching the interfaces of a network namespace")
}

impl Namespace {
    /// Takes in which interfaces there are.
    fn follow(&mut self, tools: &mut Tools<'_>) -> Result<()> {
        let Some(links) = &self.links else { return Ok(()) };
        let (mut there, mut gone) = (BTreeSet::new(), BTreeSet::new());
        let is_whole = links.take(|link| match link {
            Link::There(index) => drop(there.insert(index)),
            // Its socket is of no use any more, not even if another one gets its index.
            Link::Gone(index) => {
                there.remove(&index);
                gone.insert(index);
            }
        });
        if !is_whole? {
            // The answer is there at the next look.
            self.sockets.clear();
            return links.ask();
        }
        self.sockets.retain(|index, _| !gone.contains(index));
        there.retain(|index| !self.sockets.contains_key(index));
        if self.sockets.len() + there.len() > MOST {
            return self.take_all(tools);
        }
        for index in there {
            match tools.filter(self.path.as_deref(), index) {
                Ok(socket) => drop(self.sockets.insert(index, socket)),
                // It went in the meantime, which will be told.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has one socket for all interfaces, which need not be followed then.
    fn take_all(&mut self, tools: &mut Tools<'_>) -> Result<()> {
        self.links = None;
        self.sockets.clear();
        self.sockets.insert(ANY, tools.filter(self.path.as_deref(), ANY)?);
        Ok(())
    }
}

/// Whether there was no such interface.
fn is_gone(error: &anyhow::Error) -> bool {
    let errors = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    errors.filter_map(std::io::Error::raw_os_error).any(|number| number == libc::ENODEV)
}
