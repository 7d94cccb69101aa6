//! Templates end to end: golden files of every shape, the steps together, and any event at all.
//!
//! Each folder of `tests/data/shapes` holds `input.ndjson` and what a batch of it becomes, once with all labels and once
//! with none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::event::{InputId, Labels};
use crate::position::{JournalId, Offset, SegmentId, Timestamp};

/// 2025-01-02T03:04:05.678901Z.
const RECEIVED: Timestamp = Timestamp(1_735_787_045_678_901);

fn no_labels() -> Arc<Labels> {
    Arc::new(Labels::of_input(InputId(3)))
}

fn all_labels() -> Arc<Labels> {
    Arc::new(Labels {
        input: InputId(3),
        application: Some("ibm-audit-event".into()),
        subsystem: Some("kms:d8ba830f".into()),
        host: Some("kms".into()),
        level: Some("warn".into()),
        env: Some("production".into()),
        tags: Some("blue, \"eu\",".into()),
        meta: Some(r#"{"_platform":"kms"}"#.into()),
        sender: Some("collector-1".into()),
        peer: Some("[::ffff:192.0.2.7]:5514".into()),
        event_time: Some(Timestamp(1_735_787_044_000_000)),
    })
}

fn event<'a>(line: &'a [u8], labels: &'a Arc<Labels>, offset: u64) -> EventAt<'a> {
    EventAt {
        line,
        labels,
        received: RECEIVED,
        position: EventPosition {
            segment: SegmentId([0x5a; 16]),
            journal: JournalId(1),
            offset: Offset(offset),
        },
    }
}

fn render(settings: &TemplateSettings, line: &str, labels: &Arc<Labels>) -> String {
    let template = Template::compile(settings).unwrap();
    let mut out = Vec::new();
    Renderer::default().render(&template, &event(line.as_bytes(), labels, 7), &mut out);
    String::from_utf8(out).unwrap()
}

fn batch(settings: &TemplateSettings, input: &str, labels: &Arc<Labels>) -> String {
    let template = Template::compile(settings).unwrap();
    let mut renderer = Renderer::default();
    let records: Vec<Vec<u8>> = (40_u64..)
        .zip(input.lines())
        .map(|(offset, line)| {
            let mut record = Vec::new();
            renderer.render(
                &template,
                &event(line.as_bytes(), labels, offset),
                &mut record,
            );
            record
        })
        .collect();
    let mut out = Vec::new();
    template.frame(records.iter().map(Vec::as_slice), &mut out);
    String::from_utf8(out).unwrap()
}

fn of(shape: Shape) -> TemplateSettings {
    TemplateSettings {
        shape,
        ..TemplateSettings::default()
    }
}

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// The settings whose golden files are in the folder of this name.
fn golden_settings() -> Vec<(&'static str, TemplateSettings)> {
    let azion_text = r#"{"time":"$time","session_id":"$session_id","host":"$host","status":"$status","bytes_sent":"$bytes_sent","upstream_bytes_received":"$upstream_bytes_received","server_port":"$server_port","remote_port":"$remote_port","country":"$country","state":"$state"}"#;
    let source = |source| TemplateSettings {
        data_source: Some(source),
        ..of(Shape::Azion)
    };
    let hec_options = ShapeOptions {
        index: Some("audit".into()),
        sourcetype: Some("ibm:audit".into()),
        source: Some("weir".into()),
        ..ShapeOptions::default()
    };
    let mut settings: Vec<_> = Shape::NAMES
        .iter()
        .filter(|(_, shape)| *shape != Shape::Azion)
        .map(|(name, shape)| (*name, of(*shape)))
        .collect();
    settings.extend([
        ("azion_http", source(DataSource::Http)),
        ("azion_waf", source(DataSource::Waf)),
        ("azion_functions", source(DataSource::Functions)),
        (
            "azion_activity_history",
            source(DataSource::ActivityHistory),
        ),
        (
            "azion_custom",
            TemplateSettings {
                text: Some(azion_text.into()),
                payload: PayloadFormat {
                    format: Some("[$dataset]".into()),
                    separator: Some(",".into()),
                },
                ..source(DataSource::Http)
            },
        ),
        (
            "hec_options",
            TemplateSettings {
                options: hec_options,
                ..of(Shape::Hec)
            },
        ),
        (
            "fields",
            TemplateSettings {
                fields: list(&[
                    "action",
                    "initiator.id as user",
                    "initiator.host",
                    "reason.reasonCode",
                    "id",
                ]),
                drop: list(&["initiator.host.agent"]),
                masks: MaskSettings {
                    fields: list(&["initiator.host.address"]),
                    patterns: list(&["IBMid-[0-9]+"]),
                    text: Some("[redacted]".into()),
                },
                ..of(Shape::Raw)
            },
        ),
    ]);
    settings
}

fn golden_folder(name: &str) -> PathBuf {
    let root = Path::new(file!()).ancestors().nth(4).unwrap();
    let root = if root.is_absolute() {
        root.to_owned()
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(root)
    };
    root.join("tests/data/shapes").join(name)
}

#[test]
fn shapes_are_what_their_golden_files_say() {
    for (name, settings) in golden_settings() {
        let folder = golden_folder(name);
        let input = std::fs::read_to_string(folder.join("input.ndjson")).unwrap();
        for (file, labels) in [
            ("expected.labels", all_labels()),
            ("expected.plain", no_labels()),
        ] {
            let path = folder.join(file);
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                batch(&settings, &input, &labels),
                expected,
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn a_text_and_a_payload_format_make_what_loki_takes() {
    let settings = TemplateSettings {
        text: Some(r#"["${_ts}000000","$_line"]"#.into()),
        payload: PayloadFormat {
            format: Some(r#"{"streams":[{"stream":{"job":"weir"},"values":[$dataset]}]}"#.into()),
            separator: Some(",".into()),
        },
        ..of(Shape::Raw)
    };
    let input = "{\"a\":\"x\\n\"}\n{\"b\":2}\n";
    let body: Value = serde_json::from_str(&batch(&settings, input, &no_labels())).unwrap();
    let expected = serde_json::json!({"streams": [{"stream": {"job": "weir"}, "values": [
        ["1735787045678000000", r#"{"a":"x\n"}"#],
        ["1735787045678000000", r#"{"b":2}"#],
    ]}]});
    assert_eq!(body, expected);
}

#[test]
fn the_manual_names_what_there_is() {
    let manual = include_str!("../../../docs/templates.md");
    let shapes = Shape::NAMES.iter().map(|(name, _)| format!("`{name}`"));
    let sources = DataSource::NAMES.iter().skip(1);
    let sources = sources.map(|(name, source)| {
        let variables = source.variables();
        let (first, last) = (variables[0], variables[variables.len() - 1]);
        assert!(
            manual.contains(&format!("{}, `${first}` to `${last}`", variables.len())),
            "{name}"
        );
        format!("| `{name}`")
    });
    let known = text::variables::Known::NAMES.iter();
    let known = known.map(|(name, _)| format!("`${name}`"));
    let keys = shapes::device::keys().map(|(cef, leef)| format!("| `{cef}` | `{leef}` |"));
    for word in shapes.chain(sources).chain(known).chain(keys) {
        assert!(manual.contains(&word), "{word}");
    }
}

#[test]
fn a_template_may_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Template>();
}

#[test]
fn only_the_plain_line_is_raw() {
    let is_raw = |settings: &TemplateSettings| Template::compile(settings).unwrap().is_raw();
    assert!(is_raw(&TemplateSettings::default()));
    for (name, settings) in golden_settings() {
        assert_eq!(is_raw(&settings), name == "raw", "{name}");
    }
    let drop = TemplateSettings {
        drop: list(&["a"]),
        ..of(Shape::Raw)
    };
    assert!(!is_raw(&drop));
}

#[test]
fn what_is_redacted_is_in_no_shape() {
    let line = r#"{"action":"a.b.read","initiator":{"id":"hunter2","name":"hunter2"},"requestData":"hunter2","message":"see hunter\u0032"}"#;
    for (name, settings) in golden_settings() {
        let settings = TemplateSettings {
            drop: list(&["requestData", "initiator.name"]),
            masks: MaskSettings {
                fields: list(&["initiator.id"]),
                patterns: list(&["hunter2"]),
                text: None,
            },
            ..settings
        };
        let rendered = render(&settings, line, &all_labels());
        assert!(!rendered.contains("hunter"), "{name}: {rendered}");
    }
}

#[test]
fn steps_are_redaction_then_choice_then_shape() {
    let line =
        r#"{"action":"a.b.c","initiator":{"id":"u","host":{"address":"192.0.2.1"}},"n":1.0}"#;
    let settings = TemplateSettings {
        fields: list(&["n", "initiator.id as user", "initiator.host"]),
        drop: list(&["initiator.host.address"]),
        text: Some(r#"{"who":"$user","at":"$initiator.host.address","n":$n,"all":$_line}"#.into()),
        ..of(Shape::Raw)
    };
    let expected =
        r#"{"who":"u","at":"-","n":1.0,"all":{"n":1.0,"user":"u","initiator":{"host":{}}}}"#;
    assert_eq!(render(&settings, line, &no_labels()), expected);
}

#[test]
fn an_event_of_its_own_timestamp_keeps_it() {
    let line = r#"{"\u0040timestamp":"2020-01-01T00:00:00Z"}"#;
    let rendered = render(&of(Shape::ElasticBulk), line, &no_labels());
    assert_eq!(rendered.lines().nth(1), Some(line));
}

#[test]
fn keys_spelled_with_escapes_do_not_pass_for_others() {
    let line = r#"{"\u005fline":1,"\u005faccount":2,"\u006cevel":"x","a":3}"#;
    let rendered = render(&of(Shape::Logdna), line, &all_labels());
    let tail = r#""_mezmo_line_size":57,"__line":1,"\u006cevel":"x","a":3}"#;
    assert!(rendered.ends_with(tail), "{rendered}");
    assert_eq!(rendered.matches("\"level\"").count(), 0);
}

#[test]
fn a_cadf_event_keeps_its_own_chain_tags_and_observer() {
    let line = r#"{"id":"1","action":"read/list","observer":{"id":"target","typeURI":"x"},"tags":[],"correlationId":"c","attachments":[ 1 ],"reporterchain":[{"role":"observer"}]}"#;
    let rendered = render(&of(Shape::Cadf), line, &no_labels());
    for part in [
        r#""action":"read/list""#,
        r#""observer":{"id":"target","typeURI":"x"}"#,
        r#""tags":["correlation_id?value=c"]"#,
        r#""attachments":[1]"#,
        r#""reporterchain":[{"role":"observer"},{"role":"relay""#,
    ] {
        assert!(rendered.contains(part), "{part} in {rendered}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let options = |options| TemplateSettings {
        options,
        ..of(Shape::Raw)
    };
    let check = |settings: TemplateSettings, expected: &str| {
        let error = Template::compile(&settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let text = |shape, source| TemplateSettings {
        text: Some("$a".into()),
        data_source: source,
        ..of(shape)
    };
    check(text(Shape::Hec, None), "exclude each other");
    check(
        text(Shape::Raw, Some(DataSource::Http)),
        "`$a` is no variable",
    );
    check(
        TemplateSettings {
            data_source: Some(DataSource::Waf),
            ..of(Shape::Raw)
        },
        "data_source",
    );
    check(
        TemplateSettings {
            data_source: Some(DataSource::Event),
            ..of(Shape::Azion)
        },
        "needs one of Azion's",
    );
    check(
        options(ShapeOptions {
            vendor: Some("x".into()),
            ..ShapeOptions::default()
        }),
        "has no `vendor`",
    );
    check(
        TemplateSettings {
            masks: MaskSettings {
                text: Some("x".into()),
                ..MaskSettings::default()
            },
            ..of(Shape::Raw)
        },
        "without anything to mask",
    );
    for shape in [Shape::ElasticBulk, Shape::JsonArray] {
        let payload = PayloadFormat {
            format: Some("$dataset".into()),
            separator: None,
        };
        check(
            TemplateSettings {
                payload,
                ..of(shape)
            },
            "payload_format",
        );
    }
}

/// Keys that shapes look at, some spelled with escapes.
const KEYS: &[&str] = &[
    "action",
    "initiator",
    "target",
    "observer",
    "reason",
    "id",
    "name",
    "typeURI",
    "host",
    "address",
    "reasonCode",
    "tags",
    "attachments",
    "reporterchain",
    "level",
    "severity",
    "_host",
    "_line",
    "_account",
    "\\u005fts",
    "@timestamp",
    "eventTime",
    "message",
    "outcome",
    "logSourceCRN",
    "correlationId",
    "requestData",
    "dataEvent",
    "initiator.id",
    "status",
    "waf_match",
    "",
    "a",
];

/// JSON text, with duplicate keys, odd types, white space and every kind of string.
fn json_text() -> impl Strategy<Value = String> {
    let scalars = [
        "null",
        "true",
        "-0.0e+10",
        "12345678901234567890",
        "200",
        "\"200\"",
        "{}",
        "[ ]",
        "\"\\ud800\"",
    ];
    let times = [
        "\"2025-01-02T03:04:05.67+0000\"",
        "\"crn:v1:a:b:kms::\"",
        "\"a secret b\"",
        "\"s\\u0065cret\"",
    ];
    let leaf = prop_oneof![
        proptest::sample::select(scalars.to_vec()).prop_map(str::to_owned),
        proptest::sample::select(times.to_vec()).prop_map(str::to_owned),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(" , "))),
            object_text(inner),
        ]
    })
}

fn object_text(values: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (proptest::sample::select(KEYS), values, "[ \t]{0,2}");
    proptest::collection::vec(member, 0..9).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value, white)| format!("{white}\"{key}\"{white}:{white}{value}{white}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #[test]
    fn any_event_gives_a_valid_record(line in object_text(json_text()), labelled in any::<bool>()) {
        let labels = if labelled { all_labels() } else { no_labels() };
        for (name, settings) in golden_settings() {
            let record = render(&settings, &line, &labels);
            let lines: Vec<&str> = record.split('\n').collect();
            prop_assert_eq!(lines.len(), if name == "elastic_bulk" { 2 } else { 1 });
            if ["cef", "leef"].contains(&name) {
                let is_clean = |character: char| !character.is_ascii_control() || character == '\t';
                prop_assert!(record.chars().all(is_clean), "{}", record);
                continue;
            }
            for text in lines {
                let read = serde_json::from_str::<serde::de::IgnoredAny>(text);
                prop_assert!(read.is_ok(), "{name}: {text}");
            }
            prop_assert!(!name.starts_with("azion") || record.is_ascii());
        }
    }

    #[test]
    fn the_line_in_a_record_is_the_line(line in object_text(json_text())) {
        let record = render(&of(Shape::Logdna), &line, &no_labels());
        let record: FlatRecord = serde_json::from_str(&record).unwrap();
        prop_assert_eq!(record.bytes, line.len());
        prop_assert_eq!(record.line, line);
    }

    #[test]
    fn a_masked_text_is_nowhere(line in object_text(json_text()), shape in proptest::sample::select(&Shape::NAMES[..])) {
        let settings = TemplateSettings {
            masks: MaskSettings { patterns: list(&["(?i)secret"]), ..MaskSettings::default() },
            ..of(shape.1)
        };
        let record = render(&settings, &line, &no_labels());
        prop_assert!(!json::decoded(record.as_bytes()).to_lowercase().contains("secret"), "{}", record);
    }

    #[test]
    fn dropping_is_what_a_parser_would_do(line in object_text(json_text())) {
        let settings = TemplateSettings { drop: list(&["action", "initiator.id"]), ..of(Shape::Raw) };
        let surrogates = |text: &str| text.replace("\\ud800", "?");
        let dropped = render(&settings, &line, &no_labels());
        let dropped: Value = serde_json::from_str(&surrogates(&dropped)).unwrap();
        let mut expected: Value = serde_json::from_str(&surrogates(&line)).unwrap();
        let object = expected.as_object_mut().unwrap();
        object.remove("action");
        object.remove("initiator.id");
        // A string that may hold JSON is masked whole; the drawn ones are told apart by the unit tests.
        if let Some(initiator) = object.get_mut("initiator") {
            drop_id(initiator);
        }
        prop_assert_eq!(dropped, expected);
    }

    #[test]
    fn bytes_that_are_no_json_do_no_harm(line in proptest::collection::vec(any::<u8>(), 0..60)) {
        for (_, settings) in golden_settings() {
            let template = Template::compile(&settings).unwrap();
            let line = [b"{", line.as_slice(), b"}"].concat();
            let mut out = Vec::new();
            Renderer::default().render(&template, &event(&line, &no_labels(), 1), &mut out);
        }
    }
}

/// Of a flat LogDNA record; a key that is there twice is refused.
#[derive(serde::Deserialize)]
struct FlatRecord {
    #[serde(rename = "_line")]
    line: String,
    #[serde(rename = "_mezmo_line_size")]
    bytes: usize,
}

fn drop_id(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("id");
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_id),
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            *text = "***".to_owned()
        }
        _ => {}
    }
}
