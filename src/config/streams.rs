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
use super::sinks::preset::Preset;
use super::sinks::{kafka, relay, s3, syslog};
use super::template::read_template;
use super::units::ByteSize;
use crate::batch::text_hash;
use crate::journal::settings::{HoldPolicy, LettersSettings, WhenFull, WhenLettersFull};
use crate::sink::settings::{Backoff, Message, RelayFormat, RetrySettings, SinkSettings};
use crate::stream::settings::{
    AuditChoice, BatchLimits, Sampling, StreamSettings, Take, TemplateSettings,
};

/// Reads the streams of a file. What is wrong with one is reported, and it is left out.
pub(super) struct StreamReader<'r, 'i> {
    pub(super) report: &'r Report<'i>,
    pub(super) environment: &'r Environment,
    pub(super) node: &'r Node,
    pub(super) journal: &'r Journal,
    /// An input takes relayed events.
    pub(super) takes_relayed: bool,
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
        let preset = Preset::of(&section);
        let shape = preset
            .map(|preset| preset.shape)
            .or_else(|| syslog::shape_of(&section))
            .or_else(|| relay::shape_of(&section));
        let template = read_template(self.report, &section, shape);
        let hold = self.read_hold(&section);
        let batch_section = section.section("batch", &keys::stream::BATCH);
        let batch = self.read_batch(batch_section, preset, batch_of_kind(&section));
        let retry = self.read_retry(section.section("retry", &keys::stream::RETRY));
        let letters = read_letters(section.section("dead_letters", &keys::stream::DEAD_LETTERS));
        let sink = self.read_sink(&section, &name, files);
        let place_of_template = section.section_place("template");
        section.finish();
        let (take, template) = (take?, template?);
        if let (Some(template), Some(sink)) = (&template, &sink)
            && !template.template.framing().is_lines()
            && let Some(rule) = needs_lines(sink)
        {
            self.report.say(&place_of_template, rule);
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
            letters: letters?,
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

    fn read_batch(
        &self,
        section: Section<'_, '_>,
        preset: Option<&Preset>,
        of_kind: Option<BatchLimits>,
    ) -> Option<BatchLimits> {
        let bytes = section.size("bytes");
        let age = section.span("age");
        let records = section.count("records");
        section.finish();
        let (bytes, age, records) = (bytes?, age?, records?);
        let events = u64::try_from(records.value).expect("the range of records lies in u64");
        let given = BatchLimits {
            bytes_max: bytes.value,
            age_max: age.value,
            records_max: (events > 0).then_some(events),
        };
        if let Some((limit, preset)) =
            preset.and_then(|preset| Some((preset.body_bytes_max?, preset)))
            && bytes.value > limit
            && bytes.is_typed()
        {
            let (megabytes, name) = (limit / 1_000_000, preset.name);
            let rule = format!("is above {megabytes} MB, which is what {name} takes; lower it");
            self.report.refuse(&bytes, rule);
        }
        let or = preset.map(|preset| preset.batch).or(of_kind);
        let Some(or) = or else {
            return Some(given);
        };
        Some(BatchLimits {
            bytes_max: if bytes.is_typed() {
                given.bytes_max
            } else {
                or.bytes_max
            },
            age_max: if age.is_typed() {
                given.age_max
            } else {
                or.age_max
            },
            records_max: if records.is_typed() {
                given.records_max
            } else {
                or.records_max
            },
        })
    }

    fn read_retry(&self, section: Section<'_, '_>) -> Option<RetrySettings> {
        let delay_min = section.span("delay_min");
        let delay_max = section.span("delay_max");
        let probe_after = section.span("probe_after");
        let probe_every = section.span("probe_every");
        section.finish();
        let (delay_min, delay_max) = (delay_min?, delay_max?);
        super::check_order(self.report, &delay_min, &delay_max);
        Some(RetrySettings {
            backoff: Backoff {
                delay_min: delay_min.value,
                delay_max: delay_max.value,
            },
            probe_after: probe_after?.value,
            probe_every: probe_every?.value,
        })
    }
}

/// Why the batches of this destination cannot have anything around or between their records.
fn needs_lines(sink: &SinkSettings) -> Option<&'static str> {
    match sink {
        SinkSettings::Http(_) | SinkSettings::S3(_) => None,
        SinkSettings::Relay(relay) if relay.format == RelayFormat::Logdna => None,
        SinkSettings::Relay(_) => Some(
            "is not for relays to another Weir, which takes events line by line; leave out \
             payload_format and separator, or the shape json_array",
        ),
        SinkSettings::File(_) => Some(
            "is not for files, which hold many batches: one array or text around each would \
             not be read back; leave out payload_format and separator, or the shape json_array",
        ),
        SinkSettings::Kafka(kafka) if matches!(kafka.message, Message::Batch(_)) => None,
        SinkSettings::Kafka(_) => Some(
            "is not for single events, which have nothing around them; leave out payload_format and \
             separator, or the shape json_array",
        ),
        SinkSettings::Syslog(_) => Some(
            "is not for syslog, which sends each event by itself; leave out payload_format and \
             separator, or the shape json_array",
        ),
    }
}

/// Batches that suit the kind of destination better than the usual ones.
fn batch_of_kind(stream: &Section<'_, '_>) -> Option<BatchLimits> {
    if stream.has("s3") {
        return Some(s3::BATCH);
    }
    let is_message = stream.peek("kafka", "message") == Some("batch");
    is_message.then_some(kafka::BATCH)
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

fn read_letters(section: Section<'_, '_>) -> Option<LettersSettings> {
    let bytes_max = section.size("bytes_max");
    let when_full = section.one_of("when_full");
    section.finish();
    Some(LettersSettings {
        bytes_max: bytes_max?.value,
        when_full: match when_full?.value {
            "evict" => WhenLettersFull::Evict,
            _ => WhenLettersFull::Park,
        },
    })
}

fn audit_choice_of(word: &str) -> AuditChoice {
    match word {
        "with" => AuditChoice::With,
        "only" => AuditChoice::Only,
        _ => AuditChoice::None,
    }
}
