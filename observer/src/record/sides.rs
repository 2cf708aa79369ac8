//! The two ends of a connection, and a value for each.

use schemars::JsonSchema;
use serde::Serialize;

/// A value for each end of a connection: `client` opened it, `server` accepted it (see `roles_from`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sides<T> {
    /// Sent by, or true of, the end that opened the connection.
    pub client: T,
    /// Sent by, or true of, the end that accepted it.
    pub server: T,
}

impl<T> Sides<T> {
    /// The value of one side.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Each side's value turned into another.
    pub fn map<U>(self, mut turn: impl FnMut(T) -> U) -> Sides<U> {
        Sides { client: turn(self.client), server: turn(self.server) }
    }

    /// The value of one side, to change it.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The end that opened the connection.
    Client,
    /// The end that accepted it.
    Server,
}

impl Side {
    /// The other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What only TCP has. Of other connections it is absent, and reads as if nothing had been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TcpOnly<T> {
    value: T,
    #[serde(skip)]
    is_absent: bool,
}

impl<T: Default> TcpOnly<T> {
    /// Of a connection of another transport protocol.
    pub fn absent() -> Self {
        Self { value: T::default(), is_absent: true }
    }
}

impl<T> TcpOnly<T> {
    /// Whether the connection is one of another transport protocol.
    pub fn is_absent(&self) -> bool {
        self.is_absent
    }
}

impl<T> From<T> for TcpOnly<T> {
    fn from(value: T) -> Self {
        Self { value, is_absent: false }
    }
}

impl<T> std::ops::Deref for TcpOnly<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> std::ops::DerefMut for TcpOnly<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
