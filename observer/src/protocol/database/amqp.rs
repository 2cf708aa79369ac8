//! AMQP 0-9-1 (<https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>): methods that are answered. AMQP 1.0 is another
//! protocol behind the same header.

mod v1;

use super::{Calls, Head, Kind, Part, Wire};
use crate::protocol::Guess;
use crate::record::{ProtocolName, Side, Sides};

const HEADER: &[u8] = b"AMQP";
const HEADER_LEN: usize = 8;
/// Octets before a frame's payload, and behind it.
const FRAME: usize = 7;
const FRAME_END: u64 = 1;
const METHOD: u8 = 1;

#[derive(Debug, Default)]
struct Amqp {
    greeted: Sides<bool>,
    is_1_0: bool,
}

/// Whether these octets are a client's protocol header.
pub(in super::super) fn recognise(octets: &[u8]) -> Guess {
    match octets.strip_prefix(HEADER) {
        Some(&[0 | 2 | 3, 0..=1, _, _, ..]) => Guess::Yes(Side::Client, Box::new(Calls::new(Amqp::default()))),
        Some(rest) if rest.len() < 4 => Guess::Unsure,
        None if HEADER.starts_with(octets) => Guess::Unsure,
        _ => Guess::No,
    }
}

impl Wire for Amqp {
    const NAME: ProtocolName = ProtocolName::Amqp;

    fn head(&mut self, from: Side, octets: &[u8]) -> Head {
        let greeted = self.greeted.of_mut(from);
        // In 1.0 there is a second header behind the login.
        if (!*greeted || self.is_1_0) && HEADER.starts_with(octets.get(..HEADER.len()).unwrap_or(octets)) {
            let Some(header) = octets.get(..HEADER_LEN) else { return Head::Need(HEADER_LEN) };
            *greeted = true;
            self.is_1_0 |= from == Side::Client && header.get(5) == Some(&1);
            return Head::Part(Part::of(HEADER_LEN as u64));
        }
        *greeted = true;
        if self.is_1_0 {
            return v1::head(from, octets);
        }
        let &[kind, channel, channel_low, a, b, c, d, ref payload @ ..] = octets else { return Head::Need(FRAME) };
        let length = FRAME as u64 + u64::from(u32::from_be_bytes([a, b, c, d])) + FRAME_END;
        if !matches!(kind, 1..=3 | 8) || length > 1 << 28 {
            return Head::Malformed;
        }
        if kind != METHOD {
            return Head::Part(Part::of(length));
        }
        let &[class, class_low, method, method_low, ref arguments @ ..] = payload else { return Head::Need(FRAME + 4) };
        let channel = u64::from(u16::from_be_bytes([channel, channel_low]));
        let method = (u16::from_be_bytes([class, class_low]), u16::from_be_bytes([method, method_low]));
        match (from, method) {
            (Side::Client, _) => match name(method) {
                Some(name) => Head::Part(Part::call(length, channel, name, Kind::Prompt)),
                None => Head::Part(Part::of(length)),
            },
            // The server ends the channel, or the connection: with 200 where all is well.
            (Side::Server, (10, 50) | (20, 40)) => {
                let &[high, low, ..] = arguments else { return Head::Need(FRAME + 6) };
                let code = u16::from_be_bytes([high, low]);
                let error = (code != 200).then(|| code.to_string());
                Head::Part(Part::answer(length, Some(channel), true).with_error(error))
            }
            (Side::Server, (class, answer)) => {
                let is_answer = name((class, answer.wrapping_sub(1))).is_some() || (class, answer) == (60, 72);
                Head::Part(if is_answer { Part::answer(length, Some(channel), true) } else { Part::of(length) })
            }
        }
    }
}

/// A method that is answered by the next one of its class.
const fn name(method: (u16, u16)) -> Option<&'static str> {
    Some(match method {
        (10, 40) => "connection.open",
        (10, 50) => "connection.close",
        (20, 10) => "channel.open",
        (20, 20) => "channel.flow",
        (20, 40) => "channel.close",
        (40, 10) => "exchange.declare",
        (40, 20) => "exchange.delete",
        (40, 30) => "exchange.bind",
        (50, 10) => "queue.declare",
        (50, 20) => "queue.bind",
        (50, 30) => "queue.purge",
        (50, 40) => "queue.delete",
        (50, 50) => "queue.unbind",
        (60, 10) => "basic.qos",
        (60, 20) => "basic.consume",
        (60, 30) => "basic.cancel",
        (60, 70) => "basic.get",
        (85, 10) => "confirm.select",
        (90, 10) => "tx.select",
        (90, 20) => "tx.commit",
        (90, 30) => "tx.rollback",
        _ => return None,
    })
}
