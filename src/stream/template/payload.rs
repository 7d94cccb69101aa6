//! What surrounds the records of a batch.
//!
//! `payload_format` holds `$dataset` once, which stands for the records joined by the separator (Azion Data Stream). With
//! the plain `$dataset` and a line feed every record is ended by one; any other separator stands between records only.

use super::settings::{PayloadFormat, Shape};
use super::{Template, TemplateError};

/// The bytes around the records of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Framing {
    /// Before the first record.
    pub prefix: Vec<u8>,
    /// Between records.
    pub separator: Vec<u8>,
    /// The separator stands behind the last record as well.
    pub trailing_separator: bool,
    /// Behind the last record.
    pub suffix: Vec<u8>,
    /// Media type of the whole, for destinations that are told one.
    pub content_type: &'static str,
}

impl Framing {
    /// Lines, each ended by a line feed.
    #[must_use]
    pub fn lines(content_type: &'static str) -> Self {
        Self {
            prefix: Vec::new(),
            separator: b"\n".to_vec(),
            trailing_separator: true,
            suffix: Vec::new(),
            content_type,
        }
    }

    /// The framing of a shape, or the configured one.
    pub(super) fn compile(
        shape: Shape,
        payload: &PayloadFormat,
        json: bool,
    ) -> Result<Self, TemplateError> {
        let configured = payload.format.is_some() || payload.separator.is_some();
        match shape {
            Shape::ElasticBulk if configured => {
                return Err(TemplateError::Payload(
                    "the form of a bulk request is fixed".to_owned(),
                ));
            }
            Shape::JsonArray | Shape::IclSingles | Shape::LogdnaIngest if configured => {
                let name = shape.name();
                return Err(TemplateError::Payload(format!(
                    "the shape `{name}` has its own; use `raw` or `text` with a payload format"
                )));
            }
            Shape::ElasticBulk => return Ok(Self::lines(NDJSON)),
            Shape::JsonArray | Shape::IclSingles => return Ok(Self::list("[", "]")),
            Shape::LogdnaIngest => return Ok(Self::list("{\"lines\":[", "]}")),
            _ => {}
        }
        let (before, after) = around_dataset(payload.format.as_deref().unwrap_or(DATASET))?;
        let separator = payload.separator.as_deref().unwrap_or("\n");
        if separator.is_empty() && !json {
            let why = "without a separator the records cannot be told apart";
            return Err(TemplateError::Payload(why.to_owned()));
        }
        let is_lines = before.is_empty() && after.is_empty() && separator == "\n";
        let is_array = before.trim() == "[" && separator.trim() == "," && after.trim() == "]";
        let content_type = match (shape, json) {
            (Shape::Hec, _) => JSON,
            (_, true) if is_array => JSON,
            (_, true) if is_lines => NDJSON,
            _ => TEXT,
        };
        Ok(Self {
            prefix: before.into(),
            separator: separator.into(),
            trailing_separator: is_lines,
            suffix: after.into(),
            content_type,
        })
    }

    /// A JSON array, with something around it.
    fn list(prefix: &str, suffix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            separator: b",".to_vec(),
            trailing_separator: false,
            suffix: suffix.into(),
            content_type: JSON,
        }
    }

    /// Whether it is lines as they stand in a block, so that batches may follow one another.
    #[must_use]
    pub fn is_lines(&self) -> bool {
        self.prefix.is_empty()
            && self.suffix.is_empty()
            && self.separator == b"\n"
            && self.trailing_separator
    }
}

impl Template {
    /// Appends records as one batch, for samples and tests; the encoder does the same record by record.
    pub fn frame<'a>(&self, records: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        let framing = self.framing();
        out.extend_from_slice(&framing.prefix);
        for (number, record) in records.enumerate() {
            if number > 0 {
                out.extend_from_slice(&framing.separator);
            }
            out.extend_from_slice(record);
        }
        if framing.trailing_separator {
            out.extend_from_slice(&framing.separator);
        }
        out.extend_from_slice(&framing.suffix);
    }
}

/// The text before and behind `$dataset`.
fn around_dataset(format: &str) -> Result<(&str, &str), TemplateError> {
    let refused = |why: &str| Err(TemplateError::Payload(format!("`{format}`: {why}")));
    let Some((before, after)) = format.split_once(DATASET) else {
        return refused(if format.contains("&dataset") {
            "it needs `$dataset`; `&dataset` in an old Azion page is a slip"
        } else {
            "it needs `$dataset`, which stands for the records"
        });
    };
    if after.contains(DATASET) {
        return refused("`$dataset` may stand there once");
    }
    if before.contains('$') || after.contains('$') {
        return refused("`$dataset` is its only variable; those of events belong into `text`");
    }
    Ok((before, after))
}

const DATASET: &str = "$dataset";
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const TEXT: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(format: Option<&str>, separator: Option<&str>) -> Result<Framing, TemplateError> {
        let payload = PayloadFormat {
            format: format.map(Into::into),
            separator: separator.map(Into::into),
        };
        Framing::compile(Shape::Raw, &payload, true)
    }

    #[test]
    fn only_lines_end_with_a_separator() {
        let check = |format, separator, expected: (&str, &str, bool, &str, &str)| {
            let framing = framing(format, separator).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let found = (
                text(&framing.prefix),
                text(&framing.separator),
                text(&framing.suffix),
            );
            assert_eq!(
                (found.0.as_str(), found.1.as_str(), found.2.as_str()),
                (expected.0, expected.1, expected.3)
            );
            assert_eq!(
                (framing.trailing_separator, framing.content_type),
                (expected.2, expected.4)
            );
        };
        check(None, None, ("", "\n", true, "", NDJSON));
        check(Some("$dataset"), Some("\n"), ("", "\n", true, "", NDJSON));
        check(Some("[$dataset]"), Some(","), ("[", ",", false, "]", JSON));
        check(Some("$dataset"), Some(";"), ("", ";", false, "", TEXT));
        check(
            Some("{\"events\":[$dataset]}"),
            Some(",\n"),
            ("{\"events\":[", ",\n", false, "]}", TEXT),
        );
    }

    #[test]
    fn formats_without_exactly_one_dataset_are_refused() {
        for format in [
            "",
            "[&dataset]",
            "$dataset$dataset",
            "$time $dataset",
            "$data",
        ] {
            assert!(framing(Some(format), None).is_err(), "{format}");
        }
    }
}
