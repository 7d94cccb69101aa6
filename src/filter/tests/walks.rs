//! The walker against obvious readings of a line.

use proptest::prelude::*;
use serde_json::Value;

use super::super::{PathId, Paths, Walker};
use super::{levels, path};

/// What each level finds at each path of a line, asked in order.
fn check(line: &str, expected: &[(&[&str], Option<&str>)]) {
    for level in levels() {
        let mut paths = Paths::new();
        let ids: Vec<PathId> = expected
            .iter()
            .map(|(keys, _)| paths.add(&path(keys)))
            .collect();
        let mut walker = Walker::with_level(level);
        for order in [false, true] {
            walker.begin(&paths, line.as_bytes());
            let mut asked: Vec<usize> = (0..ids.len()).collect();
            if order {
                asked.reverse();
            }
            for at in asked {
                let found = walker.find(&paths, line.as_bytes(), ids[at]);
                let found = found.map(|range| &line[range]);
                assert_eq!(found, expected[at].1, "{:?} of {line}", expected[at].0);
            }
        }
    }
}

#[test]
fn values_of_every_type_are_found_raw() {
    check(
        r#"{"s":"a b","n":-1.50e+3,"t":true,"f":false,"z":null,"o":{"k":[1,{"k":2}]},"a":["]",[],{}],"e":""}"#,
        &[
            (&["s"], Some(r#""a b""#)),
            (&["n"], Some("-1.50e+3")),
            (&["t"], Some("true")),
            (&["f"], Some("false")),
            (&["z"], Some("null")),
            (&["o"], Some(r#"{"k":[1,{"k":2}]}"#)),
            (&["o", "k"], Some(r#"[1,{"k":2}]"#)),
            (&["o", "k", "k"], None),
            (&["a"], Some(r#"["]",[],{}]"#)),
            (&["a", "0"], None),
            (&["e"], Some(r#""""#)),
            (&["k"], None),
            (&["s", "t"], None),
        ],
    );
}

#[test]
fn the_empty_path_is_the_whole_object() {
    check(
        r#" {"a":1} "#,
        &[(&[], Some(r#"{"a":1}"#)), (&["a"], Some("1"))],
    );
    check("{}", &[(&[], Some("{}")), (&[""], None)]);
}

#[test]
fn keys_are_compared_decoded() {
    check(
        r#"{"\u0061\"b":1,"x\\":2,"\/":3,"\ud83d\ude00":4,"\u0000":5,"":6,"a\\\"b":7,"\ud800":8}"#,
        &[
            (&["a\"b"], Some("1")),
            (&["x\\"], Some("2")),
            (&["/"], Some("3")),
            (&["😀"], Some("4")),
            (&["\0"], Some("5")),
            (&[""], Some("6")),
            (&["b"], None),
            (&["a\\\"b"], Some("7")),
            (&["\u{fffd}"], Some("8")),
        ],
    );
}

#[test]
fn the_first_of_equal_keys_wins_also_when_it_leads_nowhere() {
    check(
        r#"{"a":1,"a":{"b":2},"c":{"d":3},"\u0063":{"d":4,"e":5},"c":6}"#,
        &[
            (&["a"], Some("1")),
            (&["a", "b"], None),
            (&["c", "d"], Some("3")),
            (&["c", "e"], None),
            (&["c"], Some(r#"{"d":3}"#)),
        ],
    );
}

#[test]
fn white_space_may_stand_everywhere() {
    check(
        "\t{ \n\"a\" \r : \t{ \"b\"\n:\n\"c\" , \"d\" : 12 \n} , \"e\" : [ 1 , 2 ] , \"f\" : null }\r",
        &[
            (&["a", "b"], Some("\"c\"")),
            (&["a", "d"], Some("12")),
            (&["e"], Some("[ 1 , 2 ]")),
            (&["f"], Some("null")),
            (&["g"], None),
        ],
    );
}

#[test]
fn structure_within_strings_is_text() {
    check(
        r#"{"x":"{\"k\":[","y":["}","\\",{"k":"]\\\""}],"k":"::{}","z":"\\\\"}"#,
        &[
            (&["k"], Some(r#""::{}""#)),
            (&["z"], Some(r#""\\\\""#)),
            (&["y"], Some(r#"["}","\\",{"k":"]\\\""}]"#)),
        ],
    );
}

#[test]
fn deep_nesting_is_skipped_and_followed() {
    let deep = format!("{}1{}", "{\"k\":".repeat(127), "}".repeat(127));
    let line = format!(r#"{{"skip":{deep},"last":{{"a":{deep}}},"end":2}}"#);
    check(
        &line,
        &[
            (&["end"], Some("2")),
            (&["last", "a"], Some(&deep)),
            (&["skip", "k", "k", "k", "x"], None),
        ],
    );
    let keys = vec!["k"; 127];
    check(&deep, &[(&keys, Some("1"))]);
}

#[test]
fn values_across_the_edges_of_groups_are_found() {
    for padding in 0..1100 {
        let line = format!(
            r#"{{"p":"{}","a\\":{{"k":"v\"w"}},"n":17}}"#,
            "x".repeat(padding)
        );
        check(
            &line,
            &[
                (&["a\\", "k"], Some(r#""v\"w""#)),
                (&["n"], Some("17")),
                (&["m"], None),
            ],
        );
    }
}

#[test]
fn keys_are_told_apart_by_every_byte() {
    let near = |middle: &str| format!("beginning{middle}and the end");
    let mut keys: Vec<String> = (0..20)
        .map(|length| "k".repeat(length))
        .chain((0..20).map(|length| format!("{}ype", "t".repeat(length))))
        .chain([near("-one-"), near("-two-"), near("-one"), "x".repeat(200)])
        .collect();
    keys.sort();
    for (asked, wanted) in [
        (1, false),
        (3, false),
        (keys.len(), false),
        (keys.len(), true),
    ] {
        for first in 0..keys.len() {
            // With and without the others among the children, and among the keys of the line.
            let asked: Vec<&str> = (keys.iter().cycle().skip(first).take(asked))
                .map(String::as_str)
                .collect();
            let members = keys.iter().enumerate();
            let members: Vec<String> = members
                .filter(|(_, key)| !wanted || **key != asked[0])
                .map(|(at, key)| format!("\"{key}\":{at}"))
                .collect();
            let line = format!("{{{}}}", members.join(","));
            let expected = |key: &str| {
                let at = keys.iter().position(|one| one == key)?;
                (!wanted || key != asked[0]).then(|| at.to_string())
            };
            let values: Vec<Option<String>> = asked.iter().map(|key| expected(key)).collect();
            let paths: Vec<[&str; 1]> = asked.iter().map(|key| [*key]).collect();
            let rows: Vec<(&[&str], Option<&str>)> = (paths.iter().zip(&values))
                .map(|(path, value)| (path.as_slice(), value.as_deref()))
                .collect();
            check(&line, &rows);
        }
    }
}

#[test]
fn numbers_and_words_end_where_they_end() {
    for value in [
        "1",
        "-1.5e+300",
        "12345678",
        "123456789",
        "12345678901234567",
        "true",
        "null",
    ] {
        for end in ["}", ",\"b\":[]}", " }", "\t,\"b\":1}", "\n}", "\r\n}"] {
            let line = format!("{{\"a\":{value}{end}");
            check(&line, &[(&["a"], Some(value))]);
            check(&format!("{{\"o\":{line}}}"), &[(&["o", "a"], Some(value))]);
        }
    }
}

#[test]
fn bytes_that_are_no_object_end_in_some_answer() {
    let lines: &[&[u8]] = &[
        b"",
        b"{",
        b"}",
        b"[",
        b"{:",
        b"{\"",
        b"{\"a",
        b"{\"a\"",
        b"{\"a\":",
        b"{\"a\":\"",
        b"{\"a\":{",
        b"{\"a\":}",
        b"{\"a\":,",
        b":::::",
        b"{:}}}}",
        b"{\"a\"::{\"b\"",
        b"{]]]]{{{",
        b"{\"\\",
        b"{\"a\":\"\\",
        b"\xff\xfe{\"a\":\"\xff\"}",
        b"{\"\xff\":1,\"a\":\xff}",
        b"null",
        b"[{\"a\":1}]",
        b"   ",
        b"{   :",
        b"{\"\\ud8\":1",
    ];
    for level in levels() {
        let mut paths = Paths::new();
        let ids = [
            paths.add(&path(&["a"])),
            paths.add(&path(&["a", "b"])),
            paths.add(&[]),
        ];
        let mut walker = Walker::with_level(level);
        for line in lines {
            for padding in [0, 60, 64, 508, 512] {
                let mut line = line.to_vec();
                line.extend(std::iter::repeat_n(b' ', padding));
                walker.begin(&paths, &line);
                for id in ids {
                    if let Some(range) = walker.find(&paths, &line, id) {
                        assert!(range.start <= range.end && range.end <= line.len());
                    }
                }
            }
        }
    }
}

fn json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("ab".to_owned()),
        "[a-c\"\\\\é\u{1}😀]{0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~é\u{1}😀]{0,90}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::hash_map("[a-c]{1,2}", value, 0..8)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_resumable_walk_finds_what_an_eager_one_finds(
        object in json(),
        asked in prop::collection::vec(
            prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("ab"), Just("c"), Just("é")], 0..4),
            1..8,
        ),
        pretty in any::<bool>(),
    ) {
        let line = if pretty {
            serde_json::to_string_pretty(&object)
        } else {
            serde_json::to_string(&object)
        };
        let line = line.expect("a value is written");
        // Read back: a float may be read as the neighbour of what was written.
        let object: Value = serde_json::from_str(&line).expect("what was written is JSON");
        for level in levels() {
            let mut paths = Paths::new();
            let ids: Vec<PathId> = asked.iter().map(|keys| paths.add(&path(keys))).collect();
            let mut walker = Walker::with_level(level);
            walker.begin(&paths, line.as_bytes());
            for (keys, id) in asked.iter().zip(&ids) {
                let expected = keys.iter().try_fold(&object, |value, key| value.as_object()?.get(*key));
                let found = walker.find(&paths, line.as_bytes(), *id).map(|range| {
                    serde_json::from_str::<Value>(&line[range]).expect("a value is found whole")
                });
                prop_assert_eq!(found.as_ref(), expected, "{:?} of {}", keys, line);
            }
        }
    }
}
