//! Connections at rest: kept in short form until their next packet.

use super::connection::Connection;
use super::pack::{Pack, Packer, Unpacker};
use crate::nearby::fetch;
use crate::protocol::Conversation;

/// A connection in short form, of which nothing is known without reading it but who it is and when it was last used.
#[derive(Debug)]
pub(super) struct Resting {
    packed: Box<[u8]>,
    /// Goes along as it is: few connections have a long one.
    conversation: Option<Box<Conversation>>,
}

impl Resting {
    pub(super) fn new(mut connection: Box<Connection>, packer: &mut Packer) -> Self {
        connection.pack(packer);
        Self { packed: packer.take(), conversation: connection.conversation.take() }
    }

    pub(super) fn wake(self) -> Box<Connection> {
        let mut connection: Box<Connection> = Box::unpack(&mut Unpacker::new(&self.packed));
        connection.conversation = self.conversation;
        connection
    }

    /// Shows the connection, which goes on resting.
    pub(super) fn show(&mut self, see: impl FnOnce(&Connection)) {
        let mut connection: Connection = Pack::unpack(&mut Unpacker::new(&self.packed));
        connection.conversation = self.conversation.take();
        see(&connection);
        self.conversation = connection.conversation;
    }

    /// The connection's `id` and `last_number`, which are written first.
    pub(super) fn id_and_last_number(&self) -> (u64, u64) {
        Pack::unpack(&mut Unpacker::new(&self.packed))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.packed.len()
    }

    /// Has it fetched.
    pub(super) fn foresee(&self) {
        fetch(&*self.packed);
    }
}
