//! What is refused, and with which words.

use super::super::super::error::RuleError;
use super::super::parse;

/// `cases` are pairs of lines: a rule, and the caret under its mistake with message and suggestion, as [`caret`] writes
/// it.
#[track_caller]
fn check(cases: &str) {
    let lines: Vec<&str> = cases.lines().skip(1).collect();
    for pair in lines.chunks_exact(2) {
        match parse(pair[0]) {
            Ok(expr) => panic!("{} is accepted: {expr:?}", pair[0]),
            Err(error) => assert_eq!(caret(pair[0], &error), pair[1], "of {}", pair[0]),
        }
    }
    assert!(
        lines.len() >= 2 && lines.len().is_multiple_of(2),
        "pairs of lines"
    );
}

fn caret(rule: &str, error: &RuleError) -> String {
    let indent = rule[..error.span.start].chars().count();
    let width = rule[error.span.clone()].chars().count().max(1);
    let caret = format!("{:indent$}{} {}", "", "^".repeat(width), error.message);
    match &error.suggestion {
        Some(suggestion) => format!("{caret} -- {suggestion}"),
        None => caret,
    }
}

/// The whole text of an error.
#[track_caller]
fn check_text(text: &str, expected: &str) {
    assert_eq!(parse(text).expect_err("a mistake").to_string(), expected);
}

#[test]
fn errors_show_place_caret_and_suggestion() {
    check_text(
        "$d.severity = 'critical'",
        "line 1, column 13: expected an operator, found `=`
  $d.severity = 'critical'
              ^
  did you mean `==`?",
    );
    check_text(
        "<v1> $d.severity == \"critical\"",
        "line 1, column 21: strings are written in single quotes
  <v1> $d.severity == \"critical\"
                      ^^^^^^^^^^
  did you mean `'critical'`?",
    );
    check_text(
        "$d.é == 'ü'\n  AND $d.b.startwith('x')",
        "line 2, column 3: expected an operator, found `AND`
    AND $d.b.startwith('x')
    ^^^
  did you mean `&&`?",
    );
    check_text(
        "$d.a == 'x' &&\n  $d.b.startwith('x')",
        "line 2, column 8: unknown function `startwith`
    $d.b.startwith('x')
         ^^^^^^^^^
  did you mean `startsWith`?",
    );
    check_text(
        "($d.a == 1 ||\n$d.b",
        "line 2, column 5: expected `)` or an operator, found the end of the rule
  $d.b
      ^
  `(` of line 1, column 1 is not closed",
    );
    check_text(
        "$d.a.matches(/[/)",
        "line 1, column 14: the regular expression does not compile: unclosed character class
  $d.a.matches(/[/)
               ^^^",
    );
}

#[test]
fn the_earliest_mistake_is_told() {
    check(
        r#"
a = "x"
  ^ expected an operator, found `=` -- did you mean `==`?
"#,
    );
    check_text(
        "",
        "line 1, column 1: expected a condition, found the end of the rule\n  \n  ^",
    );
}

#[test]
fn messages_are_one_line_of_bounded_length() {
    let rule = format!("{}\n('x')", "é".repeat(1_000));
    let error = parse(&rule).expect_err("an unknown function");
    assert!(error.message.starts_with("unknown function `éé") && error.message.ends_with('…'));
    assert_eq!(error.message.chars().count(), 201);
    let error = parse("a ==\n'x' 'y\nz'").expect_err("two strings");
    assert_eq!(error.message, "expected an operator, found `'y z'`");
}

#[test]
fn symbols_of_other_languages_are_named() {
    check(
        r#"
a = 'x'
  ^ expected an operator, found `=` -- did you mean `==`?
a === 'x'
  ^^^ expected an operator, found `===` -- did you mean `==`?
a <> 'x'
  ^^ expected an operator, found `<>` -- did you mean `!=`?
a =~ 'x'
  ^^ expected an operator, found `=~` -- did you mean `.matches(/…/)`?
a & b
  ^ expected an operator, found `&` -- did you mean `&&`?
a | b
  ^ expected an operator, found `|` -- did you mean `||`?
a == 'x';
        ^ expected an operator, found `;` -- a rule is one condition, without `;`
a ? b : c
  ^ expected an operator, found `?` -- did you mean `if(condition, a, b)`?
"#,
    );
}

#[test]
fn other_quotes_are_named() {
    check(
        r#"
a == "critical"
     ^^^^^^^^^^ strings are written in single quotes -- did you mean `'critical'`?
a == "it's"
     ^ strings are written in single quotes -- did you mean a single quote?
a == "x
     ^ strings are written in single quotes -- did you mean a single quote?
a == “x”
     ^^^ strings are written in single quotes -- did you mean `'x'`?
a == `x {$d.k}`
     ^ strings with values in them are not supported in rules -- did you mean single quotes, or `concat(a, b)`?
"#,
    );
}

#[test]
fn words_of_other_languages_are_named() {
    check(
        r#"
a AND b
  ^^^ expected an operator, found `AND` -- did you mean `&&`?
a or b
  ^^ expected an operator, found `or` -- did you mean `||`?
NOT a
^^^ expected a condition, found `NOT` -- did you mean `!`?
not (a == 1)
^^^ expected a condition, found `not` -- did you mean `!`?
a IN ('x', 'y')
  ^^ expected an operator, found `IN` -- did you mean `in(field, 'a', 'b')`?
a LIKE 'x%'
  ^^^^ expected an operator, found `LIKE` -- did you mean `.contains('…')`, or `~ '…'` without regard to case?
a contains 'x'
  ^^^^^^^^ expected an operator, found `contains` -- did you mean `.contains('…')`?
a IS NULL
  ^^ expected an operator, found `IS` -- did you mean `== null` or `!= null`?
a BETWEEN 1 AND 2
  ^^^^^^^ expected an operator, found `BETWEEN` -- did you mean `>= … && … <=`?
a NOT IN ('x')
  ^^^ expected an operator, found `NOT` -- did you mean `!`?
"#,
    );
}

#[test]
fn commands_are_no_rules() {
    check(
        r#"
filter $d.a == 'x'
^^^^^^ a rule is one condition, not a command -- leave out `filter`
f a == 1
^ a rule is one condition, not a command -- leave out `f`
where a
^^^^^ a rule is one condition, not a command -- leave out `where`
block $d.a >= 200
^^^^^ a rule is one condition, not a command -- write `!( … )` around what is to be blocked
source logs | filter a == 1
^^^^^^ a rule is one condition, not a command -- `source` has no place in it
a == 1 | limit 5
       ^ expected an operator, found `|` -- a rule is one condition, without commands behind `|`
redact $d.mykey /[0-9]+/ to 'SOME_INTEGER'
^^^^^^ a rule is one condition, not a command -- `redact` has no place in it
remove $d.a.b, $d.a.c
^^^^^^ a rule is one condition, not a command -- `remove` has no place in it
replace $d.message with null
^^^^^^^ a rule is one condition, not a command -- `replace` has no place in it
create $d.radius from 100+23
^^^^^^ a rule is one condition, not a command -- `create` has no place in it
choose $d.a
^^^^^^ a rule is one condition, not a command -- `choose` has no place in it
lucene 'a:b'
^^^^^^ a rule is one condition, not a command -- `lucene` has no place in it
"#,
    );
}

#[test]
fn unknown_functions_are_named_with_the_nearest() {
    check(
        r#"
startswith(a, 'x')
^^^^^^^^^^ unknown function `startswith` -- did you mean `startsWith`?
a.beginsWith('x')
  ^^^^^^^^^^ unknown function `beginsWith`
a.toLower() == 'x'
  ^^^^^^^ unknown function `toLower` -- did you mean `toLowerCase`?
foo(a)
^^^ unknown function `foo`
"#,
    );
}

#[test]
fn what_is_not_closed_is_named() {
    check(
        r#"
a == 'x
     ^ the string is not closed -- a string ends with `'`; inside it, that is written `\'`
a.matches(/x
          ^ the regular expression is not closed -- it ends with `/` on the same line; inside it, that is written `\/`
a.matches(/x/i)
             ^ a regular expression ends with its slash -- flags stand in it: `/(?i)x/`
a.matches(/(/)
          ^^^ the regular expression does not compile: unclosed group
a.matches(/[z-a]/)
          ^^^^^^^ the regular expression does not compile: invalid character class range, the start must be <= the end
a.matches(/\w{1000}{1000}/)
          ^^^^^^^^^^^^^^^^ compiled, the regular expression is larger than 1048576 bytes
a.matches(b)
          ^ expected a regular expression -- it is written between slashes: `/^prod-/`
a.matches('')
          ^^ the regular expression is empty
a == //
     ^^ the regular expression is empty -- a comment begins with `#`
// comment
^^ the regular expression is empty -- a comment begins with `#`
(a == 1
       ^ expected `)` or an operator, found the end of the rule -- `(` of line 1, column 1 is not closed
a.in('x', 'y'
             ^ expected `,` or `)`, found the end of the rule -- `(` of line 1, column 5 is not closed
in(a
    ^ expected `,` or `)`, found the end of the rule -- `(` of line 1, column 3 is not closed
$d['a
   ^ the string is not closed -- a string ends with `'`; inside it, that is written `\'`
$d['a'
      ^ expected `]`, found the end of the rule -- `[` of line 1, column 3 is not closed
case { a -> 1
             ^ expected `,` or an operator, found the end of the rule -- `{` of line 1, column 6 is not closed
"#,
    );
}

#[test]
fn what_does_not_follow_is_refused() {
    check(
        r#"
a == 1)
      ^ expected an operator, found `)`
"#,
    );
}

#[test]
fn numbers_and_intervals_have_one_form() {
    check(
        r#"
a == 1.2.3
     ^^^^^ `1.2.3` is no number -- a version or an address is a string: `'1.2.3'`
a == 10.0.0.1
     ^^^^^^^^ `10.0.0.1` is no number -- a version or an address is a string: `'10.0.0.1'`
a == 007
     ^^^ `007` is no number -- numbers have no leading zeros
a == .5
     ^ expected a value, found `.`
a < 5x
    ^^ `5x` is neither a number nor an interval -- an interval is written like `1h30m5s`, with the units d h m s ms us ns from the longest down
a < 30m1h
    ^^^^^ `30m1h` is neither a number nor an interval -- an interval is written like `1h30m5s`, with the units d h m s ms us ns from the longest down
a < 1M
    ^^ `1M` is neither a number nor an interval -- an interval is written like `1h30m5s`, with the units d h m s ms us ns from the longest down
a < 99999999999999999999d
    ^^^^^^^^^^^^^^^^^^^^^ `99999999999999999999d` is longer than 10,000 years -- an interval is written like `1h30m5s`, with the units d h m s ms us ns from the longest down
"#,
    );
}

#[test]
fn a_rule_that_ends_early_says_what_is_missing() {
    check(
        r#"
a <
   ^ expected a value, found the end of the rule
a &&
    ^ expected a value, found the end of the rule
<v1>
    ^ expected a condition, found the end of the rule
<v2> a
^^^^ the only version known is `<v1>` -- write `<v1>`
<v1
^ expected a condition, found `<`
"#,
    );
}

#[test]
fn unknown_fields_are_named_with_the_known() {
    check(
        r#"
$x.a
^^ there is no `$x` -- known are `$d` for the event, `$l` for labels, `$m` for metadata
$l
^^ `$l` needs the name of a label -- known are applicationname, subsystemname, computername, ipaddress, category, classname, methodname, threadid
$l.appname
^^^^^^^^^^ unknown label `appname` -- known are applicationname, subsystemname, computername, ipaddress, category, classname, methodname, threadid
$l.applicatonname == 'x'
^^^^^^^^^^^^^^^^^ unknown label `applicatonname` -- did you mean `$l.applicationname`? known are applicationname, subsystemname, computername, ipaddress, category, classname, methodname, threadid
$l.application.name
^^^^^^^^^^^^^^^^^^^ a label has no keys of its own -- known are applicationname, subsystemname, computername, ipaddress, category, classname, methodname, threadid
$m.logid == 'x'
^^^^^^^^ `$m.logid` is not supported in rules -- it is given by the receiving system, so no event has one here; compare a field of the event
$m.severty == ERROR
^^^^^^^^^^ unknown metadatum `severty` -- did you mean `$m.severity`? known are timestamp, severity, priorityclass
$m
^^ `$m` needs the name of a metadatum -- known are timestamp, severity, priorityclass
"#,
    );
}

#[test]
fn two_sides_without_a_type_ask_for_a_cast() {
    check(
        r#"
a == b
^^^^^^ the type of both sides is unknown -- did you mean the text `'b'`? Else cast one side, for example `a:string`
a == critical
^^^^^^^^^^^^^ the type of both sides is unknown -- did you mean the text `'critical'`? Else cast one side, for example `a:string`
a == TRUE
^^^^^^^^^ the type of both sides is unknown -- did you mean `true`?
a.in(b, c)
^ the type of the values is unknown -- cast the first, for example `field:string`
in($d.a, 'x', 5)
              ^ expected a string, found a number -- did you mean `'5'`?
"#,
    );
}

#[test]
fn lists_stand_where_they_are_understood() {
    check(
        r#"
a.in()
  ^^ `in` takes at least 2 arguments, found 1 -- in `x.in( … )`, the `x` is the first argument
a in ['x']
  ^^ expected an operator, found `in` -- did you mean `in(field, 'a', 'b')`?
inArray(a, 'x')
           ^^^ expected a list -- write `inArray(field, ['a', 'b'])`
inArray(a, [])
            ^ expected a value, found `]`
a == ['x']
     ^^^^^ a list stands where a value is expected -- did you mean `inArray(field, ['a', 'b'])`?
a == /x/
     ^^^ a regular expression stands where a value is expected -- did you mean `.matches(/…/)`?
/x/
^^^ a regular expression stands where a value is expected -- did you mean `.matches(/…/)`?
"#,
    );
}

#[test]
fn values_are_no_conditions() {
    check(
        r#"
'123':number
^^^^^^^^^^^^ expected a condition, found a number -- compare it, for example with `==`
'x'
^^^ expected a condition, found a string -- compare it, for example with `==`
5 + 5
^^^^^ expected a condition, found a number -- compare it, for example with `==`
now()
^^^^^ expected a condition, found a timestamp -- compare it, for example with `==`
a + 1
^^^^^ expected a condition, found a number -- compare it, for example with `==`
"#,
    );
}

#[test]
fn conditions_are_no_values() {
    check(
        r#"
$d.a == ($d.b == 1)
         ^^^^^^^^^ a condition stands where a value is expected -- combine conditions with `&&`, `||` and `!`; leave out `== true`
a.contains('x') == true
^^^^^^^^^^^^^^^ a condition stands where a value is expected -- combine conditions with `&&`, `||` and `!`; leave out `== true`
!a == 'x'
^^ a condition stands where a value is expected -- `!` binds tighter than comparisons: write `!( … )` around all of it
!a ~ 'x'
^^ a condition stands where a value is expected -- `!` binds tighter than comparisons: write `!( … )` around all of it
1 < a < 5
^^^^^ a condition stands where a value is expected -- combine conditions with `&&`, `||` and `!`; leave out `== true`
if(a, b == 1, c == 2)
      ^^^^^^ a condition stands where a value is expected -- combine conditions with `&&`, `||` and `!`; leave out `== true`
(a == 1):string
 ^^^^^^ a condition stands where a value is expected -- combine conditions with `&&`, `||` and `!`; leave out `== true`
"#,
    );
}

#[test]
fn only_key_paths_have_keys() {
    check(
        r#"
a.b('x').c == 1
         ^ expected a function, found the key `c` -- only a key path has keys; a function is followed by `(…)`
'x'['y'] == 1
^^^ only a key path has keys
a[0] == 1
  ^ expected a key in single quotes, found `0` -- arrays are not looked into; a key is written `['a/b']`
a.0 == 1
  ^ expected a key or a function, found `0` -- arrays are not looked into; a key that is a number is written `['0']`
'x'.y
    ^ expected a function, found the key `y` -- only a key path has keys; a function is followed by `(…)`
"#,
    );
}

#[test]
fn casts_without_a_value_are_refused() {
    check(
        r#"
a:date
  ^^^^ there is no cast to `date` -- there are :string, :number, :bool and :timestamp
a:interval == 1h
  ^^^^^^^^ there is no cast to `interval` -- there are :string, :number, :bool and :timestamp
a:
  ^ expected a type, found the end of the rule
1h:number == 1
   ^^^^^^ an interval has no value as a number
$m.timestamp:bool
             ^^^^ a timestamp has no value as a boolean
$m.severity:number == 3
            ^^^^^^ a severity has no value as a number
"#,
    );
}

#[test]
fn the_whole_event_is_no_value() {
    check(
        r#"
$d == 'x'
^^ `$d` is the whole event -- name a key, or search all of it with `$d ~~ 'text'`
$d.contains('x')
^^ `$d` is the whole event -- name a key, or search all of it with `$d ~~ 'text'`
$d:string == 'x'
^^ `$d` is the whole event -- name a key, or search all of it with `$d ~~ 'text'`
"#,
    );
}

#[test]
fn types_that_do_not_meet_are_refused() {
    check(
        r#"
$m.severity == error
               ^^^^^ `error` is a field -- did you mean `ERROR`?
$m.severity == 'normal'
               ^^^^^^^^ `normal` is no severity -- severities are VERBOSE, DEBUG, INFO, WARNING, ERROR, CRITICAL
$m.severity == 3
               ^ expected a severity, found a number
$l.applicationname == 5
                      ^ expected a string, found a number -- did you mean `'5'`?
a:number == '5'
            ^^^ expected a number, found a string -- did you mean `5` without quotes? Else cast one side
$m.timestamp < '2024-01-01'
               ^^^^^^^^^^^^ expected a timestamp, found a string -- did you mean `@'2024-01-01'`?
$m.timestamp > 5
               ^ expected a timestamp, found a number -- cast it: `5:timestamp`
a == 1h
^ a field is never an interval -- compare numbers, or the difference of two timestamps
"#,
    );
}

#[test]
fn arithmetic_is_between_numbers_or_times() {
    check(
        r#"
a + now() > now()
^^^^^^^^^ this is not calculated with times -- there are timestamp ± interval, timestamp - timestamp, and interval ± interval
now() * 2 == 1
^^^^^^^^^ this is not calculated with times -- there are timestamp ± interval, timestamp - timestamp, and interval ± interval
'a' + 'b' == 'ab'
^^^^^^^^^ `+` adds numbers and times -- join strings with `concat(a, b)`
a.concat('b') + 'c' == 'x'
^^^^^^^^^^^^^^^^^^^ `+` adds numbers and times -- join strings with `concat(a, b)`
-'x' == 1
 ^^^ expected a number, found a string -- cast it: `'x':number`
"#,
    );
}

#[test]
fn arguments_are_counted_and_typed() {
    check(
        r#"
length(5) == 1
       ^ `length` takes a string, found a number -- did you mean `'5'`?
substr(a) == 'x'
^^^^^^ `substr` takes 2 or 3 arguments, found 1 -- in `x.substr( … )`, the `x` is the first argument
now(1) == now()
^^^ `now` takes no arguments, found 1 -- in `x.now( … )`, the `x` is the first argument
max() == 1
^^^ `max` takes at least 1 argument, found 0 -- in `x.max( … )`, the `x` is the first argument
"#,
    );
}

#[test]
fn functions_that_rules_do_not_have_say_what_to_use() {
    check(
        r#"
random() > 0.5
^^^^^^ function `random` is not supported in rules -- a rule must give the same answer for the same event
a.randomInt(5) == 1
  ^^^^^^^^^ function `randomInt` is not supported in rules -- a rule must give the same answer for the same event
recordLocation() == 'x'
^^^^^^^^^^^^^^ function `recordLocation` is not supported in rules -- an event has no location before it is stored
a.arrayContains('x')
  ^^^^^^^^^^^^^ function `arrayContains` is not supported in rules -- arrays are not looked into
a.parseTimestamp('x') == now()
  ^^^^^^^^^^^^^^ function `parseTimestamp` is not supported in rules -- cast the field: `field:timestamp`
a.roundTime(1h) == now()
  ^^^^^^^^^ function `roundTime` is not supported in rules -- compare timestamps: `$m.timestamp >= @'2024-01-01'`, `now() - $m.timestamp < 1h`
addTime(a, 1h) == now()
^^^^^^^ function `addTime` is not supported in rules -- write `timestamp + 1h`
"#,
    );
}

#[test]
fn searches_take_a_text() {
    check(
        r#"
a ~ ''
    ^^ the text to search for is empty
a ~ b
    ^ expected the text to search for, in single quotes
a ~~ 'x'
^ `~~` searches the whole event -- write `$d ~~ 'text'`, or `field ~ 'text'` to search one field
$d ~~ b
      ^ expected the text to search for, in single quotes
"#,
    );
}

#[test]
fn a_dash_in_a_key_is_not_taken_for_a_subtraction() {
    check(
        r#"
$d.user-agent == 'x'
^^^^^^^^^^^^^ a key with a `-` or a subtraction? -- a key is written `…['user-agent']`, a subtraction with spaces around its `-`
a-b > 1
^^^ a key with a `-` or a subtraction? -- a key is written `…['a-b']`, a subtraction with spaces around its `-`
"#,
    );
}

#[test]
fn networks_and_timestamps_are_checked_at_parse() {
    check(
        r#"
a.ipInSubnet('10.0.0.0/33')
             ^^^^^^^^^^^^^ expected a network in single quotes -- it is written `'10.0.0.0/8'`, `'2001:db8::/32'` or as one address
a.ipInSubnet('10.0.0.0/+8')
             ^^^^^^^^^^^^^ expected a network in single quotes -- it is written `'10.0.0.0/8'`, `'2001:db8::/32'` or as one address
a.ipInSubnet('x')
             ^^^ expected a network in single quotes -- it is written `'10.0.0.0/8'`, `'2001:db8::/32'` or as one address
a.ipInSubnet(b)
             ^ expected a network in single quotes -- it is written `'10.0.0.0/8'`, `'2001:db8::/32'` or as one address
@'x' == a
 ^^^ `'x'` is no timestamp -- a timestamp is written `@'2024-01-01T00:00:00Z'`, `@'2024-01-01'` or `@'now'`
@x
 ^ expected a timestamp in single quotes, found `x` -- a timestamp is written `@'2024-01-01T00:00:00Z'`
@(now)
  ^^^ expected a timestamp in single quotes, found `now` -- a timestamp is written `@'2024-01-01T00:00:00Z'`
a == @'now
      ^ the string is not closed -- a string ends with `'`; inside it, that is written `\'`
"#,
    );
}

#[test]
fn cases_have_conditions_and_an_otherwise() {
    check(
        r#"
case_contains { a -> 'x', _ -> 'y' } == 'x'
^^^^^^^^^^^^^ `case_contains { … }` is not supported in rules -- write `case { condition -> value, …, _ -> value }`
case { _ -> 1 } == 1
^^^^ a case without a condition
case { a -> 1 } == 1
              ^ expected `_ -> value`, the value when no condition is true, found `}`
case { a -> 1, b -> 'x', _ -> 2 } == 1
                    ^^^ expected a number, found a string -- cast it: `'x':number`
case { a == 1, _ -> 2 } == 1
             ^ expected `->` or an operator, found `,`
"#,
    );
}

#[test]
fn what_cannot_be_read_is_refused() {
    check(
        r#"
a == 'x\d'
       ^^ unknown escape `\d` -- write `\\` for a backslash; a regular expression between slashes needs none
a ^ b
  ^ `^` is not understood
a == 1 b == 2
       ^ expected an operator, found `b`
a. == 1
   ^^ expected a key or a function, found `==`
a.'b' == 1
  ^^^ expected a key or a function, found `'b'`
a ==
    ^ expected a value, found the end of the rule
&& a
^^ expected a condition, found `&&`
)
^ expected a condition, found `)`
a == null null
          ^^^^ expected an operator, found `null`
lit'x'
   ^^^ expected an operator, found `'x'`
a !~~ 'x'
  ^^^ expected an operator, found `!~~` -- did you mean `!($d ~~ 'text')`?
a.contains('x', 'y')
  ^^^^^^^^ `contains` takes 2 arguments, found 3 -- in `x.contains( … )`, the `x` is the first argument
firstNonNull(a, 'x') > 5
                       ^ expected a string, found a number -- did you mean `'5'`?
if(a, 1, 'x') == 1
         ^^^ expected a number, found a string -- cast it: `'x':number`
if('x', 1, 2) == 1
   ^^^ expected a condition, found a string -- compare it, for example with `==`
true == 1
        ^ expected a boolean, found a number -- cast it: `1:bool`
"#,
    );
}
