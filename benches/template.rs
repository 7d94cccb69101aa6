//! What it costs to render events, by shape: bytes of lines in, per second, on one core.
//!
//! The goal is 400 MB/s for `logdna` on audit events. `logdna_own_keys` is the same where a key of the record's own stands
//! somewhere in the line, so that every member is looked at.

mod corpus;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::event::{InputId, Labels};
use weir::position::{JournalId, Offset, SegmentId, Timestamp};
use weir::stream::template::{
    DataSource, EventAt, EventPosition, MaskSettings, Renderer, Shape, Template, TemplateSettings,
};

criterion_group!(benches, shapes);
criterion_main!(benches);

const CORPUS_BYTES: usize = 512 << 10;

fn shapes(criterion: &mut Criterion) {
    let audit = corpus::audit_block(CORPUS_BYTES, 1);
    let audit: Vec<Vec<u8>> = whole_lines(&audit).map(<[u8]>::to_vec).collect();
    let waf = corpus::waf_block(CORPUS_BYTES, 1);
    let waf: Vec<Vec<u8>> = whole_lines(&waf).map(<[u8]>::to_vec).collect();
    let own_keys: Vec<Vec<u8>> = audit
        .iter()
        .map(|line| [&line[..line.len() - 1], br#","_tail":{"level":"info"}}"#].concat())
        .collect();
    let of = |shape| TemplateSettings {
        shape,
        ..TemplateSettings::default()
    };
    for (name, shape) in Shape::NAMES {
        over_lines(criterion, "audit", name, &audit, &of(shape));
    }
    over_lines(
        criterion,
        "audit",
        "logdna_own_keys",
        &own_keys,
        &of(Shape::Logdna),
    );
    over_lines(criterion, "audit", "fields", &audit, &chosen());
    over_lines(criterion, "audit", "drop_and_mask", &audit, &redacted(&[]));
    let patterns = [r"\b[\w.]+@[\w.]+\b"];
    over_lines(
        criterion,
        "audit",
        "mask_pattern",
        &audit,
        &redacted(&patterns),
    );
    over_lines(criterion, "audit", "text", &audit, &text());
    for shape in [Shape::Logdna, Shape::Hec, Shape::Azion] {
        over_lines(criterion, "waf", shape.name(), &waf, &of(shape));
    }
}

fn chosen() -> TemplateSettings {
    TemplateSettings {
        fields: [
            "action",
            "initiator.id as user",
            "target.id",
            "reason.reasonCode",
        ]
        .map(Into::into)
        .into(),
        ..TemplateSettings::default()
    }
}

fn redacted(patterns: &[&str]) -> TemplateSettings {
    TemplateSettings {
        drop: vec!["requestData".into()],
        masks: MaskSettings {
            fields: vec!["initiator.host.address".into()],
            patterns: patterns.iter().map(ToString::to_string).collect(),
            text: None,
        },
        ..TemplateSettings::default()
    }
}

fn text() -> TemplateSettings {
    let text = r#"{"time":"$eventTime","who":"$initiator.name","what":"$action","code":$reason.reasonCode}"#;
    TemplateSettings {
        text: Some(text.into()),
        data_source: Some(DataSource::Event),
        ..TemplateSettings::default()
    }
}

fn over_lines(
    criterion: &mut Criterion,
    corpus: &str,
    name: &str,
    lines: &[Vec<u8>],
    settings: &TemplateSettings,
) {
    let template = Template::compile(settings).expect("the settings are right");
    let mut labels = Labels::of_input(InputId(0));
    labels.application = Some("ibm-audit-event".into());
    labels.host = Some("relay-1.example.com".into());
    labels.peer = Some("192.0.2.1:40000".into());
    let labels = Arc::new(labels);
    let mut renderer = Renderer::default();
    let mut out = Vec::new();
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let mut group = criterion.benchmark_group(format!("template/{corpus}"));
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            for (offset, line) in (0..).zip(lines) {
                let event = EventAt {
                    line: black_box(line),
                    labels: &labels,
                    received: Timestamp(1_735_787_045_678_901),
                    position: EventPosition {
                        segment: SegmentId([1; 16]),
                        journal: JournalId(0),
                        offset: Offset(offset),
                    },
                };
                renderer.render(&template, &event, &mut out);
                out.push(b'\n');
            }
            out.len()
        });
    });
    group.finish();
}

/// The last line of a block of the corpus is cut.
fn whole_lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = memchr::memrchr(b'\n', block).map_or(0, |at| at + 1);
    let lines = block[..end].split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty())
}
