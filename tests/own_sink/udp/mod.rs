//! One datagram a record: what `tests/own_sink/run.sh` adds to the tree as a contributor would.

use std::borrow::Cow;
use std::net::UdpSocket;

use super::kind::{Kind, Place};
use super::{Report, SendError, Sink};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::option_table::{Text, option_table};

pub(super) static KIND: Kind = Kind {
    scheme: "udp",
    aliases: &[],
    summary: "Sends each record as a datagram.",
    once: "At least once, as far as the network delivers anything.",
    page: include_str!("page.md"),
    options: UdpOptions::TABLE,
    takes_any: false,
    place: Place::Names(&["address"]),
    feature: "",
    open: Some(&|options| Ok(Box::new(UdpSink::new(UdpOptions::from_pairs(options)?)?))),
};

option_table! {
    /// The options of a [`UdpSink`].
    pub struct UdpOptions, setters udp_setters;
    /// Where to.
    address: Text = "", "HOST:PORT", |_| true;
    /// What stands before each record.
    prefix: Text = "", "any text", |_| true;
}

struct UdpSink {
    socket: UdpSocket,
    options: UdpOptions,
}

impl UdpSink {
    fn new(options: UdpOptions) -> Result<Self> {
        let made = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect(&options.address)?;
            Ok(socket)
        });
        let socket = made.map_err(|error| Error::io(format_args!("udp://{}", options.address), error))?;
        Ok(UdpSink { socket, options })
    }
}

impl Sink for UdpSink {
    fn send(&self, batch: &Batch) -> std::result::Result<Report, SendError> {
        for record in batch.iter() {
            let datagram = [self.options.prefix.as_bytes(), record.data].concat();
            self.socket.send(&datagram).map_err(SendError::unavailable)?;
        }
        Ok(Report::delivered())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(format!("udp:{}", self.options.address))
    }
}
