//! Rules that the products' documentation shows (sections A.4 and B.9 of the reference), from their text to the
//! answer: each with an event it matches and one it does not.
//!
//! Owns: the whole way, parser and engine, with the slow evaluator beside it. Events have the documented shapes of the
//! Activity Tracker; where the documentation has a placeholder, a value of the same form stands here.

use weir::event::{InputId, Labels};
use weir::filter::error::RuleError;
use weir::filter::tree::Expr;
use weir::filter::{Evaluator, Event, Polarity, Program, Rule, dpxl, query};
use weir::position::Timestamp;

use crate::oracle::Subject;

/// A line, and labels as `name=value`.
struct Sample(&'static str, &'static [&'static str]);

const LOGIN: Sample = Sample(
    r#"{"eventTime":"2025-01-02T03:04:05.67+0000","action":"iam-identity.user-apikey.login","outcome":"success","severity":"normal","message":"IAM Identity Service: login user-apikey","logSourceCRN":"crn:v1:bluemix:public:iam-identity:global:a/9bb3:::","reason":{"reasonCode":200,"reasonType":"OK"},"initiator":{"id":"IBMid-270000ABCD","name":"user@example.com","host":{"address":"192.0.2.1"}},"target":{"id":"crn:v1:bluemix:public:iam-identity:global:a/9bb3::apikey:1"}}"#,
    &[],
);

const KEY_CREATE: Sample = Sample(
    r#"{"eventTime":"2025-01-02T03:04:06.1+0000","action":"iam-identity.user-apikey.create","outcome":"success","severity":"normal","message":"IAM Identity Service: create user-apikey","logSourceCRN":"crn:v1:bluemix:public:iam-identity:global:a/9bb3:::","reason":{"reasonCode":201,"reasonType":"Created"}}"#,
    &[],
);

const POLICY_READ: Sample = Sample(
    r#"{"action":"iam-am.policy.read","outcome":"success","severity":"normal","message":"IAM Access Management: read policy","logSourceCRN":"crn:v1:bluemix:public:iam-am:global:a/9bb3:::","reason":{"reasonCode":200},"requestData":{"requestId":"r-1"}}"#,
    &["application=ibm-audit-event"],
);

const POLICY_UPDATE: Sample = Sample(
    r#"{"action":"iam-am.policy.update","outcome":"failure","severity":"critical","message":"IAM Access Management: update policy -failure","logSourceCRN":"crn:v1:bluemix:public:iam-am:global:a/9bb3:::","reason":{"reasonCode":403}}"#,
    &["application=ibm-audit-event"],
);

const GROUP_CREATE: Sample = Sample(
    r#"{"action":"iam-groups.group.create","outcome":"success","severity":"normal","message":"Access Groups: create group","logSourceCRN":"crn:v1:bluemix:public:iam-groups:global:a/9bb3:::","reason":{"reasonCode":201}}"#,
    &[],
);

const INSTANCE_CREATE: Sample = Sample(
    r#"{"action":"cloudantnosqldb.instance.create","outcome":"success","severity":"normal","message":"Cloudant: create instance","logSourceCRN":"crn:v1:bluemix:public:cloudantnosqldb:us-south:a/9bb3:::","reason":{"reasonCode":200}}"#,
    &[r#"meta={"_platform":"BSS"}"#],
);

const USER_CREATE: Sample = Sample(
    r#"{"action":"user-management.user.create","outcome":"success","severity":"normal","message":"User Management: create user","logSourceCRN":"crn:v1:bluemix:public:user-management:global:a/9bb3:::"}"#,
    &[],
);

const OBJECT_CREATE: Sample = Sample(
    r#"{"action":"cloud-object-storage.object.create","outcome":"failure","severity":"warning","message":"Cloud Object Storage: create object -failure","initiator":{"id":"iam-ServiceId-7b0a-11","typeURI":"service/security/account/serviceid"},"target":{"id":"crn:v1:bluemix:public:cloud-object-storage:global:a/9bb3:d8ba:bucket:logs"},"reason":{"reasonCode":403,"reasonType":"Forbidden"},"logSourceCRN":"crn:v1:bluemix:public:cloud-object-storage:global:a/9bb3:d8ba:bucket:logs"}"#,
    &[],
);

const STREAM_FAILURE: Sample = Sample(
    r#"{"action":"logdnaat.streaming-logs.send","severity":"critical","outcome":"failure","requestData":{"notificationType":"authentication_failure","start":"2021-06-29T21:33:52.333Z","end":"2021-06-29T21:35:13.772Z","topic":"t","error":"Error: Broker"},"reason":{"reasonCode":500,"reasonType":"authentication_failure","reasonForFailure":"Error: Broker"},"target":{"id":"crn:v1:staging:public:logdna:us-south:a/9bb3:d8ba:streaming-logs:","typeURI":"logdna/account/streaming-notification"}}"#,
    &[],
);

const SECRET_DELETE: Sample = Sample(
    r#"{"action":"kms.secrets.endtoenddelete","outcome":"failure","severity":"critical","message":"Key Protect: delete secrets -failure","reason":{"reasonCode":409}}"#,
    &[],
);

/// 2023-11-14, when all of them are received.
const RECEIVED: Timestamp = Timestamp(1_700_000_000_000_000);

/// An empty event without labels, which few rules match.
const EMPTY: Sample = Sample("{}", &[]);

impl Sample {
    fn labels(&self) -> Labels {
        let mut labels = Labels::of_input(InputId(1));
        for label in self.1 {
            let (name, value) = label.split_once('=').expect("a label is name=value");
            if name == "event_time" {
                labels.event_time = Some(Timestamp(value.parse().expect("microseconds")));
                continue;
            }
            let place = match name {
                "application" => &mut labels.application,
                "subsystem" => &mut labels.subsystem,
                "host" => &mut labels.host,
                "level" => &mut labels.level,
                "meta" => &mut labels.meta,
                "peer" => &mut labels.peer,
                _ => panic!("no label is called {name}"),
            };
            *place = Some(value.into());
        }
        labels
    }
}

/// What the engine says, which is what the slow evaluator says, and the same whatever a match means.
fn answer(text: &str, condition: &Expr, sample: &Sample) -> bool {
    let rule = |polarity| Rule {
        condition: condition.clone(),
        polarity,
    };
    let program = Program::compile(vec![rule(Polarity::Drop), rule(Polarity::Deliver)]);
    let (line, labels, received) = (sample.0.as_bytes(), sample.labels(), RECEIVED);
    assert!(
        weir::ingest::validate::validate(line).is_ok(),
        "{}",
        sample.0
    );
    let event = Event {
        line,
        labels: &labels,
        received,
    };
    let mut evaluator = Evaluator::new();
    let mut evaluation = evaluator.begin(&program, event);
    let answer = evaluation.matches(0);
    assert_eq!(evaluation.matches(1), answer, "{text}");
    let slow = Subject::new(line, &labels, received).passes(condition);
    assert_eq!(answer, slow, "{text}\n{}", sample.0);
    answer
}

/// The rule matches the first and does not match the second.
#[track_caller]
fn check(text: &str, condition: Result<Expr, RuleError>, matched: &Sample, unmatched: &Sample) {
    let condition = condition.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        answer(text, &condition, matched),
        "{text}\nmisses {}",
        matched.0
    );
    assert!(
        !answer(text, &condition, unmatched),
        "{text}\nmatches {}",
        unmatched.0
    );
}

#[track_caller]
fn query(text: &str, matched: &Sample, unmatched: &Sample) {
    check(
        text,
        query::parse(text, query::Options::default()),
        matched,
        unmatched,
    );
}

#[track_caller]
fn dpxl(text: &str, matched: &Sample, unmatched: &Sample) {
    check(text, dpxl::parse(text), matched, unmatched);
}

#[test]
fn queries_of_the_activity_tracker_exclude_what_they_say() {
    query("_platform:==iam-am", &POLICY_READ, &LOGIN);
    query(
        "_platform:==iam-identity (action login)",
        &LOGIN,
        &KEY_CREATE,
    );
    query(
        "_platform:==iam-identity (action user-apikey) -(action login)",
        &KEY_CREATE,
        &LOGIN,
    );
    query(
        "_platform:==BSS (action instance)",
        &INSTANCE_CREATE,
        &GROUP_CREATE,
    );
    query("action login", &LOGIN, &KEY_CREATE);
    query("action instance.create", &INSTANCE_CREATE, &GROUP_CREATE);
    query(
        "action user-management.user.create",
        &USER_CREATE,
        &GROUP_CREATE,
    );
    query("reason.reasonCode:500", &STREAM_FAILURE, &OBJECT_CREATE);
    query("outcome:failure", &SECRET_DELETE, &LOGIN);
    query("severity:critical", &POLICY_UPDATE, &LOGIN);
    query("host:iam-am (action read)", &POLICY_READ, &POLICY_UPDATE);
    query(
        "action:logdnaat.streaming-logs.send reason.reasonCode:500 severity:critical \
         target.typeURI:\"logdna/account/streaming-notification\" requestData.notificationType:\"authentication_failure\"",
        &STREAM_FAILURE,
        &SECRET_DELETE,
    );
    query(
        "initiator.id:iam-ServiceId-7b0a-11 action:cloud-object-storage.object.create \
         target.id:crn:v1:bluemix:public:cloud-object-storage:global:a/9bb3:d8ba:bucket:logs",
        &OBJECT_CREATE,
        &LOGIN,
    );
    query(
        "target.id:crn:v1:bluemix:public:cloud-object-storage:global:a/9bb3:d8ba:bucket:logs reason.reasonCode:403",
        &OBJECT_CREATE,
        &POLICY_UPDATE,
    );
    query(
        "action:iam-groups.group.create OR action:iam-groups.group.delete",
        &GROUP_CREATE,
        &POLICY_UPDATE,
    );
    query(
        "action:[iam-groups.group.create,iam-am.policy.update]",
        &POLICY_UPDATE,
        &POLICY_READ,
    );
    query(
        "action:kms.secrets.endtoenddelete outcome:failure",
        &SECRET_DELETE,
        &OBJECT_CREATE,
    );
}

#[test]
fn queries_of_logdna_exclude_what_they_say() {
    query(
        "_line:\"LogDNA test message\" _app:\"logdna-selfstream-config-validation\"",
        &Sample(
            r#"{"line":"LogDNA test message"}"#,
            &["application=logdna-selfstream-config-validation"],
        ),
        &Sample(r#"{"line":"LogDNA test message"}"#, &["application=other"]),
    );
    query(
        "host:ibm-cloud-databases-prod AND label.database:postgresql",
        &Sample(
            r#"{"label":{"database":"postgresql"}}"#,
            &["host=ibm-cloud-databases-prod"],
        ),
        &Sample(
            r#"{"label":{"database":"redis"}}"#,
            &["host=ibm-cloud-databases-prod"],
        ),
    );
    query(
        "response:(>=200 <300) request:*",
        &Sample(r#"{"response":204,"request":"/a"}"#, &[]),
        &Sample(r#"{"response":300,"request":"/a"}"#, &[]),
    );
    query(
        "robots.txt OR favicon.ico OR .well-known",
        &Sample(r#"{"line":"GET /.well-known/x"}"#, &[]),
        &Sample(r#"{"line":"GET /index.html"}"#, &[]),
    );
    query(
        "app:memo -(\"success\" OR \"waiting\")",
        &Sample(r#"{"line":"failed"}"#, &["application=memo"]),
        &Sample(r#"{"line":"still waiting"}"#, &["application=memo"]),
    );
    query(
        "healthcheck -successful OR ping",
        &Sample(r#"{"line":"healthcheck failed"}"#, &[]),
        &Sample(r#"{"line":"ping"}"#, &[]),
    );
    query(
        "source:node1 AND (file:/var/log/syslog OR ERROR)",
        &Sample(r#"{"line":"x"}"#, &["host=node1", "peer=/var/log/syslog"]),
        &Sample(r#"{"line":"x"}"#, &["host=node1", "peer=/var/log/auth.log"]),
    );
    query(
        "host:myawesomehost -app:mycoolapp",
        &Sample("{}", &["host=myawesomehost", "application=other"]),
        &Sample("{}", &["host=myawesomehost", "application=mycoolapp"]),
    );
    query(
        "user.id:12345",
        &Sample(r#"{"user":{"id":12345}}"#, &[]),
        &Sample(r#"{"user":{"id":2345}}"#, &[]),
    );
    query(
        "name:=camelCasedName",
        &Sample(r#"{"name":"camelCasedName2"}"#, &[]),
        &Sample(r#"{"name":"camelcasedname"}"#, &[]),
    );
    query(
        "name:===Bob",
        &Sample(r#"{"name":"Bob"}"#, &[]),
        &Sample(r#"{"name":"Bobby"}"#, &[]),
    );
    query(
        "level:[warning,error]",
        &Sample("{}", &["level=Error"]),
        &Sample("{}", &["level=info"]),
    );
}

#[test]
fn queries_combine_as_the_reference_says() {
    let line = |line: &'static str| Sample(line, &[]);
    // `OR` binds tighter than a space.
    query(
        "me myself OR I1",
        &line(r#"{"l":"me I1"}"#),
        &line(r#"{"l":"I1"}"#),
    );
    query(
        "name:==bob",
        &line(r#"{"name":"BOB"}"#),
        &line(r#"{"name":"bobby"}"#),
    );
    query(
        "===word",
        &line(r#"{"l":"a word"}"#),
        &line(r#"{"l":"a words"}"#),
    );
    query("-x:*", &line(r#"{"x":null}"#), &line(r#"{"x":""}"#));
    query("n:=404", &line(r#"{"n":404.0}"#), &line(r#"{"n":4040}"#));
    query(
        "n:(>100 AND <=503)",
        &line(r#"{"n":"503"}"#),
        &line(r#"{"n":100}"#),
    );
    query(
        "n:(>=400 <500 -404)",
        &line(r#"{"n":403}"#),
        &line(r#"{"n":404}"#),
    );
    query(
        "l:[warning, error]",
        &line(r#"{"l":" error"}"#),
        &line(r#"{"l":"error"}"#),
    );
    query("meta.k:v", &Sample("{}", &[r#"meta={"k":"v1"}"#]), &EMPTY);
    query("log", &line(r#"{"l":"a Login"}"#), &line(r#"{"l":"blog"}"#));
    query("\"a b\"", &line(r#"{"l":"a b"}"#), &line(r#"{"l":"a  b"}"#));
}

#[test]
fn expressions_of_dpxl_deliver_what_they_say() {
    let line = |line: &'static str| Sample(line, &[]);
    dpxl(
        "<v1> $d.my_text == 'example'",
        &line(r#"{"my_text":"example"}"#),
        &line(r#"{"my_text":"Example"}"#),
    );
    dpxl(
        "<v1> $m.timestamp < @'2024-01-01T00:00:00'",
        &EMPTY,
        &Sample("{}", &["event_time=1704067200000000"]),
    );
    dpxl(
        "<v1> $l.applicationname.startsWith('dev-')",
        &Sample("{}", &["application=dev-a"]),
        &Sample("{}", &["application=a-dev-"]),
    );
    dpxl(
        "<v1> region_id:string.in('us-east-1','us-west-2')",
        &line(r#"{"region_id":"us-west-2"}"#),
        &line(r#"{"region_id":"us-west-1"}"#),
    );
    dpxl(
        "country == 'us' && region == 'us-south'",
        &line(r#"{"country":"us","region":"us-south"}"#),
        &line(r#"{"country":"us","region":"us-east"}"#),
    );
    dpxl(
        "age > 40 || country == 'us'",
        &line(r#"{"age":40.5}"#),
        &line(r#"{"age":40}"#),
    );
    dpxl(
        "!region.contains('us-')",
        &line(r#"{"region":"eu-de"}"#),
        &line(r#"{"region":"us-south"}"#),
    );
    dpxl(
        "region.startsWith('us-') && (country == 'us' && (age > 40 || age < 10)) || (country == 'il' && age > 25)",
        &line(r#"{"country":"il","age":26}"#),
        &line(r#"{"country":"us","age":26,"region":"us-south"}"#),
    );
    dpxl(
        "<v1> !$d.country:string.in('us','il','gr')",
        &line(r#"{"country":"de"}"#),
        &line(r#"{"country":"gr"}"#),
    );
}

#[test]
fn expressions_of_dpxl_with_patterns_severities_and_casts_deliver_what_they_say() {
    let line = |line: &'static str| Sample(line, &[]);
    dpxl(
        "<v1> kubernetes.pod_name.matches(/^kafka-[0-9]+/)",
        &line(r#"{"kubernetes":{"pod_name":"kafka-12-x"}}"#),
        &line(r#"{"kubernetes":{"pod_name":"a-kafka-12"}}"#),
    );
    dpxl(
        "<v1> $m.severity != DEBUG",
        &Sample("{}", &["level=info"]),
        &Sample("{}", &["level=debug"]),
    );
    dpxl(
        "<v1> query_duration_seconds > 100",
        &line(r#"{"query_duration_seconds":1e3}"#),
        &line(r#"{"query_duration_seconds":"1000"}"#),
    );
    dpxl(
        "lastName <= 'Smith'",
        &line(r#"{"lastName":"Smith"}"#),
        &line(r#"{"lastName":"Smithe"}"#),
    );
    dpxl(
        "my_key:number > my_other_key",
        &line(r#"{"my_key":"10","my_other_key":9}"#),
        &line(r#"{"my_key":"8","my_other_key":9}"#),
    );
    dpxl(
        "'123':number == n",
        &line(r#"{"n":123}"#),
        &line(r#"{"n":"123"}"#),
    );
    dpxl(
        "<v1>contains(kubernetes.labels.CX_AZ, 'eu-west-1')",
        &line(r#"{"kubernetes":{"labels":{"CX_AZ":"eu-west-1b"}}}"#),
        &line(r#"{"kubernetes":{"labels":"eu-west-1b"}}"#),
    );
    dpxl(
        "<v1>$m.severity == ERROR",
        &line(r#"{"severity":"error"}"#),
        &line(r#"{"severity":"warn"}"#),
    );
}

#[test]
fn expressions_of_the_streaming_pages_deliver_what_they_say() {
    let line = |line: &'static str| Sample(line, &[]);
    dpxl(
        "$d.msg.contains('Error1234')",
        &line(r#"{"msg":"an Error1234"}"#),
        &line(r#"{"msg":"Error 1234"}"#),
    );
    dpxl(
        "<v1> $l.applicationname =='ibm-audit-event'",
        &POLICY_READ,
        &LOGIN,
    );
    dpxl(
        "<v1> $l.applicationname =='ibm-platform-logs'",
        &Sample("{}", &["application=ibm-platform-logs"]),
        &POLICY_READ,
    );
    dpxl(
        "<v1> $l.applicationname =='app1' || $l.applicationname =='app2' || $l.applicationname =='app3'",
        &Sample("{}", &["application=app3"]),
        &Sample("{}", &["application=app4"]),
    );
    dpxl(
        "<v1> $l.subsystemname =='sub1' || $l.subsystemname =='sub2'",
        &Sample("{}", &["subsystem=sub2"]),
        &Sample("{}", &["application=sub2"]),
    );
    dpxl(
        "<v1> $d.F =='v1' && $d.G =='v2'",
        &line(r#"{"F":"v1","G":"v2"}"#),
        &line(r#"{"F":"v1","G":"v3"}"#),
    );
    dpxl(
        "<v1> ( $d.F =='v1' && $d.G =='v2' ) || ( $d.F =='v1' && $d.G =='v3' )",
        &line(r#"{"F":"v1","G":"v3"}"#),
        &line(r#"{"F":"v2","G":"v3"}"#),
    );
    let both = "<v1> ( ( $l.applicationname =='ibm-audit-event' && ( $d.serviceName =='iam-am' ||  \
         $d.serviceName =='cloud-object-storage' ) && $d.severity =='critical') )\n\
         || ( $l.applicationname =='ibm-audit-event' && $d.serviceName =='iam-identity' && $d.severity =='normal')";
    dpxl(both, &POLICY_UPDATE, &POLICY_READ);
    dpxl(
        both,
        &Sample(LOGIN.0, &["application=ibm-audit-event"]),
        &LOGIN,
    );
    dpxl(
        "<v1> $d.requestData.requestId",
        &POLICY_READ,
        &STREAM_FAILURE,
    );
}

#[test]
fn expressions_of_dataprime_deliver_what_they_say() {
    let line = |line: &'static str| Sample(line, &[]);
    dpxl(
        "ipInSubnet($d.initiator.host.address,'192.0.2.5/24')",
        &LOGIN,
        &line(r#"{"initiator":{"host":{"address":"192.0.3.1, 192.0.2.1"}}}"#),
    );
    dpxl(
        "inArray(client_ip, ['192.168.1.105','192.168.1.112'])",
        &line(r#"{"client_ip":"192.168.1.112"}"#),
        &line(r#"{"client_ip":"192.168.1.11"}"#),
    );
    dpxl(
        "in($l.applicationname,'ibm-audit-event','ibm-platform-logs')",
        &POLICY_READ,
        &LOGIN,
    );
    dpxl(
        "$l.applicationname == 'myapp' && $d.msg.contains('failure')",
        &Sample(r#"{"msg":"a failure"}"#, &["application=myapp"]),
        &Sample(r#"{"msg":"a failure"}"#, &["subsystem=myapp"]),
    );
    dpxl(
        "$d.status_code >= 200 && $d.status_code <= 299",
        &line(r#"{"status_code":299}"#),
        &line(r#"{"status_code":299.5}"#),
    );
    dpxl("$d ~~ 'REASONTYPE\":\"forb'", &OBJECT_CREATE, &LOGIN);
    dpxl("$d.message ~ 'DELETE secrets'", &SECRET_DELETE, &LOGIN);
}

#[test]
fn a_rule_that_is_false_delivers_nothing() {
    let condition = dpxl::parse("<v1> false").unwrap();
    for sample in [EMPTY, LOGIN, POLICY_READ, STREAM_FAILURE] {
        assert!(!answer("<v1> false", &condition, &sample));
    }
}
