//! Texts: what is refused, and where values go.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::event::{InputId, Labels};
use crate::position::{JournalId, Offset, SegmentId, Timestamp};
use crate::stream::template::EventPosition;

fn render(text: &str, source: DataSource, line: &str) -> Result<String, TemplateError> {
    let mut labels = Labels::of_input(InputId(0));
    labels.host = Some("h\"1".into());
    labels.tags = Some("a\tb".into());
    let event = EventAt {
        line: line.as_bytes(),
        labels: &Arc::new(labels),
        received: Timestamp(1_735_787_045_678_901),
        position: EventPosition {
            segment: SegmentId([1; 16]),
            journal: JournalId(0),
            offset: Offset(0),
        },
    };
    let mut out = Vec::new();
    Text::compile(text, source)?.render(&mut Walker::new(), &event, &mut out);
    Ok(String::from_utf8(out).unwrap())
}

const LINE: &str = r#"{"action":"a \"b\" é","n":1.50e3,"o":{"k":["x\n"]},"nil":null,"e":"","_x":7,"a.b":8,"t":"$BLOCK ${n}\r\n"}"#;

#[test]
fn values_in_json_strings_are_escaped_text() {
    let check = |text: &str, expected: &str| {
        let rendered = render(text, DataSource::Event, LINE).unwrap();
        assert_eq!(rendered, expected);
        serde_json::from_str::<serde_json::Value>(&rendered).unwrap();
    };
    check(
        r#"{"a":"$action","n":"n=$n."}"#,
        r#"{"a":"a \"b\" é","n":"n=1.50e3."}"#,
    );
    check(
        r#"{"o":"$o","m":"$o.zz $nil","e":"$e"}"#,
        r#"{"o":"{\"k\":[\"x\\n\"]}","m":"- -","e":""}"#,
    );
    check(
        r#"{"$action":"$t","d":"$$n"}"#,
        r#"{"a \"b\" é":"$BLOCK ${n}\r\n","d":"$n"}"#,
    );
    check(
        r#"{"h":"$_host","x":"$._x","d":"${a\.b}","s":"$_subsystem"}"#,
        r#"{"h":"h\"1","x":"7","d":"8","s":"-"}"#,
    );
    check(r#"{"x":"\\$n\"$n"}"#, r#"{"x":"\\1.50e3\"1.50e3"}"#);
}

#[test]
fn values_outside_strings_are_raw_json() {
    let check = |text: &str, expected: &str| {
        assert_eq!(render(text, DataSource::Event, LINE).unwrap(), expected);
    };
    check(
        r#"{"o":$o,"n":[$n,$action],"z":$zz,"nil":$nil}"#,
        r#"{"o":{"k":["x\n"]},"n":[1.50e3,"a \"b\" é"],"z":null,"nil":null}"#,
    );
    check(
        r#"{"h":$_host,"t":$_ts,"l":$_level}"#,
        r#"{"h":"h\"1","t":1735787045678,"l":null}"#,
    );
    check("{\n  \"n\": $n\n}\n", "{   \"n\": 1.50e3 }");
    assert_eq!(
        render("[$_line]", DataSource::Event, LINE).unwrap(),
        format!("[{LINE}]")
    );
}

#[test]
fn values_in_plain_text_are_decoded_and_stay_on_one_line() {
    let check = |text: &str, expected: &str| {
        assert_eq!(render(text, DataSource::Event, LINE).unwrap(), expected);
    };
    check(
        "v1\t$action|$t|${n}x|$nil\n",
        "v1\ta \"b\" é|$BLOCK ${n}  |1.50e3x|-",
    );
    check(
        "$_time $_received $_tags.",
        "2025-01-02T03:04:05.678Z 2025-01-02T03:04:05.678Z a b.",
    );
    check("$_id", "d8f30664-6ba7-5a7c-95bc-344448a8197b");
}

#[test]
fn azion_texts_are_ascii_strings() {
    let line = r#"{"time":"t","host":"é😀","status":200,"waf_attack_action":"$BLOCK","country":"Brasil \u00e9","state":null}"#;
    let check = |text: &str, expected: &str| {
        assert_eq!(render(text, DataSource::Http, line).unwrap(), expected);
    };
    check(
        r#"{"status":"$status","h":"ã $host"}"#,
        r#"{"status":"200","h":"\u00e3 \u00e9\ud83d\ude00"}"#,
    );
    check(
        r#"{"a":"$waf_attack_action","c":"$country","s":"$state","x":"$asn"}"#,
        r#"{"a":"$BLOCK","c":"Brasil \u00e9","s":"-","x":"-"}"#,
    );
    let line = r#"{"time":"2025-01-02T03:04:05Z","client":"4529r","title":"T","type":"edited"}"#;
    let fixed =
        "v1\t$time_iso8601\t$clientid\t$title\t$comment\t$type\t$author_name\t$author_email";
    assert_eq!(
        render(fixed, DataSource::ActivityHistory, line).unwrap(),
        "v1\t2025-01-02T03:04:05Z\t4529r\tT\t-\tedited\t-\t-"
    );
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let check = |text: &str, source: DataSource, expected: &str| {
        let error = render(text, source, LINE).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    };
    check(
        r#"{"s":"$statuss"}"#,
        DataSource::Http,
        "`$statuss` is no variable of the data source `http`; did you mean `$status`?",
    );
    check("$qqqqqqq", DataSource::Waf, "data source `waf`");
    check("$_hots", DataSource::Event, "did you mean `$_host`?");
    for text in ["$", "5 $ and", "${", "${n", "${}", "$."] {
        check(text, DataSource::Event, "no variable begins here");
    }
    check("$a..b", DataSource::Event, "a key is empty");
    for text in [
        r#"{"a":"$n}"#,
        r#"{"a":1$n}"#,
        "{$n:1}",
        r#"{"a":"\$n"}"#,
        r#"{"a":$n"x"}"#,
        "{\"a\":\"\n\"}",
    ] {
        check(text, DataSource::Event, "none when variables have values");
    }
    check("a\nb", DataSource::Event, "line break");
}

proptest! {
    #[test]
    fn a_json_text_that_compiles_renders_json(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", "\"", "\"a\":", "\"$n\"", "$action", "$t", "$o", "$zz", "$$", "${n}", "$_host", "$_ts", "$_line", "$",
                "\\", ",", ":", "1", "é", " ", "\n", "x", "\"k $e\":$e", "{\"a\":$n}",
            ]),
            0..9,
        ),
        bare in any::<bool>(),
    ) {
        let inner = pieces.concat();
        let text = if bare { inner } else { format!("{{\"a\":\"{inner}\"}}") };
        for source in [DataSource::Event, DataSource::Http] {
            let Ok(compiled) = Text::compile(&text, source) else { continue };
            let rendered = render(&text, source, LINE).unwrap();
            prop_assert!(!rendered.contains('\n'), "{text}: {rendered}");
            if compiled.is_json() {
                let read = serde_json::from_str::<serde::de::IgnoredAny>(&rendered);
                prop_assert!(read.is_ok(), "{text}: {rendered}");
            }
        }
    }
}
