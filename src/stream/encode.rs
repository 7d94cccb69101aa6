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
use crate::block::own::{CompressedLines, RunLines};
use crate::event::{LabelRun, Labels};
use crate::position::{JournalId, Timestamp};
use crate::stream::gzip::{Assembly, GzipMember, Recompressor, splice_or_recompress};
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
        let content_type = template.map(|template| template.framing().content_type);
        let template = template.filter(|template| !template.is_raw());
        let (body, raw_bytes) = match (form, template) {
            (BodyForm::Whole(Compression::Identity), None) => whole(self.identity(&batch.parts)?),
            (BodyForm::Whole(Compression::Gzip), None) => whole(self.gzip(&batch.parts)?),
            (form, template) => self.grown(batch, form, template)?,
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
        self.recompressor.reset();
        let mut body = GrowingBody::new(form, template.filter(|template| !template.is_raw()));
        for event in events {
            body.push(event, &mut self.renderer, &mut self.recompressor)?;
        }
        let (body, raw_bytes) = body.finish(&mut self.recompressor)?;
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
        let mut rest = parts;
        while let [part, behind @ ..] = rest {
            rest = behind;
            let is_run = part.block.codec == CodecId::DeflateRun;
            if part.is_whole() && is_run && assembly == Assembly::Splice {
                self.end_run(&mut run, &mut member, &mut body, part)?;
                member.add_run(part.block.raw_crc32, u64::from(part.block.raw_len));
                body.push(part.block.body());
                continue;
            }
            if let Some((own, parts)) = self.own_run(part, behind)? {
                self.end_run(&mut run, &mut member, &mut body, part)?;
                member.add_run(own.raw_crc32, own.raw_len as u64);
                body.push(own.body);
                rest = &behind[parts - 1..];
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

    /// A body made event by event.
    fn grown(
        &mut self,
        batch: &Batch,
        form: BodyForm,
        template: Option<&Template>,
    ) -> Result<(Body, u64), Unreadable> {
        self.recompressor.reset();
        let mut body = GrowingBody::new(form, template);
        let (renderer, recompressor) = (&mut self.renderer, &mut self.recompressor);
        let mut pushed = Ok(());
        each_event(&mut self.lines, &batch.parts, |event| {
            if pushed.is_ok() {
                pushed = body.push(event, renderer, recompressor);
            }
        })?;
        let finished = pushed.and_then(|()| body.finish(&mut self.recompressor));
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

/// A body that grows event by event.
struct GrowingBody<'a> {
    form: BodyForm,
    template: Option<&'a Template>,
    /// What was rendered and is not handed on; for records, all of them.
    rendered: Vec<u8>,
    is_first: bool,
    chunks: Vec<Bytes>,
    run: Vec<u8>,
    raw_bytes: u64,
    /// For records: the lines back to back, and where each event's line and body end.
    lines: Vec<u8>,
    ends: Vec<RecordEnd>,
}

struct RecordEnd {
    position: EventPosition,
    received: Timestamp,
    labels: Arc<Labels>,
    line: usize,
    body: usize,
}

impl<'a> GrowingBody<'a> {
    fn new(form: BodyForm, template: Option<&'a Template>) -> Self {
        let prefix = match (form, template) {
            (BodyForm::Whole(_), Some(template)) => template.framing().prefix.clone(),
            _ => Vec::new(),
        };
        Self {
            form,
            template,
            rendered: prefix,
            is_first: true,
            chunks: Vec::new(),
            run: Vec::new(),
            raw_bytes: 0,
            lines: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn push(
        &mut self,
        event: &EventAt<'_>,
        renderer: &mut Renderer,
        recompressor: &mut Recompressor,
    ) -> Result<(), CodecError> {
        let is_first = std::mem::take(&mut self.is_first);
        match (self.form, self.template) {
            (BodyForm::Records, template) => {
                self.lines.extend_from_slice(event.line);
                if let Some(template) = template {
                    renderer.render(template, event, &mut self.rendered);
                }
                self.ends.push(RecordEnd {
                    position: event.position,
                    received: event.received,
                    labels: Arc::clone(event.labels),
                    line: self.lines.len(),
                    body: self.rendered.len(),
                });
                Ok(())
            }
            (BodyForm::Whole(compression), template) => {
                match template {
                    Some(template) => {
                        if !is_first {
                            let separator = &template.framing().separator;
                            self.rendered.extend_from_slice(separator);
                        }
                        renderer.render(template, event, &mut self.rendered);
                    }
                    None => {
                        self.rendered.extend_from_slice(event.line);
                        self.rendered.push(b'\n');
                    }
                }
                if self.rendered.len() < RENDERED_BYTES {
                    return Ok(());
                }
                self.hand_on(compression, recompressor)
            }
        }
    }

    /// Takes what was rendered so far.
    fn hand_on(
        &mut self,
        compression: Compression,
        recompressor: &mut Recompressor,
    ) -> Result<(), CodecError> {
        self.raw_bytes += self.rendered.len() as u64;
        match compression {
            Compression::Identity => {
                let rendered = std::mem::take(&mut self.rendered);
                self.chunks.push(Bytes::from(rendered));
            }
            Compression::Gzip => {
                recompressor.push(&self.rendered, &mut self.run)?;
                self.rendered.clear();
            }
        }
        Ok(())
    }

    fn finish(mut self, recompressor: &mut Recompressor) -> Result<(Body, u64), CodecError> {
        let BodyForm::Whole(compression) = self.form else {
            return Ok(self.into_records());
        };
        if let Some(template) = self.template {
            let framing = template.framing();
            if framing.trailing_separator && !self.is_first {
                self.rendered.extend_from_slice(&framing.separator);
            }
            self.rendered.extend_from_slice(&framing.suffix);
        }
        self.hand_on(compression, recompressor)?;
        if compression == Compression::Gzip {
            let ended = recompressor.finish(&mut self.run)?;
            let mut member = GzipMember::new();
            member.add_run(ended.raw_crc32, ended.raw_len);
            self.chunks = vec![
                Bytes::copy_from_slice(&GzipMember::header()),
                Bytes::from(self.run),
                Bytes::copy_from_slice(&member.finish()),
            ];
        }
        Ok((Body::Whole(self.chunks), self.raw_bytes))
    }

    fn into_records(self) -> (Body, u64) {
        let (lines, rendered) = (Bytes::from(self.lines), Bytes::from(self.rendered));
        let (mut line_start, mut body_start) = (0, 0);
        let mut raw_bytes = 0;
        let mut records = Vec::with_capacity(self.ends.len());
        for end in self.ends {
            let line = lines.slice(line_start..end.line);
            let body = match self.template {
                Some(_) => rendered.slice(body_start..end.body),
                None => line.clone(),
            };
            // Counted as a line, so that streams of both forms compare.
            raw_bytes += body.len() as u64 + 1;
            records.push(Record {
                position: end.position,
                received: end.received,
                labels: end.labels,
                line,
                body,
            });
            (line_start, body_start) = (end.line, end.body);
        }
        (Body::Records(records), raw_bytes)
    }
}

/// Rendered bytes that are gathered before they are handed on.
const RENDERED_BYTES: usize = 128 << 10;
