//! Templates: what a selected event looks like at its destination.
//!
//! An event passes three steps, each of which may be absent: it is redacted ([`mask`]), fields are chosen ([`fields`]), and
//! the result is put into a shape ([`shapes`]) or a text ([`text`]). So nothing that was redacted is in any shape. Values are
//! copied as raw spans: digits, escapes and key order survive.
//!
//! Promises: a template is compiled once and refused at load when it is wrong; a record is a function of the event, its
//! labels, receive time and position alone, so a re-send is the same bytes; any valid event gives a valid record. Leaves
//! to others: which events are selected, batches, compression, and what is sent with them.

use crate::filter::Walker;
use crate::limits::BLOCK_RAW_BYTES_CLOSE;

pub use crate::batch::EventPosition;
pub use compile::TemplateError;
pub use event_at::EventAt;
pub use payload::Framing;
pub use settings::{MaskSettings, PayloadFormat, Shape, ShapeOptions, TemplateSettings};
pub use text::variables::DataSource;

mod compile;
mod event_at;
mod fields;
mod json;
mod mask;
mod paths;
mod payload;
mod settings;
mod shapes;
mod text;
pub(in crate::stream) mod time;

#[cfg(test)]
mod tests;

/// A compiled template; never changes.
#[derive(Debug, Clone)]
pub struct Template {
    redaction: Option<mask::Redaction>,
    choice: Option<fields::Choice>,
    form: compile::Form,
    framing: Framing,
    is_raw: bool,
}

impl Template {
    /// Whether bytes out equal bytes in and records are lines, so that blocks may be spliced without rendering.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// What surrounds the records of a batch.
    #[must_use]
    pub fn framing(&self) -> &Framing {
        &self.framing
    }
}

/// Scratch of one thread that renders.
#[derive(Default)]
pub struct Renderer {
    walker: Walker,
    redacted: Vec<u8>,
    chosen: Vec<u8>,
}

impl Renderer {
    /// Appends one record, without a separator.
    pub fn render(&mut self, template: &Template, event: &EventAt<'_>, out: &mut Vec<u8>) {
        let mut event = *event;
        if let Some(redaction) = &template.redaction {
            reuse(&mut self.redacted);
            redaction.apply(event.line, &mut self.redacted);
            event.line = &self.redacted;
        }
        if let Some(choice) = &template.choice {
            reuse(&mut self.chosen);
            choice.apply(&mut self.walker, event.line, &mut self.chosen);
            event.line = &self.chosen;
        }
        template.form.render(&mut self.walker, &event, out);
    }
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renderer")
    }
}

/// Empties a buffer, and gives back what one huge line left in it.
fn reuse(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(BLOCK_RAW_BYTES_CLOSE);
}
