//! A body made event by event: by a template, or as records.
//!
//! Owns: separators and framing, and where each record lies. Leaves to others: what an event looks like (`template`),
//! compression and chunks (`pack`).

use std::sync::Arc;

use bytes::Bytes;

use super::pack::Packer;
use crate::batch::{Body, BodyForm, EventPosition, Record};
use crate::block::codec::CodecError;
use crate::event::Labels;
use crate::position::Timestamp;
use crate::stream::gzip::Recompressor;
use crate::stream::template::{EventAt, Renderer, Template};

/// A body that grows event by event. The template is the same in all calls.
#[derive(Debug)]
pub(super) struct GrowingBody {
    pub(super) form: BodyForm,
    pub(super) packer: Packer,
    /// What was rendered and is not handed on; for records, all of them.
    rendered: Vec<u8>,
    is_first: bool,
    /// For records: the lines back to back, and where each event's line and body end.
    lines: Vec<u8>,
    ends: Vec<RecordEnd>,
}

#[derive(Debug)]
struct RecordEnd {
    position: EventPosition,
    received: Timestamp,
    labels: Arc<Labels>,
    line: usize,
    body: usize,
}

impl GrowingBody {
    pub(super) fn new(form: BodyForm, packer: Packer, template: Option<&Template>) -> Self {
        let prefix = match (form, template) {
            (BodyForm::Whole(_) | BodyForm::Streamed(_), Some(template)) => {
                template.framing().prefix.clone()
            }
            _ => Vec::new(),
        };
        Self {
            form,
            packer,
            rendered: prefix,
            is_first: true,
            lines: Vec::new(),
            ends: Vec::new(),
        }
    }

    pub(super) fn push(
        &mut self,
        event: &EventAt<'_>,
        template: Option<&Template>,
        renderer: &mut Renderer,
        recompressor: &mut Recompressor,
    ) -> Result<(), CodecError> {
        let is_first = std::mem::take(&mut self.is_first);
        if self.form == BodyForm::Records {
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
            return Ok(());
        }
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
        self.hand_on(recompressor)
    }

    /// Takes what was rendered so far.
    fn hand_on(&mut self, recompressor: &mut Recompressor) -> Result<(), CodecError> {
        let rendered = std::mem::take(&mut self.rendered);
        self.rendered = self.packer.add_owned(rendered, recompressor)?;
        self.rendered.clear();
        Ok(())
    }

    /// What is ready to be sent; nothing of records.
    pub(super) fn take(
        &mut self,
        recompressor: &mut Recompressor,
    ) -> Result<Vec<Bytes>, CodecError> {
        if self.form == BodyForm::Records {
            return Ok(Vec::new());
        }
        self.hand_on(recompressor)?;
        self.packer.take(recompressor)
    }

    pub(super) fn finish(
        mut self,
        template: Option<&Template>,
        recompressor: &mut Recompressor,
    ) -> Result<(Body, u64), CodecError> {
        if self.form == BodyForm::Records {
            return Ok(self.into_records(template.is_some()));
        }
        if let Some(template) = template {
            let framing = template.framing();
            if framing.trailing_separator && !self.is_first {
                self.rendered.extend_from_slice(&framing.separator);
            }
            self.rendered.extend_from_slice(&framing.suffix);
        }
        self.hand_on(recompressor)?;
        let (chunks, raw_bytes) = self.packer.finish(recompressor)?;
        Ok((Body::Whole(chunks), raw_bytes))
    }

    fn into_records(self, is_templated: bool) -> (Body, u64) {
        let (lines, rendered) = (Bytes::from(self.lines), Bytes::from(self.rendered));
        let (mut line_start, mut body_start) = (0, 0);
        let mut raw_bytes = 0;
        let mut records = Vec::with_capacity(self.ends.len());
        for end in self.ends {
            let line = lines.slice(line_start..end.line);
            let body = if is_templated {
                rendered.slice(body_start..end.body)
            } else {
                line.clone()
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
