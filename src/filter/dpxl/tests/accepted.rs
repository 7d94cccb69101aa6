//! What is accepted, and as which tree.

use super::super::super::tree::{Expr, Source};
use super::super::parse;
use super::show;

#[track_caller]
fn check(text: &str, expected: &str) {
    match parse(text) {
        Ok(expr) => assert_eq!(show(&expr), expected, "from {text}"),
        Err(error) => panic!("{text} is refused: {error}"),
    }
}

#[test]
fn rules_of_the_dpxl_pages_are_accepted() {
    check(
        "<v1> $d.my_text == 'example'",
        "(== $d.my_text#String 'example')",
    );
    check(
        "<v1> $m.timestamp < @'2024-01-01T00:00:00'",
        "(< time#Timestamp @2024-01-01T00:00:00Z)",
    );
    check(
        "<v1> $l.applicationname.startsWith('dev-')",
        "(StartsWith Application#String 'dev-')",
    );
    check(
        "<v1> region_id:string.in('us-east-1','us-west-2')",
        "(in (cast String $d.region_id) 'us-east-1' 'us-west-2')",
    );
    check(
        "country == 'us' && region == 'us-south'",
        "(all (== $d.country#String 'us') (== $d.region#String 'us-south'))",
    );
    check(
        "age > 40 || country == 'us'",
        "(any (> $d.age#Number 40) (== $d.country#String 'us'))",
    );
    check(
        "!region.contains('us-')",
        "(not (Contains $d.region#String 'us-'))",
    );
    check(
        "region.startsWith('us-') && (country == 'us' && (age > 40 || age < 10)) || (country == 'il' && age > 25)",
        "(any (all (StartsWith $d.region#String 'us-') (all (== $d.country#String 'us') (any (> $d.age#Number 40) \
         (< $d.age#Number 10)))) (all (== $d.country#String 'il') (> $d.age#Number 25)))",
    );
    check(
        "<v1> !$d.country:string.in('us','il','gr')",
        "(not (in (cast String $d.country) 'us' 'il' 'gr'))",
    );
    check(
        "<v1> kubernetes.pod_name.matches(/^kafka-[0-9]+/)",
        "(matches $d.kubernetes.pod_name#String /^kafka-[0-9]+/)",
    );
    check(
        "<v1> $m.severity != DEBUG",
        "(!= Level|$d.level|$d.severity#Severity Debug)",
    );
    check(
        "<v1> query_duration_seconds > 100",
        "(> $d.query_duration_seconds#Number 100)",
    );
    check("<v1> false", "false");
    check("lastName <= 'Smith'", "(<= $d.lastName#String 'Smith')");
    check(
        "my_key:number > my_other_key",
        "(> (cast Number $d.my_key) $d.my_other_key#Number)",
    );
    check("'123':number == 123", "(== (cast Number '123') 123)");
    check(
        "<v1>contains(kubernetes.labels.CX_AZ, 'eu-west-1')",
        "(Contains $d.kubernetes.labels.CX_AZ#String 'eu-west-1')",
    );
    check(
        "<v1>$m.severity == ERROR",
        "(== Level|$d.level|$d.severity#Severity Error)",
    );
}

#[test]
fn rules_of_the_streaming_pages_are_accepted() {
    const SERVICE: &str = "$d.serviceName|crn(logSourceCRN)#String";
    check(
        "$d.msg.contains('Error1234')",
        "(Contains $d.msg#String 'Error1234')",
    );
    check(
        "<v1> $l.applicationname =='ibm-audit-event'",
        "(== Application#String 'ibm-audit-event')",
    );
    check(
        "<v1> $l.applicationname =='ibm-platform-logs'",
        "(== Application#String 'ibm-platform-logs')",
    );
    for (label, source) in [
        ("applicationname", "Application"),
        ("subsystemname", "Subsystem"),
    ] {
        check(
            &format!("<v1> $l.{label} =='app1' || $l.{label} =='app2' || $l.{label} =='app3'"),
            &format!(
                "(any (== {source}#String 'app1') (== {source}#String 'app2') (== {source}#String 'app3'))"
            ),
        );
    }
    check(
        "<v1> $d.F =='v1' && $d.G =='v2'",
        "(all (== $d.F#String 'v1') (== $d.G#String 'v2'))",
    );
    check(
        "<v1> ( $d.F =='v1' && $d.G =='v2' ) || ( $d.F =='v1' && $d.G =='v3' )",
        "(any (all (== $d.F#String 'v1') (== $d.G#String 'v2')) (all (== $d.F#String 'v1') (== $d.G#String 'v3')))",
    );
    check(
        "<v1> ( ( $l.applicationname =='ibm-audit-event' && ( $d.serviceName =='iam-am' ||  \
         $d.serviceName =='cloud-object-storage' ) && $d.severity =='critical') )\n|| ( $l.applicationname \
         =='ibm-audit-event' && $d.serviceName =='iam-identity' && $d.severity =='normal')",
        &format!(
            "(any (all (== Application#String 'ibm-audit-event') (any (== {SERVICE} 'iam-am') (== {SERVICE} \
             'cloud-object-storage')) (== $d.severity#String 'critical')) (all (== Application#String \
             'ibm-audit-event') (== {SERVICE} 'iam-identity') (== $d.severity#String 'normal')))"
        ),
    );
    check(
        "<v1> $d.requestData.requestId",
        "(truthy $d.requestData.requestId)",
    );
}

#[test]
fn conditions_of_the_dataprime_pages_are_accepted_without_their_command() {
    check(
        "$l.applicationname == 'myapp' && $d.msg.contains('failure')",
        "(all (== Application#String 'myapp') (Contains $d.msg#String 'failure'))",
    );
    check(
        "in($l.applicationname,'ibm-audit-event','ibm-platform-logs')",
        "(in Application#String 'ibm-audit-event' 'ibm-platform-logs')",
    );
    check(
        "ipInSubnet(ip_address,'155.64.5.20/24')",
        "(subnet $d.ip_address#String 155.64.5.20/24)",
    );
    check(
        "!($d.status_code >= 200 && $d.status_code <= 299)",
        "(not (all (>= $d.status_code#Number 200) (<= $d.status_code#Number 299)))",
    );
    check(
        "inArray(client_ip, ['192.168.1.105','192.168.1.112'])",
        "(in $d.client_ip#String '192.168.1.105' '192.168.1.112')",
    );
}

#[test]
fn operators_bind_as_in_javascript() {
    check(
        "a && b || c && d",
        "(any (all (truthy $d.a) (truthy $d.b)) (all (truthy $d.c) (truthy $d.d)))",
    );
    check(
        "a || b && c",
        "(any (truthy $d.a) (all (truthy $d.b) (truthy $d.c)))",
    );
    check(
        "a && b && c",
        "(all (truthy $d.a) (truthy $d.b) (truthy $d.c))",
    );
    check(
        "a && (b && c)",
        "(all (truthy $d.a) (all (truthy $d.b) (truthy $d.c)))",
    );
    check(
        "a && (b || c)",
        "(all (truthy $d.a) (any (truthy $d.b) (truthy $d.c)))",
    );
    check("1 + 2 * 3 == 7", "(== (+ 1 (* 2 3)) 7)");
    check("(1 + 2) * 3 == 9", "(== (* (+ 1 2) 3) 9)");
    check("10 - 2 - 3 == 5", "(== (- (- 10 2) 3) 5)");
    check("8 / 4 % 3 < 1", "(< (% (/ 8 4) 3) 1)");
    check(
        "a + 1 > b * 2 && c",
        "(all (> (+ $d.a#Number 1) (* $d.b#Number 2)) (truthy $d.c))",
    );
    check("!a && b", "(all (not (truthy $d.a)) (truthy $d.b))");
    check("!!a", "(not (not (truthy $d.a)))");
    check("!a.contains('x')", "(not (Contains $d.a#String 'x'))");
    check("-a.abs() < 0", "(< (- 0 (Abs $d.a#Number)) 0)");
    check(
        "a ~ 'x' && b !~ 'y'",
        "(all (~ $d.a 'x') (not (~ $d.b 'y')))",
    );
    check(
        "a:number == -b",
        "(== (cast Number $d.a) (- 0 $d.b#Number))",
    );
    check("a / 2 > b / 3", "(> (/ $d.a#Number 2) (/ $d.b#Number 3))");
}

#[test]
fn blanks_comments_and_line_breaks_stand_between_any_tokens() {
    check("  <v1>a", "(truthy $d.a)");
    check("# first\n<v1> # version\n a # key\n", "(truthy $d.a)");
    check("$d\n.a\r\n.b\n==\n'#'", "(== $d.a.b#String '#')");
    check("a\n # no\n || b", "(any (truthy $d.a) (truthy $d.b))");
}

#[test]
fn literals_keep_what_was_written() {
    check("a == -12.32", "(== $d.a#Number -12.32)");
    check(
        "a == 12345678901234567890.5e-7",
        "(== $d.a#Number 12345678901234567890.5e-7)",
    );
    check("a == --5", "(== $d.a#Number 5)");
    check("a == 'it\\'s \\\\ \\n'", "(== $d.a#String 'it's \\ \n')");
    check("a == 'é\u{1F600}'", "(== $d.a#String 'é\u{1F600}')");
    check("a == ''", "(== $d.a#String '')");
    check("a.matches(/a\\/b\\d/)", "(matches $d.a#String /a/b\\d/)");
    check("a.matches('^x')", "(matches $d.a#String /^x/)");
    check(
        "a == @'2024-01-01'",
        "(== $d.a#Timestamp @2024-01-01T00:00:00Z)",
    );
    check(
        "a == @( '2024-01-01 10:00:00+0200' )",
        "(== $d.a#Timestamp @2024-01-01T08:00:00Z)",
    );
    check("@'now' > $m.timestamp", "(> now time#Timestamp)");
    check(
        "now() - $m.timestamp < 1h30m5s",
        "(< (- now time#Timestamp) 5405000000000ns)",
    );
    check(
        "now() - a < 1d2h3m4s5ms6us7ns",
        "(< (- now $d.a#Timestamp) 93784005006007ns)",
    );
    check("-1h < now() - now()", "(< -3600000000000ns (- now now))");
    check("pi() > e()", "(> 3.141592653589793 2.718281828459045)");
    check("true", "true");
    check("null", "null");
    check("a && true", "(all (truthy $d.a) true)");
}

#[test]
fn namespaces_lead_to_labels_and_metadata() {
    for (name, expected) in [
        ("$l.applicationname", "Application"),
        ("$l.applicationName", "Application"),
        ("$labels.subsystemname", "Subsystem"),
        ("$l.computername", "Host"),
        ("$l.ipaddress", "Peer"),
        ("$l.category", "meta.category"),
        ("$l.className", "meta.classname"),
        ("$l.methodname", "meta.methodname"),
        ("$l.threadid", "meta.threadid"),
        ("$m.priorityclass", "meta.priorityclass"),
    ] {
        check(
            &format!("{name} == 'x'"),
            &format!("(== {expected}#String 'x')"),
        );
        check(&format!("{name} != null"), &format!("(!= {expected} null)"));
        check(name, &format!("(truthy {expected})"));
    }
    check(
        "$metadata.Severity >= WARNING",
        "(>= Level|$d.level|$d.severity#Severity Warning)",
    );
    check("$data.a.b", "(truthy $d.a.b)");
    check("$d.k['a/b'].c['']", "(truthy $d.k.a/b.c.)");
    check("$d['a b']", "(truthy $d.a b)");
    check("a['b'].contains('x')", "(Contains $d.a.b#String 'x')");
    check(
        "$d.true && $d.null.in && $d.ERROR",
        "(all (truthy $d.true) (truthy $d.null.in) (truthy $d.ERROR))",
    );
    check(
        "serviceName.in('a')",
        "(in $d.serviceName|crn(logSourceCRN)#String 'a')",
    );
    check("a.serviceName == 'a'", "(== $d.a.serviceName#String 'a')");
}

#[test]
fn a_field_is_named_as_it_was_written() {
    let Ok(Expr::Truthy(field)) = parse("<v1> $d.k['a/b'] ") else {
        panic!("a bare key path");
    };
    let Expr::Field(field) = *field else {
        panic!("a field");
    };
    assert_eq!(&*field.name, "$d.k['a/b']");
    assert_eq!(
        field.sources[..],
        [Source::Data(["k".into(), "a/b".into()].into())]
    );
}

#[test]
fn types_come_from_the_other_side() {
    check("50 < age", "(< 50 $d.age#Number)");
    check("a == null", "(== $d.a null)");
    check(
        "null != $m.severity",
        "(!= null Level|$d.level|$d.severity)",
    );
    check("a == true", "(== $d.a#Bool true)");
    check("a == ERROR", "(== $d.a#Severity Error)");
    check("a:string == b", "(== (cast String $d.a) $d.b#String)");
    check("a == b:num", "(== $d.a#Number (cast Number $d.b))");
    check("a.length() > b", "(> (Length $d.a#String) $d.b#Number)");
    check(
        "a.in('x', null, b)",
        "(in $d.a#String 'x' null $d.b#String)",
    );
    check("in(5, a, b)", "(in 5 $d.a#Number $d.b#Number)");
    check("a:bool", "(truthy (cast Bool $d.a))");
    check(
        "a:timestamp > @'2024-01-01'",
        "(> (cast Timestamp $d.a) @2024-01-01T00:00:00Z)",
    );
    check(
        "$l.applicationname:string == 'a'",
        "(== Application#String 'a')",
    );
    check(
        "$l.threadid:number > 5",
        "(> (cast Number meta.threadid#String) 5)",
    );
    check(
        "$m.timestamp:string.startsWith('2024')",
        "(StartsWith (cast String time#Timestamp) '2024')",
    );
    check(
        "$l.applicationname == $l.subsystemname",
        "(== Application#String Subsystem#String)",
    );
    check("$d ~ 'x'", "(~ $d 'x')");
    check(
        "$m.severity ~ 'x'",
        "(~ (cast String Level|$d.level|$d.severity#Severity) 'x')",
    );
    check(
        "$d ~~ 'Out of'",
        "(anywhere Substring 'Out of' ignore_case=true labels=false)",
    );
}

#[test]
fn a_severity_meets_text() {
    const SEVERITY: &str = "Level|$d.level|$d.severity#Severity";
    check(
        "$m.severity.toUpperCase() == 'INFO'",
        &format!("(== (ToUpperCase (cast String {SEVERITY})) 'INFO')"),
    );
    check("$m.severity == 'INFO'", &format!("(== {SEVERITY} Info)"));
    check(
        "$m.severity.in('error', 'Critical', null)",
        &format!("(in {SEVERITY} Error Critical null)"),
    );
    check(
        "$m.severity:string == 'Info'",
        &format!("(== (cast String {SEVERITY}) 'Info')"),
    );
    check(
        "$m.severity == $l.category",
        &format!("(== (cast String {SEVERITY}) meta.category#String)"),
    );
}

#[test]
fn choices_give_their_type_on() {
    check(
        "firstNonNull(a, b) == 'x'",
        "(== (FirstNonNull $d.a#String $d.b#String) 'x')",
    );
    check(
        "firstNonNull(a, 5) > b",
        "(> (FirstNonNull $d.a#Number 5) $d.b#Number)",
    );
    check("firstNonNull(a, b)", "(truthy (FirstNonNull $d.a $d.b))");
    check(
        "firstNonNull(a, b):number > 1",
        "(> (cast Number (FirstNonNull $d.a $d.b)) 1)",
    );
    check(
        "if(a == 1, b, c) == 'x'",
        "(== (If (== $d.a#Number 1) $d.b#String $d.c#String) 'x')",
    );
    check(
        "if(a, firstNonNull(b, c)) > 1",
        "(> (If (truthy $d.a) (FirstNonNull $d.b#Number $d.c#Number)) 1)",
    );
    check(
        "if(a, true, false)",
        "(truthy (If (truthy $d.a) true false))",
    );
    check(
        "case { a -> 'x', b -> c, _ -> null } == 'x'",
        "(== (If (truthy $d.a) 'x' (If (truthy $d.b) $d.c#String null)) 'x')",
    );
    check(
        "case { a > 1 -> b, _ -> c, } == 2",
        "(== (If (> $d.a#Number 1) $d.b#Number $d.c#Number) 2)",
    );
}

#[test]
fn times_are_calculated() {
    check(
        "a + 1h > now()",
        "(> (+ $d.a#Timestamp 3600000000000ns) now)",
    );
    check(
        "1h + a > now()",
        "(> (+ 3600000000000ns $d.a#Timestamp) now)",
    );
    check(
        "a - 1h > b",
        "(> (- $d.a#Timestamp 3600000000000ns) $d.b#Timestamp)",
    );
    check("a - now() < 1s", "(< (- $d.a#Timestamp now) 1000000000ns)");
    check(
        "1h - 30m == 30m",
        "(== (- 3600000000000ns 1800000000000ns) 1800000000000ns)",
    );
    check(
        "now() - now() + 1s > 1ns",
        "(> (+ (- now now) 1000000000ns) 1ns)",
    );
    check(
        "-(now() - a) < 1s",
        "(< (- 0ns (- now $d.a#Timestamp)) 1000000000ns)",
    );
    check(
        "fromUnixTime(a) < now()",
        "(< (FromUnixTime $d.a#Number) now)",
    );
    check("a.toUnixTime() > 5", "(> (ToUnixTime $d.a#Timestamp) 5)");
}

#[test]
fn functions_take_their_arguments_as_methods_too() {
    for (function, method) in [
        ("contains(a, 'x')", "a.contains('x')"),
        ("endsWith(a, b)", "a.endsWith(b)"),
        ("substr(a, 1) == 'x'", "a.substr(1) == 'x'"),
        ("substr(a, 1, n) == 'x'", "a.substr(1, n) == 'x'"),
        ("max(a, b, 3) == 1", "a.max(b, 3) == 1"),
        ("concat('x') == 'x'", "'x'.concat() == 'x'"),
        ("abs(5) == 1", "5.abs() == 1"),
        ("isUuid(a)", "a.isUuid()"),
        ("inArray(a, [1])", "a.inArray([1])"),
        (
            "trim(toLowerCase(a)) == 'x'",
            "a.toLowerCase().trim() == 'x'",
        ),
    ] {
        let show = |text| show(&parse(text).unwrap());
        assert_eq!(show(function), show(method));
    }
    check(
        "substr(a, 1, n) == 'x'",
        "(== (Substr $d.a#String 1 $d.n#Number) 'x')",
    );
    check("isUuid(a)", "(truthy (IsUuid $d.a#String))");
    check("isUuid(a) == false", "(== (IsUuid $d.a#String) false)");
    check(
        "ipPrefix(a, 8) == '10.0.0.0/8'",
        "(== (IpPrefix $d.a#String 8) '10.0.0.0/8')",
    );
}

#[test]
fn networks_are_read_at_parse() {
    check(
        "a.ipInSubnet('10.0.0.0/8')",
        "(subnet $d.a#String 10.0.0.0/8)",
    );
    check(
        "a.ipInSubnet('10.1.2.3')",
        "(subnet $d.a#String 10.1.2.3/32)",
    );
    check(
        "a.ipInSubnet('2001:db8::/32')",
        "(subnet $d.a#String 2001:db8::/32)",
    );
    check(
        "a.ipInSubnet('::ffff:10.0.0.0/104')",
        "(subnet $d.a#String 10.0.0.0/8)",
    );
    check("a.ipInSubnet('::/0')", "(subnet $d.a#String ::/0)");
}
