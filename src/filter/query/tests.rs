//! What queries mean, by trees written down by hand; what is refused, by its exact words; and any text at all.

use super::parser::QUOTE_KEYWORD;
use super::*;
use crate::filter::tree::{Compare, Field, Label, Place, Source, Term};
use proptest::prelude::*;

/// A tree on one line: `&`, `|`, `!`; `f:'v'` is a prefix in any case, and `'w'` a word's beginning anywhere in any
/// case. All else is named; `~` is any case.
fn describe(tree: &Expr) -> String {
    let join = |operands: &[Expr], by| {
        let parts: Vec<String> = operands.iter().map(describe).collect();
        format!("({})", parts.join(by))
    };
    match tree {
        Expr::All(operands) => join(operands, " & "),
        Expr::Any(operands) => join(operands, " | "),
        Expr::Not(operand) => format!("!{}", describe(operand)),
        Expr::Exists(field) => format!("{}:exists", field.name),
        Expr::Term(field, term) => {
            let text = of_term(term, Place::Prefix);
            format!("{}:{text}", field.name)
        }
        Expr::NumberTerm(field, compare, number) => {
            format!("{}:{compare:?} {number}", field.name)
        }
        Expr::Anywhere { term, labels } => {
            let text = of_term(term, Place::TokenPrefix);
            if *labels {
                text
            } else {
                format!("line:{text}")
            }
        }
        other => panic!("{other:?} is no node of a query"),
    }
}

fn of_term(term: &Term, usual: Place) -> String {
    match (term.place == usual, term.ignore_case) {
        (true, true) => format!("'{}'", term.text),
        (_, true) => format!("{:?}~'{}'", term.place, term.text),
        (_, false) => format!("{:?}'{}'", term.place, term.text),
    }
}

fn check(query: &str, expected: &str) {
    match parse(query, Options::default()) {
        Ok(tree) => assert_eq!(describe(&tree), expected, "{query}"),
        Err(error) => panic!("{query}: {error}"),
    }
}

fn refused(query: &str, expected: &str) {
    match parse(query, Options::default()) {
        Ok(tree) => panic!("{query} is {}", describe(&tree)),
        Err(error) => assert_eq!(error.to_string(), expected, "{query}"),
    }
}

/// The first line of the error and the suggestion, for the many refusals whose caret is not the point.
fn refused_with(query: &str, message: &str, suggestion: &str) {
    let error = parse(query, Options::default()).expect_err(query);
    assert_eq!(error.message, message, "{query}");
    assert_eq!(
        error.suggestion.as_deref().unwrap_or_default(),
        suggestion,
        "{query}"
    );
}

fn data(name: &str) -> Field {
    Field {
        name: name.into(),
        sources: [Source::Data(name.split('.').map(Box::from).collect())].into(),
    }
}

fn term(text: &str, place: Place, ignore_case: bool) -> Term {
    Term {
        text: text.into(),
        place,
        ignore_case,
    }
}

#[test]
fn queries_of_the_documentation_mean_what_it_says() {
    for (query, expected) in [
        ("_platform:==iam-am", "_platform:Whole~'iam-am'"),
        (
            "_platform:==iam-identity (action login)",
            "(_platform:Whole~'iam-identity' & ('action' & 'login'))",
        ),
        (
            "_platform:==iam-identity (action user-apikey) -(action login)",
            "(_platform:Whole~'iam-identity' & ('action' & 'user-apikey') & !('action' & 'login'))",
        ),
        (
            "_platform:==BSS (action instance)",
            "(_platform:Whole~'BSS' & ('action' & 'instance'))",
        ),
        ("action instance.create", "('action' & 'instance.create')"),
        (
            "action user-management.user.create",
            "('action' & 'user-management.user.create')",
        ),
        ("reason.reasonCode:500", "reason.reasonCode:'500'"),
        ("outcome:failure", "outcome:'failure'"),
        ("severity:critical", "severity:'critical'"),
        (
            "host:iam-am (action read)",
            "(host:'iam-am' & ('action' & 'read'))",
        ),
        (
            "action:logdnaat.streaming-logs.send reason.reasonCode:500 severity:critical \
             target.typeURI:\"logdna/account/streaming-notification\" \
             requestData.notificationType:\"authentication_failure\"",
            "(action:'logdnaat.streaming-logs.send' & reason.reasonCode:'500' & severity:'critical' \
             & target.typeURI:'logdna/account/streaming-notification' \
             & requestData.notificationType:'authentication_failure')",
        ),
        (
            "initiator.id:iam-ServiceId-<GUID> action:cloud-object-storage.object.create \
             target.id:crn:v1:bluemix:public:cloud-object-storage:global:a/1:2::",
            "(initiator.id:'iam-ServiceId-<GUID>' & action:'cloud-object-storage.object.create' \
             & target.id:'crn:v1:bluemix:public:cloud-object-storage:global:a/1:2::')",
        ),
        (
            "target.id:crn:v1:b reason.reasonCode:403",
            "(target.id:'crn:v1:b' & reason.reasonCode:'403')",
        ),
        (
            "_line:\"LogDNA test message\" _app:\"logdna-selfstream-config-validation\"",
            "(line:'LogDNA test message' & _app:'logdna-selfstream-config-validation')",
        ),
        (
            "host:ibm-cloud-databases-prod AND label.database:postgresql",
            "(host:'ibm-cloud-databases-prod' & label.database:'postgresql')",
        ),
        (
            "action:iam-groups.group.create OR action:iam-groups.group.delete OR action:iam-groups.member.add",
            "(action:'iam-groups.group.create' | action:'iam-groups.group.delete' | action:'iam-groups.member.add')",
        ),
        (
            "action:[iam-groups.group.create,iam-am.policy.update]",
            "(action:'iam-groups.group.create' | action:'iam-am.policy.update')",
        ),
        (
            "response:(>=200 <300) request:*",
            "((response:GreaterEqual 200 & response:Less 300) & request:exists)",
        ),
        (
            "robots.txt OR favicon.ico OR .well-known",
            "('robots.txt' | 'favicon.ico' | '.well-known')",
        ),
        (
            "app:memo -(\"success\" OR \"waiting\")",
            "(app:'memo' & !('success' | 'waiting'))",
        ),
        (
            "healthcheck -successful OR ping",
            "('healthcheck' & (!'successful' | 'ping'))",
        ),
        (
            "source:node1 AND (file:/var/log/syslog OR ERROR)",
            "(source:'node1' & (file:'/var/log/syslog' | 'ERROR'))",
        ),
        (
            "host:myawesomehost -app:mycoolapp",
            "(host:'myawesomehost' & !app:'mycoolapp')",
        ),
        ("user.id:12345", "user.id:'12345'"),
        ("name:=camelCasedName", "name:Prefix'camelCasedName'"),
        ("name:===Bob", "name:Whole'Bob'"),
        (
            "action:kms.secrets.endtoenddelete outcome:failure",
            "(action:'kms.secrets.endtoenddelete' & outcome:'failure')",
        ),
        ("level:[warning,error]", "(level:'warning' | level:'error')"),
    ] {
        check(query, expected);
    }
}

#[test]
fn or_binds_tighter_than_and_and_negation_tighter_than_both() {
    for (query, expected) in [
        ("me myself OR I2", "('me' & ('myself' | 'I2'))"),
        ("me AND myself OR mine", "('me' & ('myself' | 'mine'))"),
        ("me OR myself mine", "(('me' | 'myself') & 'mine')"),
        ("aa OR bb AND cc OR dd", "(('aa' | 'bb') & ('cc' | 'dd'))"),
        ("aa AND bb cc", "('aa' & 'bb' & 'cc')"),
        ("(aa bb) OR cc", "(('aa' & 'bb') | 'cc')"),
        ("-aa OR bb", "(!'aa' | 'bb')"),
        ("-(aa OR bb) cc", "(!('aa' | 'bb') & 'cc')"),
        ("--aa", "!!'aa'"),
        ("-\"x y\"", "!'x y'"),
        ("-request:*", "!request:exists"),
        ("((aa))", "'aa'"),
        ("(aa)(bb)", "('aa' & 'bb')"),
        ("aa OR(bb)AND(cc)", "(('aa' | 'bb') & 'cc')"),
        (" \t aa\nOR\u{a0}bb ", "('aa' | 'bb')"),
    ] {
        check(query, expected);
    }
}

#[test]
fn keywords_are_whole_words_in_capitals() {
    for (query, expected) in [
        ("aa or bb", "('aa' & 'or' & 'bb')"),
        ("aa and not bb", "('aa' & 'and' & 'not' & 'bb')"),
        ("ORDER ANDROID", "('ORDER' & 'ANDROID')"),
        ("aa OR-bb", "('aa' & 'OR-bb')"),
        ("\"OR\" \"AND\" \"NOT\"", "('OR' & 'AND' & 'NOT')"),
        ("state:OR", "state:'OR'"),
    ] {
        check(query, expected);
    }
}

/// Whole trees: what the short form of the other tests leaves out.
#[test]
fn every_operator_has_its_node() {
    let anywhere = |text, place, ignore_case, labels| Expr::Anywhere {
        term: term(text, place, ignore_case),
        labels,
    };
    let value = |text, place, ignore_case| Expr::Term(data("a.b"), term(text, place, ignore_case));
    let number = |compare, number: &str| Expr::NumberTerm(data("a.b"), compare, number.into());
    for (query, expected) in [
        ("word", anywhere("word", Place::TokenPrefix, true, true)),
        ("=word", anywhere("word", Place::TokenPrefix, false, true)),
        ("==word", anywhere("word", Place::Token, true, true)),
        ("===word", anywhere("word", Place::Token, false, true)),
        ("===\"a b\"", anywhere("a b", Place::Token, false, true)),
        (
            "line:word",
            anywhere("word", Place::TokenPrefix, true, false),
        ),
        (
            "_line:=404",
            anywhere("404", Place::TokenPrefix, false, false),
        ),
        ("line:==word", anywhere("word", Place::Token, true, false)),
        ("line:===word", anywhere("word", Place::Token, false, false)),
        ("a.b:v", value("v", Place::Prefix, true)),
        ("a.b:\"v w\"", value("v w", Place::Prefix, true)),
        ("a.b:=v", value("v", Place::Prefix, false)),
        ("a.b:=\"404\"", value("404", Place::Prefix, false)),
        ("a.b:=007", value("007", Place::Prefix, false)),
        ("a.b:==404", value("404", Place::Whole, true)),
        ("a.b:===v", value("v", Place::Whole, false)),
        ("a.b:*", Expr::Exists(data("a.b"))),
        ("a.b:\"*\"", value("*", Place::Prefix, true)),
        ("a.b:==\"v*\"", value("v*", Place::Whole, true)),
        ("a.b:>-1.50e+2", number(Compare::Greater, "-1.50e+2")),
        ("a.b:>=0", number(Compare::GreaterEqual, "0")),
        ("a.b:<0.0", number(Compare::Less, "0.0")),
        ("a.b:<=1E9", number(Compare::LessEqual, "1E9")),
        (
            "a.b:=404",
            Expr::Any(vec![
                number(Compare::Equal, "404"),
                Expr::All(vec![
                    Expr::Not(Box::new(Expr::Any(vec![
                        number(Compare::Less, "404"),
                        number(Compare::GreaterEqual, "404"),
                    ]))),
                    value("404", Place::Prefix, false),
                ]),
            ]),
        ),
    ] {
        assert_eq!(parse(query, Options::default()), Ok(expected), "{query}");
    }
}

#[test]
fn token_mode_changes_prefixes_of_values_only() {
    for (query, expected) in [
        ("f:v f:=v", "(f:TokenPrefix~'v' & f:TokenPrefix'v')"),
        ("f:[a,b]", "(f:TokenPrefix~'a' | f:TokenPrefix~'b')"),
        (
            "f:==v f:===v f:>1 word",
            "(f:Whole~'v' & f:Whole'v' & f:Greater 1 & 'word')",
        ),
    ] {
        let match_mode = MatchMode::Token;
        let tree = parse(query, Options { match_mode }).expect(query);
        assert_eq!(describe(&tree), expected, "{query}");
    }
}

#[test]
fn several_conditions_on_one_field_join_like_a_query() {
    for (query, expected) in [
        (
            "f:(>=400 <500 -404)",
            "(f:GreaterEqual 400 & f:Less 500 & !f:'404')",
        ),
        ("f:(>100 AND <=503)", "(f:Greater 100 & f:LessEqual 503)"),
        ("f:(a OR ==b c)", "((f:'a' | f:Whole~'b') & f:'c')"),
        ("f:(a (b OR -c))", "(f:'a' & (f:'b' | !f:'c'))"),
        ("f:( * )", "f:exists"),
        ("f:(g:1 \"h:2\")", "(f:'g:1' & f:'h:2')"),
        ("f:([a,b] -c)", "((f:'a' | f:'b') & !f:'c')"),
        ("line:(aa OR bb)", "(line:'aa' | line:'bb')"),
        ("f:(a)g:b", "(f:'a' & g:'b')"),
        ("f:-v", "f:'-v'"),
    ] {
        check(query, expected);
    }
}

#[test]
fn items_of_a_list_are_all_between_the_commas() {
    for (query, expected) in [
        ("f:[warning, error]", "(f:'warning' | f:' error')"),
        ("f:[a b,c\td]", "(f:'a b' | f:'c\td')"),
        ("f:[a (b),c)d]", "(f:'a (b)' | f:'c)d')"),
        ("f:[one]", "f:'one'"),
        (
            "f:[==a,>5,OR,g:1,x\"y]",
            "(f:'==a' | f:'>5' | f:'OR' | f:'g:1' | f:'x\"y')",
        ),
        ("(f:[a,b])", "(f:'a' | f:'b')"),
        ("line:[aa,bb]", "(line:'aa' | line:'bb')"),
        ("[aa,bb]", "'[aa,bb]'"),
    ] {
        check(query, expected);
    }
}

#[test]
fn symbols_stand_for_themselves() {
    for (query, expected) in [
        ("%VAR%", "'%VAR%'"),
        (
            "a~b /re.x/ a*b a&&b ~x",
            "('a~b' & '/re.x/' & 'a*b' & 'a&&b' & '~x')",
        ),
        ("status=500", "'status=500'"),
        (r"path:C:\dir\", r"path:'C:\dir\'"),
        (r#""a \"b\" \\ \n \u0041""#, r#"'a "b" \ \n \u0041'"#),
        ("\"response:\"", "'response:'"),
        ("\"(a)\"", "'(a)'"),
        ("\"a\nb\"", "'a\nb'"),
        ("über:größe", "über:'größe'"),
        ("user:a@b.c:1", "user:'a@b.c:1'"),
        ("日本", "'日本'"),
    ] {
        check(query, expected);
    }
}

#[test]
fn field_names_lead_to_their_sources() {
    let path = |keys: &[&str]| keys.iter().copied().map(Box::from).collect();
    let data = |keys: &[&str]| Source::Data(path(keys));
    let meta = |keys: &[&str]| Source::Meta(path(keys));
    let label = Source::Label;
    let service = || Source::CrnService(path(&["logSourceCRN"]));
    for (name, sources) in [
        ("host", vec![label(Label::Host), data(&["host"]), service()]),
        (
            "_host",
            vec![label(Label::Host), data(&["_host"]), service()],
        ),
        (
            "source",
            vec![label(Label::Host), data(&["source"]), service()],
        ),
        (
            "app",
            vec![
                label(Label::Application),
                data(&["app"]),
                data(&["logSourceCRN"]),
            ],
        ),
        (
            "_app",
            vec![
                label(Label::Application),
                data(&["_app"]),
                data(&["logSourceCRN"]),
            ],
        ),
        (
            "_platform",
            vec![meta(&["_platform"]), data(&["_platform"]), service()],
        ),
        (
            "level",
            vec![label(Label::Level), data(&["level"]), data(&["severity"])],
        ),
        ("env", vec![label(Label::Env), data(&["env"])]),
        ("tag", vec![label(Label::Tags), data(&["tag"])]),
        ("file", vec![label(Label::Peer), data(&["file"])]),
        (
            "label.x.y",
            vec![meta(&["label", "x", "y"]), data(&["label", "x", "y"])],
        ),
        ("meta.x", vec![meta(&["x"]), data(&["meta", "x"])]),
        (
            "meta.x.y",
            vec![meta(&["x", "y"]), data(&["meta", "x", "y"])],
        ),
        ("meta", vec![data(&["meta"])]),
        ("Host", vec![data(&["Host"])]),
        ("severity", vec![data(&["severity"])]),
        ("a.b-c.@d", vec![data(&["a", "b-c", "@d"])]),
    ] {
        let expected = Expr::Exists(Field {
            name: name.into(),
            sources: sources.into(),
        });
        let query = format!("{name}:*");
        assert_eq!(parse(&query, Options::default()), Ok(expected), "{name}");
    }
}

#[test]
fn errors_point_at_their_place() {
    for (query, expected) in [
        ("", "line 1, column 1: the query is empty\n  \n  ^"),
        (
            "action (login OR",
            "line 1, column 17: expected a search term, found the end of the query\n  action (login OR\n                  ^",
        ),
        (
            "host:web (login",
            "line 1, column 10: this `(` is not closed\n  host:web (login\n           ^",
        ),
        (
            "aa\n  (",
            "line 2, column 3: this `(` is not closed\n    (\n    ^",
        ),
        (
            "login)",
            "line 1, column 6: this `)` closes nothing\n  login)\n       ^\n  \
             a text that holds a parenthesis goes between double quotes: `\"a)\"`",
        ),
        (
            "ähm \"login",
            "line 1, column 5: this `\"` is not closed\n  ähm \"login\n      ^",
        ),
        (
            "f:[a,b c:d",
            "line 1, column 3: this `[` is not closed\n  f:[a,b c:d\n    ^",
        ),
        (
            "f:[a,,b]",
            "line 1, column 6: this item of the list is empty\n  f:[a,,b]\n       ^",
        ),
        (
            "host:web && login",
            "line 1, column 10: `&&` is not an operator here\n  host:web && login\n           ^^\n  \
             write `AND`; the text itself goes between double quotes",
        ),
        (
            "code:>=5xx",
            "line 1, column 8: expected a number\n  code:>=5xx\n         ^^^\n  \
             numbers are written as in JSON, without quotes: `500`, `-1.5`, `2e3`",
        ),
        (
            "a..b:c",
            "line 1, column 1: a part of this field name is empty\n  a..b:c\n  ^^^^\n  \
             names are keys joined by single dots: `a.b.c`",
        ),
        (
            "name:bob*",
            "line 1, column 6: there are no wildcards\n  name:bob*\n       ^^^^\n  \
             words and values are prefixes already; drop the `*`; the text itself goes between double quotes",
        ),
        (
            "aa AND OR bb",
            "line 1, column 8: expected a search term, found `OR`\n  aa AND OR bb\n         ^^\n  \
             to look for the word itself, put it between double quotes",
        ),
        (
            "aa x",
            "line 1, column 4: a search word needs at least two characters\n  aa x\n     ^",
        ),
    ] {
        refused(query, expected);
    }
}

#[test]
fn what_would_never_match_or_always_is_refused() {
    const QUOTE: &str = "a text that holds white space, quotes or parentheses goes between double quotes: `\"a (b)\"`";
    const COLON: &str = "a text that holds a colon goes between double quotes: `\"error:\"`";
    const NUMBER: &str = "numbers are written as in JSON, without quotes: `500`, `-1.5`, `2e3`";
    const OPERATORS: &str =
        "the operators are `=`, `==`, `===`, `>`, `>=`, `<` and `<=`; a list takes none";
    const DASH: &str =
        "a dash that is looked for goes between double quotes, with what is beside it";
    const NEGATE: &str =
        "write `-` directly before what it negates; the text itself goes between double quotes";
    const MARK: &str = "texts go between plain double quotes: `\"a b\"`";
    const PREFIX: &str = "words and values are prefixes already; drop the `*`; the text itself goes between double quotes";
    let value = "expected a value directly behind the operator, found";
    for (query, message, suggestion) in [
        (" \n", "the query is empty", ""),
        ("()", "nothing is in these parentheses", ""),
        ("f:()", "nothing is in these parentheses", ""),
        ("f:(>=1", "this `(` is not closed", ""),
        ("OR aa", "expected a search term, found `OR`", QUOTE_KEYWORD),
        ("(aa OR)", "expected a search term, found `)`", ""),
        (
            "aa -",
            "expected what to negate directly behind `-`, found the end of the query",
            DASH,
        ),
        (
            "aa - bb",
            "expected what to negate directly behind `-`, found white space",
            DASH,
        ),
        ("-AND", "expected a search term, found `AND`", QUOTE_KEYWORD),
        (
            "f:(OR)",
            "expected a search term, found `OR`",
            QUOTE_KEYWORD,
        ),
        ("foo(bar)", "expected white space or `)`, found `(`", QUOTE),
        (
            "say\"hi\"",
            "expected white space or `)`, found `\"`",
            QUOTE,
        ),
        ("\"a b\"c", "expected white space or `)`, found `c`", QUOTE),
        ("\"a b\":c", "expected white space or `)`, found `:`", QUOTE),
        ("f:[a]b", "expected white space or `)`, found `b`", ""),
        ("\"\"", "this text is empty", ""),
        ("f:\"\"", "this text is empty", ""),
        (
            "=",
            "expected a search term, found the end of the query",
            "",
        ),
        (
            "error: bb",
            "expected a value directly behind `:`, found white space",
            COLON,
        ),
        ("f:>= 5", &format!("{value} white space"), ""),
        ("f:==[a,b]", &format!("{value} `[`"), OPERATORS),
        ("f:=>5", &format!("{value} `>`"), OPERATORS),
        ("f:>=(1)", &format!("{value} `(`"), QUOTE),
        ("f:>\"5\"", "expected a number", NUMBER),
        ("f:>+5", "expected a number", NUMBER),
        ("f:<007", "expected a number", NUMBER),
        ("f:<1.", "expected a number", NUMBER),
        ("line:>5", "the line is a text, not a number", ""),
        (
            "line:*",
            "every event has a line, this would be true of all of them",
            "",
        ),
        ("line:x", "a search word needs at least two characters", ""),
        ("\"x\"", "a search word needs at least two characters", ""),
        ("*", "a search word needs at least two characters", ""),
        (
            ":x",
            "expected the name of a field before `:`",
            "a text that begins with `:` goes between double quotes",
        ),
        (
            "=name:bob",
            "an operator stands behind the colon",
            "write `field:=value`; a text that holds a colon goes between double quotes",
        ),
        (
            ">=500",
            "a comparison needs a field",
            "write `field:>=500`; a text that begins with `<` or `>` goes between double quotes",
        ),
        (
            "_retention:7",
            "`_retention` cannot be used in an exclusion rule",
            "",
        ),
        (
            "_mezmo_line_size:>4000",
            "`_mezmo_line_size` cannot be used in an exclusion rule",
            "",
        ),
        (
            "aa || bb",
            "`||` is not an operator here",
            "write `OR`; the text itself goes between double quotes",
        ),
        ("!aa", "`!` is not an operator here", NEGATE),
        ("aa NOT bb", "`NOT` is not an operator here", NEGATE),
        (
            "f:!=v",
            "`!` is not an operator here",
            "write `-field:value` for what it is not; the text itself goes between double quotes",
        ),
        ("health*", "there are no wildcards", PREFIX),
        ("=health*", "there are no wildcards", PREFIX),
        (
            "f:==v*",
            "there are no wildcards",
            "without `==` it is a prefix; the text itself goes between double quotes",
        ),
        (
            "f:[v*]",
            "there are no wildcards",
            "words and values are prefixes already; drop the `*`",
        ),
        (
            "f:[\"a\", \"b\"]",
            "items of a list are not quoted",
            "drop the quotes: an item is all that stands between the commas",
        ),
        ("f:[a, ]", "this item of the list is empty", ""),
        ("'a b'", "this is not the quotation mark of a text", MARK),
        ("f:“a", "this is not the quotation mark of a text", MARK),
    ] {
        refused_with(query, message, suggestion);
    }
}

#[test]
fn what_is_at_a_limit_is_taken_and_what_is_beyond_is_refused() {
    let nested = |depth| format!("{}aa{}", "(".repeat(depth), ")".repeat(depth));
    let negated = |depth| format!("{}aa", "-".repeat(depth));
    let list = |items| format!("f:[{}]", vec!["a"; items].join(","));
    let name = |bytes| format!("{}:v", "n".repeat(bytes));
    // Eight nodes each, and one that joins them.
    let nodes = |conditions| format!("f:({})", vec!["=1"; conditions].join(" "));
    let long = |bytes: usize| "a".repeat(bytes);
    for (taken, beyond, message) in [
        (nested(100), nested(101), "nested deeper than 100"),
        (negated(100), negated(101), "nested deeper than 100"),
        (
            list(1_000),
            list(1_001),
            "the list has more than 1000 items",
        ),
        (
            name(512),
            name(513),
            "the name of this field is longer than 512 bytes",
        ),
        (
            nodes(1_249),
            nodes(1_250),
            "the query has more than 10000 conditions",
        ),
        (
            long(16_384),
            long(16_385),
            "the query has 16385 bytes, at most 16384 are taken",
        ),
    ] {
        assert!(parse(&taken, Options::default()).is_ok(), "{message}");
        fuzz_parse(&taken);
        refused_with(&beyond, message, "");
        fuzz_parse(&beyond);
    }
}

#[test]
fn a_query_that_is_too_long_is_cut_between_characters() {
    let error = parse(&"ü".repeat(QUERY_BYTES_MAX), Options::default()).unwrap_err();
    assert_eq!(error.rule.len(), QUERY_BYTES_MAX);
    let error = parse(
        &format!("a{}", "ü".repeat(QUERY_BYTES_MAX)),
        Options::default(),
    )
    .unwrap_err();
    assert_eq!(error.rule.len(), QUERY_BYTES_MAX - 1);
    assert_eq!(error.span, QUERY_BYTES_MAX - 1..QUERY_BYTES_MAX - 1);
}

#[test]
fn all_parts_of_a_rule_have_to_be_true() {
    let rule = |hosts: &[&str], apps: &[&str], query: Option<&str>| {
        let list = |values: &[&str]| values.iter().copied().map(String::from).collect();
        let rule = ExclusionRule {
            title: "noise".to_owned(),
            hosts: list(hosts),
            apps: list(apps),
            query: query.map(str::to_owned),
            match_mode: MatchMode::Token,
        };
        match rule.condition() {
            Ok(tree) => describe(&tree),
            Err(error) => error.to_string(),
        }
    };
    let hosts = "(host:Whole'iam-am' | host:Whole'BSS')";
    let query = "f:TokenPrefix~'v'";
    let empty = "the rule has neither `hosts` nor `apps` nor a `query`; it would drop every event";
    let many = vec!["x"; LIST_ITEMS_MAX + 1];
    for (actual, expected) in [
        (rule(&["iam-am", "BSS"], &[], None), hosts.to_owned()),
        (rule(&[], &["memo"], Some("")), "app:Whole'memo'".to_owned()),
        (rule(&[], &[], Some("f:v")), query.to_owned()),
        (
            rule(&["iam-am", "BSS"], &["memo"], Some("f:v")),
            format!("({hosts} & app:Whole'memo' & {query})"),
        ),
        (rule(&[], &[], None), empty.to_owned()),
        (rule(&[], &[], Some(" ")), empty.to_owned()),
        (
            rule(&["a", ""], &[], None),
            "`hosts` has an empty item".to_owned(),
        ),
        (
            rule(&[], &[""], Some("f:v")),
            "`apps` has an empty item".to_owned(),
        ),
        (
            rule(&many, &[], None),
            "`hosts` has more than 1000 items".to_owned(),
        ),
        (
            rule(&["a"], &[], Some("(")),
            "line 1, column 1: this `(` is not closed\n  (\n  ^".to_owned(),
        ),
    ] {
        assert_eq!(actual, expected);
    }
}

/// Pieces that mean something, so that random texts get past the first character.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "AND", "OR", "NOT", " ", "  ", "\n", "(", ")", "[", "]", ",", ":", "=", "==", ">=",
            "<", "-", "*", "\"", "\\", "!", "&&", "_line", "host", "meta.", "a.b", "404", "1e9",
            "word", "é", "'", "f:(", "f:[", "\u{a0}",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_text_is_taken_or_refused_with_its_place(text in any::<String>()) {
        fuzz_parse(&text);
    }

    #[test]
    fn any_mix_of_pieces_is_taken_or_refused_with_its_place(text in pieces()) {
        fuzz_parse(&text);
    }

    #[test]
    fn every_text_can_be_quoted(text in "\\PC{2,20}") {
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let expected = Expr::Anywhere { term: term(&text, Place::TokenPrefix, true), labels: true };
        prop_assert_eq!(parse(&quoted, Options::default()), Ok(expected));
    }
}
