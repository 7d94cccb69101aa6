//! From a batch to the bytes a destination gets: spliced where blocks are whole and large,
//! compressed anew where they are cut or small, where a rule takes a part, and where a template
//! changes events.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{
    Batch, BatchId, BatchPart, Body, BodyForm, Compression, EventPosition, Parcel, Purpose, Record,
};
use crate::block::CodecId;
use crate::block::codec::{Codec, CodecError};
use crate::event::LabelRun;
use crate::stream::gzip::{Assembly, GzipMember, Recompressor, splice_or_recompress};
use crate::stream::lines::{BlockLines, Unreadable, unreadable};
use crate::stream::template::{EventAt, Renderer, Template};

/// Encodes the batches of one stream; state and buffers are reused.
#[derive(Debug)]
pub struct Encoder {
    lines: BlockLines,
    renderer: Renderer,
    recompressor: Recompressor,
}

impl Encoder {
    /// An encoder with the codec of the stream's thread.
    #[must_use]
    pub fn new(codec: Box<dyn Codec>) -> Self {
        Self {
            lines: BlockLines::default(),
            renderer: Renderer::default(),
            recompressor: Recompressor::new(codec),
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
        let content_type = template.map(|template| template.framing().content_type);
        let template = template.filter(|template| !template.is_raw());
        let (body, raw_bytes) = match (form, template) {
            (BodyForm::Records, template) => self.records(batch, template)?,
            (BodyForm::Whole(compression), Some(template)) => {
                whole(self.rendered(batch, compression, template)?)
            }
            (BodyForm::Whole(Compression::Identity), None) => whole(self.identity(&batch.parts)?),
            (BodyForm::Whole(Compression::Gzip), None) => whole(self.gzip(&batch.parts)?),
        };
        Ok(Parcel {
            purpose: Purpose::Events,
            content_type,
            id: batch.id.clone(),
            journal: batch.journal,
            attempt: batch.attempt,
            events: batch.events(),
            raw_bytes,
            body,
            content_encoding: form.compression(),
            received_first: batch.received_first,
        })
    }

    /// A parcel of one event of Weir's own, made as those of the journal are.
    ///
    /// # Errors
    /// When the codec refuses.
    pub fn encode_probe(
        &mut self,
        id: BatchId,
        event: &EventAt<'_>,
        form: BodyForm,
        template: Option<&Template>,
    ) -> Result<Parcel, CodecError> {
        let content_type = template.map(|template| template.framing().content_type);
        let template = template.filter(|template| !template.is_raw());
        let mut rendered = Vec::new();
        match template {
            Some(template) => self.renderer.render(template, event, &mut rendered),
            None => rendered.extend_from_slice(event.line),
        }
        let (body, raw_bytes) = match form {
            BodyForm::Records => {
                let raw_bytes = rendered.len() as u64;
                let record = Record {
                    position: event.position,
                    received: event.received,
                    labels: Arc::new(event.labels.clone()),
                    line: Bytes::copy_from_slice(event.line),
                    body: Bytes::from(rendered),
                };
                (Body::Records(vec![record]), raw_bytes)
            }
            BodyForm::Whole(compression) => {
                self.recompressor.reset();
                let mut records = Vec::new();
                if let Some(template) = template {
                    let framing = template.framing();
                    records.extend_from_slice(&framing.prefix);
                    records.append(&mut rendered);
                    if framing.trailing_separator {
                        records.extend_from_slice(&framing.separator);
                    }
                    records.extend_from_slice(&framing.suffix);
                } else {
                    records.append(&mut rendered);
                    records.push(b'\n');
                }
                whole(RenderedBody::new(compression).finish(records, &mut self.recompressor)?)
            }
        };
        Ok(Parcel {
            journal: event.position.journal,
            received_first: event.received,
            purpose: Purpose::Probe,
            content_encoding: form.compression(),
            attempt: 0,
            events: 1,
            id,
            raw_bytes,
            body,
            content_type,
        })
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

    fn identity(&mut self, parts: &[BatchPart]) -> Result<(Vec<Bytes>, u64), Unreadable> {
        let mut body = Vec::with_capacity(parts.len());
        let mut raw_bytes = 0;
        for part in parts {
            let mut lines = Vec::new();
            self.lines
                .each_run(part, |run| lines.extend_from_slice(run))?;
            raw_bytes += lines.len() as u64;
            body.push(Bytes::from(lines));
        }
        Ok((body, raw_bytes))
    }

    fn gzip(&mut self, parts: &[BatchPart]) -> Result<(Vec<Bytes>, u64), Unreadable> {
        let whole = parts.iter().filter(|part| part.is_whole());
        let assembly = splice_or_recompress(whole.map(|part| u64::from(part.block.raw_len)));
        // What a batch left that could not be read to its end is none of this one's.
        self.recompressor.reset();
        let mut member = GzipMember::new();
        let mut body = Vec::with_capacity(parts.len() + 2);
        body.push(Bytes::copy_from_slice(&GzipMember::header()));
        let mut run = Vec::new();
        for part in parts {
            let is_run = part.block.codec == CodecId::DeflateRun;
            if part.is_whole() && is_run && assembly == Assembly::Splice {
                self.end_run(&mut run, &mut member, &mut body, part)?;
                member.add_run(part.block.raw_crc32, u64::from(part.block.raw_len));
                body.push(part.block.body());
                continue;
            }
            let mut pushed = Ok(());
            let recompressor = &mut self.recompressor;
            self.lines.each_run(part, |lines| {
                if pushed.is_ok() {
                    pushed = recompressor.push(lines, &mut run);
                }
            })?;
            pushed.map_err(|error| unreadable(&part.block, &error))?;
        }
        if let Some(last) = parts.last() {
            self.end_run(&mut run, &mut member, &mut body, last)?;
        }
        let raw_bytes = member.raw_len();
        body.push(Bytes::copy_from_slice(&member.finish()));
        Ok((body, raw_bytes))
    }

    /// Every event that is taken, by itself.
    fn records(
        &mut self,
        batch: &Batch,
        template: Option<&Template>,
    ) -> Result<(Body, u64), Unreadable> {
        let mut records = Vec::new();
        let mut raw_bytes = 0;
        for part in &batch.parts {
            let block = &part.block;
            let runs = self.lines.label_runs(block)?;
            let mut labelled = Labelled {
                runs: &runs,
                start: 0,
            };
            let renderer = &mut self.renderer;
            let (mut lines, mut bodies) = (Vec::new(), Vec::new());
            let mut ends = Vec::new();
            self.lines.each_line(part, |line| {
                let run = labelled.of(line.event);
                let event = EventAt {
                    line: &line.buffer[line.span.start..line.span.end - 1],
                    labels: &run.labels,
                    received: run.received,
                    position: EventPosition::of(block, line.event),
                };
                lines.extend_from_slice(event.line);
                if let Some(template) = template {
                    renderer.render(template, &event, &mut bodies);
                }
                ends.push((event.position, run, lines.len(), bodies.len()));
            })?;
            let (lines, bodies) = (Bytes::from(lines), Bytes::from(bodies));
            let (mut line_start, mut body_start) = (0, 0);
            for (position, run, line_end, body_end) in ends {
                let line = lines.slice(line_start..line_end);
                let body = match template {
                    Some(_) => bodies.slice(body_start..body_end),
                    None => line.clone(),
                };
                raw_bytes += body.len() as u64 + 1;
                records.push(Record {
                    position,
                    received: run.received,
                    labels: Arc::clone(&run.labels),
                    line,
                    body,
                });
                (line_start, body_start) = (line_end, body_end);
            }
        }
        Ok((Body::Records(records), raw_bytes))
    }

    /// Every event that is taken, as the template has it.
    fn rendered(
        &mut self,
        batch: &Batch,
        compression: Compression,
        template: &Template,
    ) -> Result<(Vec<Bytes>, u64), Unreadable> {
        self.recompressor.reset();
        let framing = template.framing();
        let mut records = framing.prefix.clone();
        let mut out = RenderedBody::new(compression);
        let mut is_first = true;
        for part in &batch.parts {
            let block = &part.block;
            let runs = self.lines.label_runs(block)?;
            let mut labelled = Labelled {
                runs: &runs,
                start: 0,
            };
            let (renderer, recompressor) = (&mut self.renderer, &mut self.recompressor);
            let mut pushed = Ok(());
            self.lines.each_line(part, |line| {
                let run = labelled.of(line.event);
                if !std::mem::take(&mut is_first) {
                    records.extend_from_slice(&framing.separator);
                }
                let event = EventAt {
                    line: &line.buffer[line.span.start..line.span.end - 1],
                    labels: &run.labels,
                    received: run.received,
                    position: EventPosition::of(block, line.event),
                };
                renderer.render(template, &event, &mut records);
                if records.len() >= RECORDS_BYTES && pushed.is_ok() {
                    pushed = out.push(&mut records, recompressor);
                }
            })?;
            pushed.map_err(|error| unreadable(block, &error))?;
        }
        if framing.trailing_separator && !is_first {
            records.extend_from_slice(&framing.separator);
        }
        records.extend_from_slice(&framing.suffix);
        let finished = out.finish(records, &mut self.recompressor);
        finished.map_err(|error| Unreadable {
            range: batch.id.range,
            why: error.to_string(),
        })
    }

    /// Ends the run that was compressed anew, if one was begun.
    fn end_run(
        &mut self,
        run: &mut Vec<u8>,
        member: &mut GzipMember,
        body: &mut Vec<Bytes>,
        part: &BatchPart,
    ) -> Result<(), Unreadable> {
        let ended = self.recompressor.finish(run);
        let ended = ended.map_err(|error| unreadable(&part.block, &error))?;
        if ended.raw_len > 0 {
            member.add_run(ended.raw_crc32, ended.raw_len);
            body.push(Bytes::from(std::mem::take(run)));
        }
        Ok(())
    }
}

fn whole((chunks, raw_bytes): (Vec<Bytes>, u64)) -> (Body, u64) {
    (Body::Whole(chunks), raw_bytes)
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

/// A body that grows record by record.
struct RenderedBody {
    compression: Compression,
    chunks: Vec<Bytes>,
    run: Vec<u8>,
    raw_bytes: u64,
}

impl RenderedBody {
    fn new(compression: Compression) -> Self {
        Self {
            compression,
            chunks: Vec::new(),
            run: Vec::new(),
            raw_bytes: 0,
        }
    }

    /// Takes what was rendered so far; `records` is empty then.
    fn push(
        &mut self,
        records: &mut Vec<u8>,
        recompressor: &mut Recompressor,
    ) -> Result<(), CodecError> {
        self.raw_bytes += records.len() as u64;
        match self.compression {
            Compression::Identity => self.chunks.push(Bytes::from(std::mem::take(records))),
            Compression::Gzip => {
                recompressor.push(records, &mut self.run)?;
                records.clear();
            }
        }
        Ok(())
    }

    fn finish(
        mut self,
        mut records: Vec<u8>,
        recompressor: &mut Recompressor,
    ) -> Result<(Vec<Bytes>, u64), CodecError> {
        self.push(&mut records, recompressor)?;
        if self.compression == Compression::Gzip {
            let ended = recompressor.finish(&mut self.run)?;
            let mut member = GzipMember::new();
            member.add_run(ended.raw_crc32, ended.raw_len);
            self.chunks = vec![
                Bytes::copy_from_slice(&GzipMember::header()),
                Bytes::from(self.run),
                Bytes::copy_from_slice(&member.finish()),
            ];
        }
        Ok((self.chunks, self.raw_bytes))
    }
}

/// Rendered bytes that are gathered before they are handed on.
const RECORDS_BYTES: usize = 128 << 10;
