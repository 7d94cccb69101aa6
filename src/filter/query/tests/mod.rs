//! What queries mean, by trees written down by hand; what is refused, by its exact words; and any text at all.

mod refusals;
mod vectors;

use super::*;
use crate::filter::tree::{Compare, Field, Label, Place, Source, Term};

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
    for (query, expected) in vectors::DOCUMENTATION {
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
