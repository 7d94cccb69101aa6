//! From `[stream.NAME]` tables to the settings of streams, retries and destinations.

use std::path::PathBuf;

use toml::de::DeTable;

use super::Environment;
use super::keys;
use super::node::{Journal, Node};
use super::plan::StreamPlan;
use super::reader::report::{Given, Report};
use super::reader::{NamedTable, Section, named_tables};
use super::rules::read_take;
use super::template::read_template;
use super::units::ByteSize;
use crate::batch::text_hash;
use crate::journal::settings::{HoldPolicy, WhenFull};
use crate::sink::settings::{Message, RetrySettings, SinkSettings};
use crate::stream::settings::{
    AuditChoice, BatchLimits, Sampling, StreamSettings, Take, TemplateSettings,
};

/// Reads the streams of a file. What is wrong with one is reported, and it is left out.
pub(super) struct StreamReader<'r, 'i> {
    pub(super) report: &'r Report<'i>,
    pub(super) environment: &'r Environment,
    pub(super) node: &'r Node,
    pub(super) journal: &'r Journal,
}

impl<'r, 'i> StreamReader<'r, 'i> {
    pub(super) fn read(&self, root: &'r DeTable<'i>) -> Vec<StreamPlan> {
        let mut files = Vec::new();
        let streams = named_tables(self.report, root, "stream");
        let plans = streams
            .into_iter()
            .filter_map(|named| self.read_one(named, &mut files))
            .collect();
        self.check_files(&files);
        plans
    }

    fn read_one(
        &self,
        named: NamedTable<'r, 'i>,
        files: &mut Vec<Given<PathBuf>>,
    ) -> Option<StreamPlan> {
        let NamedTable { name, table, place } = named;
        let path = format!("stream.{name}");
        let section = Section::new(
            self.report,
            &keys::stream::STREAM,
            Some(table),
            (path, place),
        );
        let from = section.start_at("from");
        let audit = section.one_of("audit");
        let take = read_take(self.report, &section, &name);
        let template = read_template(self.report, &section);
        let hold = self.read_hold(&section);
        let batch = read_batch(section.section("batch", &keys::stream::BATCH));
        let retry = self.read_retry(section.section("retry", &keys::stream::RETRY));
        let sink = self.read_sink(&section, &name, files);
        let place_of_template = section.section_place("template");
        section.finish();
        let (take, template) = (take?, template?);
        let not_framed = match &sink {
            Some(SinkSettings::File(_)) => Some(
                "is not for files, which hold many batches: one array or text around each would not \
                 be read back",
            ),
            Some(SinkSettings::Kafka(kafka)) if matches!(kafka.message, Message::Event(_)) => {
                Some("is not for single events, which have nothing around them")
            }
            _ => None,
        };
        if let (Some(template), Some(reason)) = (&template, not_framed)
            && !template.template.framing().is_lines()
        {
            let fix = "leave out payload_format and separator, or the shape json_array";
            self.report
                .say(&place_of_template, format!("{reason}; {fix}"));
            return None;
        }
        let template = template.map(|template| template.settings);
        let selection = take.selection.as_ref().map(|selection| selection.hash);
        let sampling = take.sampling;
        Some(StreamPlan {
            selection: take.selection,
            stream: StreamSettings {
                version: version_of(selection, sampling, template.as_ref()),
                template,
                take: Take {
                    selection,
                    sampling,
                },
                name: name.into(),
                from: from?.value,
                batch: batch?,
                audit: audit_choice_of(audit?.value),
            },
            hold: hold?,
            retry: retry?,
            sink: sink?,
        })
    }

    fn read_hold(&self, section: &Section<'_, '_>) -> Option<HoldPolicy> {
        let when_full = section.one_of("when_full");
        let hold_max = section.span_or_never("hold_max");
        let backlog = section.size("backlog_bytes_max");
        let (journals, segment) = (&self.node.journals, &self.journal.segment_bytes);
        let need = 2 * segment.value * journals.value as u64;
        let sound = journals.is_sound() && segment.is_sound();
        if let Some(backlog) = &backlog
            && (1..need).contains(&backlog.value)
            && sound
        {
            let (need, segment) = (ByteSize(need), ByteSize(segment.value));
            let plural = if journals.value == 1 { "" } else { "s" };
            let rule = format!(
                "is below {need} = 2 segments x {segment} x {} journal{plural}: a stream always \
                 holds the segment that is written, and discards whole ones; raise it, or write 0 \
                 for no limit",
                journals.value
            );
            self.report.refuse(backlog, rule);
        }
        Some(HoldPolicy {
            when_full: match when_full?.value {
                "discard_oldest" => WhenFull::DiscardOldest,
                _ => WhenFull::Block,
            },
            hold_max: hold_max?.value,
            backlog_bytes_max: Some(backlog?.value).filter(|bytes| *bytes > 0),
        })
    }

    fn read_retry(&self, section: Section<'_, '_>) -> Option<RetrySettings> {
        let delay_min = section.span("delay_min");
        let delay_max = section.span("delay_max");
        section.finish();
        let (delay_min, delay_max) = (delay_min?, delay_max?);
        super::check_order(self.report, &delay_min, &delay_max);
        Some(RetrySettings {
            delay_min: delay_min.value,
            delay_max: delay_max.value,
        })
    }
}

/// Names what the stream makes of the journal; 0 for one that sends everything as it came.
fn version_of(
    selection: Option<u64>,
    sampling: Option<Sampling>,
    template: Option<&TemplateSettings>,
) -> u64 {
    if selection.is_none() && sampling.is_none() && template.is_none() {
        return 0;
    }
    let template = template.map(TemplateSettings::describe).unwrap_or_default();
    text_hash(&format!("content {selection:?} {sampling:?} {template}"))
}

fn read_batch(section: Section<'_, '_>) -> Option<BatchLimits> {
    let bytes = section.size("bytes");
    let age = section.span("age");
    let records = section.count("records");
    section.finish();
    let records = u64::try_from(records?.value).expect("the range of records lies in u64");
    Some(BatchLimits {
        bytes_max: bytes?.value,
        age_max: age?.value,
        records_max: (records > 0).then_some(records),
    })
}

fn audit_choice_of(word: &str) -> AuditChoice {
    match word {
        "with" => AuditChoice::With,
        "only" => AuditChoice::Only,
        _ => AuditChoice::None,
    }
}
