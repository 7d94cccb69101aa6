//! From a batch to the bytes a destination gets: spliced where blocks are whole and large,
//! compressed anew where they are cut or small, where a rule takes a part, and where a template
//! changes events.

mod growing;
mod pack;

use std::sync::Arc;

use bytes::Bytes;

use self::growing::GrowingBody;
use self::pack::Packer;
use crate::batch::{
    Batch, BatchId, BatchPart, Body, BodyForm, Compression, EventPosition, Parcel, Purpose,
};
use crate::block::CodecId;
use crate::block::codec::{Codec, CodecError};
use crate::block::own::{CompressedLines, RunLines};
use crate::event::LabelRun;
use crate::position::{JournalId, OffsetRange, Timestamp};
use crate::stream::gzip::{Assembly, Recompressor, splice_or_recompress};
use crate::stream::lines::{BlockLines, Unreadable, unreadable};
use crate::stream::template::{EventAt, Renderer, Template};

/// Encodes the batches of one stream; state and buffers are reused.
#[derive(Debug)]
pub struct Encoder {
    lines: BlockLines,
    renderer: Renderer,
    recompressor: Recompressor,
    scratch: Vec<u8>,
}

impl Encoder {
    /// An encoder with the codec of the stream's thread.
    #[must_use]
    pub fn new(codec: Box<dyn Codec>) -> Self {
        Self {
            lines: BlockLines::default(),
            renderer: Renderer::default(),
            recompressor: Recompressor::new(codec),
            scratch: Vec::new(),
        }
    }

    /// Encodes a batch; without a template, or with one that changes nothing, from the lines as they are.
    ///
    /// # Errors
    /// When a block's body does not give its raw form; the batch can be sent without it.
    pub fn encode(
        &mut self,
        batch: &Batch,
        form: BodyForm,
        template: Option<&Template>,
    ) -> Result<Parcel, Unreadable> {
        let mut making = self.begin(&batch.parts, form, template);
        self.add(&mut making, &batch.parts, template)?;
        let (body, raw_bytes) = self.finish(making, template, batch.id.range)?;
        Ok(parcel_of(batch, (body, raw_bytes), form, template))
    }

    /// Begins the body of a batch of these parts.
    #[must_use]
    pub fn begin(
        &mut self,
        parts: &[BatchPart],
        form: BodyForm,
        template: Option<&Template>,
    ) -> BodyInMaking {
        let whole = parts.iter().filter(|part| part.is_whole());
        let assembly = splice_or_recompress(whole.map(|part| u64::from(part.block.raw_len)));
        let packer = Packer::new(form.compression(), &mut self.recompressor);
        let growing = GrowingBody::new(form, packer, changing(template));
        BodyInMaking { assembly, growing }
    }

    /// Adds the next parts. The template is that of the beginning.
    ///
    /// # Errors
    /// As [`Self::encode`]; the body is of no use then.
    pub fn add(
        &mut self,
        making: &mut BodyInMaking,
        parts: &[BatchPart],
        template: Option<&Template>,
    ) -> Result<(), Unreadable> {
        let packer = &mut making.growing.packer;
        let added = match (making.growing.form, changing(template)) {
            (BodyForm::Whole(compression) | BodyForm::Streamed(compression), None) => {
                match compression {
                    Compression::Identity => self.identity(packer, parts),
                    Compression::Gzip => self.gzip(packer, parts, making.assembly),
                }
            }
            (_, template) => self.grow(&mut making.growing, parts, template),
        };
        if added.is_err() {
            // Another body may be under way, between two calls.
            self.recompressor.reset();
        }
        added
    }

    /// What of the body is ready. Others may use the encoder before more is added.
    ///
    /// # Errors
    /// When the codec refuses, which no input causes.
    pub fn take(&mut self, making: &mut BodyInMaking) -> Result<Vec<Bytes>, CodecError> {
        making.growing.take(&mut self.recompressor)
    }

    /// The body, or what of it was not taken; and the bytes of all of it before compression.
    ///
    /// # Errors
    /// When the codec refuses, which no input causes; `range` names the events.
    pub fn finish(
        &mut self,
        making: BodyInMaking,
        template: Option<&Template>,
        range: OffsetRange,
    ) -> Result<(Body, u64), Unreadable> {
        let finished = (making.growing).finish(changing(template), &mut self.recompressor);
        finished.map_err(|error| Unreadable {
            range,
            why: error.to_string(),
        })
    }

    /// A parcel of events that are in no block at hand: a probe, or dead letters sent once more.
    ///
    /// # Errors
    /// When the codec refuses.
    pub fn encode_loose(
        &mut self,
        (id, purpose): (BatchId, Purpose),
        events: &[EventAt<'_>],
        form: BodyForm,
        template: Option<&Template>,
    ) -> Result<Parcel, CodecError> {
        let content_type = template.map(|template| template.framing().content_type);
        let template = changing(template);
        let packer = Packer::new(form.compression(), &mut self.recompressor);
        let mut body = GrowingBody::new(form, packer, template);
        for event in events {
            body.push(event, template, &mut self.renderer, &mut self.recompressor)?;
        }
        let (body, raw_bytes) = body.finish(template, &mut self.recompressor)?;
        let first = events.first();
        Ok(Parcel {
            id,
            journal: first.map_or(JournalId(0), |event| event.position.journal),
            attempt: 0,
            events: events.len() as u64,
            raw_bytes,
            body,
            content_encoding: form.compression(),
            content_type,
            received_first: first.map_or(Timestamp(0), |event| event.received),
            purpose,
        })
    }

    /// Calls `use_event` with each event that is taken of these parts, in order.
    ///
    /// # Errors
    /// When a block does not give its raw form or its labels.
    pub fn each_event(
        &mut self,
        parts: &[BatchPart],
        use_event: impl FnMut(&EventAt<'_>),
    ) -> Result<(), Unreadable> {
        each_event(&mut self.lines, parts, use_event)
    }

    /// How many events of a part, from its first on and taken or not, hold at most `events_max`
    /// events that are taken, with `bytes_max` raw bytes; at least one of those.
    ///
    /// # Errors
    /// When the block's body does not give its raw form.
    pub fn measure(
        &mut self,
        part: &BatchPart,
        bytes_max: u64,
        events_max: u64,
    ) -> Result<u64, Unreadable> {
        let (mut events, mut bytes) = (0_u64, 0_u64);
        let mut fitting = part.range.events();
        let first = part.numbers().start;
        self.lines.each_line(part, |line| {
            events += 1;
            bytes += line.span.len() as u64;
            if events > 1 && (events > events_max || bytes > bytes_max) {
                fitting = fitting.min(u64::from(line.event - first));
            }
        })?;
        Ok(fitting)
    }

    fn identity(&mut self, packer: &mut Packer, parts: &[BatchPart]) -> Result<(), Unreadable> {
        for part in parts {
            let mut lines = Vec::new();
            self.lines
                .each_run(part, |run| lines.extend_from_slice(run))?;
            let added = packer.add_owned(lines, &mut self.recompressor);
            added.map_err(|error| unreadable(&part.block, &error))?;
        }
        Ok(())
    }

    fn gzip(
        &mut self,
        packer: &mut Packer,
        parts: &[BatchPart],
        assembly: Assembly,
    ) -> Result<(), Unreadable> {
        let mut rest = parts;
        while let [part, behind @ ..] = rest {
            rest = behind;
            let block = &part.block;
            let is_run = block.codec == CodecId::DeflateRun;
            let mut added = Ok(());
            if part.is_whole() && is_run && assembly == Assembly::Splice {
                let of_run = (block.raw_crc32, u64::from(block.raw_len));
                added = packer.splice(block.body(), of_run, &mut self.recompressor);
            } else if let Some((own, parts)) = self.own_run(part, behind)? {
                let of_run = (own.raw_crc32, own.raw_len as u64);
                added = packer.splice(own.body, of_run, &mut self.recompressor);
                rest = &behind[parts - 1..];
            } else {
                let recompressor = &mut self.recompressor;
                self.lines.each_run(part, |lines| {
                    if added.is_ok() {
                        added = packer.add(lines, recompressor);
                    }
                })?;
            }
            added.map_err(|error| unreadable(block, &error))?;
        }
        Ok(())
    }

    /// The run of own lines that begins with a part and ends with one of those behind it; and how many parts it is.
    fn own_run(
        &mut self,
        part: &BatchPart,
        behind: &[BatchPart],
    ) -> Result<Option<(CompressedLines, usize)>, Unreadable> {
        let Some(first) = part.own_lines() else {
            return Ok(None);
        };
        let (mut parts, mut end) = (0, 0);
        for own in std::iter::once(part)
            .chain(behind)
            .map_while(BatchPart::own_lines)
        {
            if !Arc::ptr_eq(&own.run, &first.run) || own.span.start != end {
                break;
            }
            (parts, end) = (parts + 1, own.span.end);
        }
        if end != first.run.raw_len() {
            return Ok(None);
        }
        let compressed = first
            .run
            .compress(self.recompressor.codec(), &mut self.scratch);
        compressed.map_err(|error| unreadable(&part.block, &error))?;
        match first.run.read() {
            RunLines::Compressed(lines) => Ok(Some((lines, parts))),
            RunLines::Raw(_) => Ok(None),
        }
    }

    /// Adds events one by one.
    fn grow(
        &mut self,
        growing: &mut GrowingBody,
        parts: &[BatchPart],
        template: Option<&Template>,
    ) -> Result<(), Unreadable> {
        let (renderer, recompressor) = (&mut self.renderer, &mut self.recompressor);
        let mut pushed = Ok(());
        each_event(&mut self.lines, parts, |event| {
            if pushed.is_ok() {
                pushed = growing.push(event, template, renderer, recompressor);
            }
        })?;
        match (pushed, parts.first()) {
            (Err(error), Some(first)) => Err(unreadable(&first.block, &error)),
            _ => Ok(()),
        }
    }
}

/// The body of a batch, made part by part.
#[derive(Debug)]
pub struct BodyInMaking {
    /// How whole blocks become a gzip member.
    assembly: Assembly,
    growing: GrowingBody,
}

/// A batch as it is given to a sink.
#[must_use]
pub fn parcel_of(
    batch: &Batch,
    (body, raw_bytes): (Body, u64),
    form: BodyForm,
    template: Option<&Template>,
) -> Parcel {
    Parcel {
        purpose: Purpose::Events,
        content_type: template.map(|template| template.framing().content_type),
        id: batch.id.clone(),
        journal: batch.journal,
        attempt: batch.attempt,
        events: batch.events(),
        raw_bytes,
        body,
        content_encoding: form.compression(),
        received_first: batch.received_first,
    }
}

/// A template, if it changes anything.
fn changing(template: Option<&Template>) -> Option<&Template> {
    template.filter(|template| !template.is_raw())
}

/// The label runs of a block, asked for events in order.
struct Labelled<'a> {
    runs: &'a [LabelRun],
    /// Number of the first event of the first run.
    start: u32,
}

impl<'a> Labelled<'a> {
    /// The run of an event; its number is never below the one asked for before.
    fn of(&mut self, event: u32) -> &'a LabelRun {
        while let [first, rest @ ..] = self.runs
            && event >= self.start + first.events
        {
            self.start += first.events;
            self.runs = rest;
        }
        self.runs
            .first()
            .expect("every event of a block has labels")
    }
}

fn each_event(
    lines: &mut BlockLines,
    parts: &[BatchPart],
    mut use_event: impl FnMut(&EventAt<'_>),
) -> Result<(), Unreadable> {
    for part in parts {
        let block = &part.block;
        let runs = lines.label_runs(block)?;
        let mut labelled = Labelled {
            runs: &runs,
            start: 0,
        };
        lines.each_line(part, |line| {
            let run = labelled.of(line.event);
            use_event(&EventAt {
                line: &line.buffer[line.span.start..line.span.end - 1],
                labels: &run.labels,
                received: run.received,
                position: EventPosition::of(block, line.event),
            });
        })?;
    }
    Ok(())
}
