//! From settings to a template: what fits together and what does not.
//!
//! Promises: a template that compiled renders every event; what an operator got wrong is refused here, at load, by name.

use crate::filter::Walker;

use super::fields::Choice;
use super::mask::Redaction;
use super::payload::Framing;
use super::settings::{Shape, TemplateSettings};
use super::shapes::cadf;
use super::shapes::device::{Cef, Leef};
use super::shapes::elastic::ElasticBulk;
use super::shapes::hec::Hec;
use super::shapes::icl::Icl;
use super::shapes::logdna::{self, Logdna};
use super::text::Text;
use super::text::variables::DataSource;
use super::{EventAt, Template};

/// Why a template is refused. The texts name the key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A path of `fields`, `drop` or `mask`, or in a text.
    #[error("`{path}`: {why}")]
    Path {
        /// As written.
        path: Box<str>,
        /// What is wrong.
        why: &'static str,
    },
    /// A regular expression of `mask`.
    #[error("mask pattern `{pattern}`: {why}")]
    Pattern {
        /// As written.
        pattern: Box<str>,
        /// What is wrong.
        why: String,
    },
    /// A variable the data source does not have.
    #[error("`${name}` is no variable of the data source `{data_source}`{}", suggestion(nearest.as_deref()))]
    UnknownVariable {
        /// Without the dollar.
        name: Box<str>,
        /// The data source.
        data_source: &'static str,
        /// A known name close to it.
        nearest: Option<Box<str>>,
    },
    /// A dollar that begins no variable.
    #[error(
        "`{found}`: no variable begins here; write `$$` for a dollar, `${{name}}` to end a name"
    )]
    Dollar {
        /// The dollar and what follows.
        found: String,
    },
    /// A text that begins as JSON and is none.
    #[error("text begins as JSON but is none when variables have values: {0}")]
    TextJson(String),
    /// A text with line breaks that is not JSON.
    #[error("text holds a line break, so a record would not be one line")]
    TextLines,
    /// `payload_format` or `separator`.
    #[error("payload_format: {0}")]
    Payload(String),
    /// Settings that do not go together.
    #[error("{0}")]
    Conflict(String),
}

impl TemplateError {
    pub(super) fn path(path: &str, why: &'static str) -> Self {
        Self::Path {
            path: path.into(),
            why,
        }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `${name}`?"))
}

/// What becomes of the redacted and chosen line.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// Itself.
    Line,
    Text(Text),
    Logdna(Logdna),
    LogdnaIngest,
    Icl(Icl),
    IclSingles(Icl),
    Cadf,
    Hec(Hec),
    ElasticBulk(ElasticBulk),
    Cef(Cef),
    Leef(Leef),
}

impl Form {
    fn compile(settings: &TemplateSettings) -> Result<Self, TemplateError> {
        let options = &settings.options;
        if let Some(text) = &settings.text {
            let source = settings.data_source.unwrap_or(DataSource::Event);
            return Text::compile(text, source).map(Self::Text);
        }
        Ok(match settings.shape {
            Shape::Raw | Shape::JsonArray => Self::Line,
            Shape::Logdna => Self::Logdna(Logdna { wrapped: false }),
            Shape::LogdnaSource => Self::Logdna(Logdna { wrapped: true }),
            Shape::LogdnaIngest => Self::LogdnaIngest,
            Shape::Icl => Self::Icl(Icl::new(options)),
            Shape::IclSingles => Self::IclSingles(Icl::new(options)),
            Shape::Cadf => Self::Cadf,
            Shape::Azion => {
                let source = settings.data_source.unwrap_or(DataSource::Http);
                Self::Text(Text::of_all(source)?)
            }
            Shape::Hec => Self::Hec(Hec::new(options)),
            Shape::ElasticBulk => Self::ElasticBulk(ElasticBulk::new(options)),
            Shape::Cef => Self::Cef(Cef::new(options)),
            Shape::Leef => Self::Leef(Leef::new(options)),
        })
    }

    fn is_json(&self) -> bool {
        match self {
            Self::Text(text) => text.is_json(),
            Self::Cef(_) | Self::Leef(_) => false,
            Self::Line
            | Self::Logdna(_)
            | Self::LogdnaIngest
            | Self::Icl(_)
            | Self::IclSingles(_)
            | Self::Cadf
            | Self::Hec(_)
            | Self::ElasticBulk(_) => true,
        }
    }

    pub(super) fn render(&self, walker: &mut Walker, event: &EventAt<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Line => out.extend_from_slice(event.line),
            Self::Text(text) => text.render(walker, event, out),
            Self::Logdna(logdna) => logdna.render(event, out),
            Self::LogdnaIngest => logdna::render_line(event, out),
            Self::Icl(icl) => icl.render(event, out),
            Self::IclSingles(icl) => icl.render_single(event, out),
            Self::Cadf => cadf::render(event, out),
            Self::Hec(hec) => hec.render(event, out),
            Self::ElasticBulk(bulk) => bulk.render(event, out),
            Self::Cef(cef) => cef.render(event, out),
            Self::Leef(leef) => leef.render(event, out),
        }
    }
}

impl Template {
    /// Compiles settings.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn compile(settings: &TemplateSettings) -> Result<Self, TemplateError> {
        check_together(settings)?;
        let redaction = Redaction::compile(settings)?;
        let choice = match settings.fields.as_slice() {
            [] => None,
            fields => Some(Choice::compile(fields)?),
        };
        let form = Form::compile(settings)?;
        let framing = Framing::compile(settings.shape, &settings.payload, form.is_json())?;
        let untouched = redaction.is_none() && choice.is_none();
        Ok(Self {
            is_raw: untouched && matches!(form, Form::Line) && framing.is_lines(),
            redaction,
            choice,
            form,
            framing,
        })
    }
}

/// Refuses settings that say nothing where they stand.
fn check_together(settings: &TemplateSettings) -> Result<(), TemplateError> {
    let shape = settings.shape;
    let conflict = |why: String| Err(TemplateError::Conflict(why));
    if settings.text.is_some() && !matches!(shape, Shape::Raw | Shape::Azion) {
        return conflict(format!(
            "text and the shape `{}` exclude each other",
            shape.name()
        ));
    }
    match settings.data_source {
        Some(_) if settings.text.is_none() && shape != Shape::Azion => {
            return conflict(
                "data_source says where the variables of text or of the shape `azion` come from"
                    .to_owned(),
            );
        }
        Some(DataSource::Event) if shape == Shape::Azion => {
            return conflict("the shape `azion` needs one of Azion's data sources".to_owned());
        }
        _ => {}
    }
    if settings.masks.text.is_some()
        && settings.masks.fields.is_empty()
        && settings.masks.patterns.is_empty()
    {
        return conflict("a mask text without anything to mask".to_owned());
    }
    let options = &settings.options;
    let device = [Shape::Cef, Shape::Leef];
    for (name, value, shapes) in [
        (
            "index",
            &options.index,
            &[Shape::Hec, Shape::ElasticBulk][..],
        ),
        ("source", &options.source, &[Shape::Hec]),
        ("sourcetype", &options.sourcetype, &[Shape::Hec]),
        (
            "application",
            &options.application,
            &[Shape::Icl, Shape::IclSingles],
        ),
        ("vendor", &options.vendor, &device),
        ("product", &options.product, &device),
        ("version", &options.version, &device),
    ] {
        if value.is_some() && !shapes.contains(&shape) {
            return conflict(format!("the shape `{}` has no `{name}`", shape.name()));
        }
    }
    Ok(())
}
