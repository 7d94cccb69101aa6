//! The `syslog` sink: RFC 5424 messages over TCP or TLS, one an event, many a write.
//!
//! The receiver of syslog says nothing, so `Delivered` means: every byte of the batch was written, the
//! peer's kernel has acknowledged all of them, and the connection was still open after that. A receiver that
//! crashes with bytes in its kernel's buffers loses them, and nobody is told: that is the protocol, not this
//! program. Any end of the connection before that is a failure, and the whole batch is sent again; what had
//! arrived of it arrives twice, with the same position in its structured data.
//!
//! The connection is kept between parcels; one that was closed while idle is replaced without a failure.

mod connection;
mod header;
mod settings;
#[cfg(test)]
mod tests;
pub mod words;

use std::fmt;
use std::io::Write as _;

use tokio::time::timeout;

use self::connection::{Connection, Target, failure, retry};
use self::header::HeaderWriter;
use super::tls::TlsClient;
use super::{Failure, OpenError, Outcome, Sink};
use crate::batch::{Parcel, Record};

pub use settings::{Framing, HeaderSettings, SyslogSettings, TextSource};

/// Delivers to a receiver of syslog.
pub struct SyslogSink {
    settings: SyslogSettings,
    target: Target,
    header: HeaderWriter,
    /// Messages not yet written; empty between parcels.
    frames: Vec<u8>,
    /// The header of the message under way.
    head: Vec<u8>,
    /// A connection that was open after the last parcel; gone while one is under way, so that a dropped
    /// delivery takes it along.
    kept: Option<Connection>,
}

/// Messages are gathered up to here before they are written.
const WRITE_BYTES: usize = 128 << 10;

impl SyslogSink {
    /// Reads the certificates. Does not connect.
    ///
    /// # Errors
    /// When the TLS options cannot work.
    pub fn open(settings: &SyslogSettings) -> Result<Self, OpenError> {
        let tls = settings.tls.as_ref();
        let tls = tls.map(|tls| TlsClient::open(tls, &settings.host));
        Ok(Self {
            target: Target {
                host: settings.host.clone(),
                port: settings.port,
                tls: tls.transpose()?,
            },
            header: HeaderWriter::new(&settings.header),
            settings: settings.clone(),
            frames: Vec::new(),
            head: Vec::new(),
            kept: None,
        })
    }

    /// Sends what fits; the records that do not, with the reason.
    async fn send(&mut self, parcel: &Parcel) -> Result<Vec<(u32, Failure)>, Outcome> {
        let mut connection = self.connection().await?;
        let limit = self.settings.send_timeout;
        let written = timeout(limit, self.write(parcel, &mut connection)).await;
        let rejected = written.map_err(|_| {
            let name = self.target.name();
            let detail = format!("{name} did not take the batch within {limit:?}");
            retry(failure("timed_out", detail))
        })??;
        let limit = self.settings.ack_timeout;
        let acknowledged = timeout(limit, connection.acknowledged()).await;
        match acknowledged {
            Ok(acknowledged) => acknowledged?,
            Err(_) => {
                let (name, left) = (self.target.name(), connection.unacknowledged_bytes()?);
                let detail =
                    format!("{name} did not acknowledge the last {left} bytes within {limit:?}");
                return Err(retry(failure("timed_out", detail)));
            }
        }
        self.kept = Some(connection);
        Ok(rejected)
    }

    async fn connection(&mut self) -> Result<Connection, Outcome> {
        if let Some(mut kept) = self.kept.take()
            && kept.is_open().await
        {
            return Ok(kept);
        }
        Connection::open(&self.target, self.settings.connect_timeout).await
    }

    async fn write(
        &mut self,
        parcel: &Parcel,
        connection: &mut Connection,
    ) -> Result<Vec<(u32, Failure)>, Outcome> {
        let batch = parcel.id.uuid().to_string();
        let mut rejected = Vec::new();
        // What a dropped delivery left.
        self.frames.clear();
        for (number, record) in (0_u32..).zip(parcel.records()) {
            if let Err(why) = self.frame(&batch, record) {
                rejected.push((number, why));
            }
            if self.frames.len() >= WRITE_BYTES {
                connection.write(&self.frames).await?;
                self.frames.clear();
            }
        }
        connection.write(&self.frames).await?;
        self.frames.clear();
        self.frames.shrink_to(2 * WRITE_BYTES);
        Ok(rejected)
    }

    /// Appends the record's message to the frames, unless it is too large.
    fn frame(&mut self, batch: &str, record: &Record) -> Result<(), Failure> {
        self.head.clear();
        self.header.push(batch, record, &mut self.head);
        self.head.push(b' ');
        let bytes = self.head.len() + record.body.len();
        let limit = self.settings.message_bytes_max;
        if let Some(limit) = limit.filter(|limit| bytes as u64 > *limit) {
            let detail = format!("a message of {bytes} bytes; message_bytes_max is {limit}");
            return Err(failure("message_size_too_large", detail));
        }
        let frames = &mut self.frames;
        match self.settings.framing {
            Framing::OctetCounting => {
                write!(frames, "{bytes} ").expect("a vector takes all");
                frames.extend_from_slice(&self.head);
                frames.extend_from_slice(&record.body);
            }
            Framing::Newline => {
                frames.extend_from_slice(&self.head);
                let one_line = |byte: &u8| if *byte == b'\n' { b' ' } else { *byte };
                frames.extend(record.body.iter().map(one_line));
                frames.push(b'\n');
            }
        }
        Ok(())
    }
}

impl Sink for SyslogSink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        let rejected = match self.send(parcel).await {
            Ok(rejected) => rejected,
            Err(outcome) => return outcome,
        };
        match rejected.first() {
            None => Outcome::Delivered,
            Some((_, why)) => Outcome::Partial {
                retry: Vec::new(),
                why: why.clone(),
                reject: rejected,
                after: None,
            },
        }
    }
}

impl fmt::Debug for SyslogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyslogSink")
            .field("target", &self.target.name())
            .field("connected", &self.kept.is_some())
            .finish_non_exhaustive()
    }
}
