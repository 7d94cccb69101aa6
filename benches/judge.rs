//! What it costs to judge lines: validation alone, beside sonic-rs and serde_json, and with the framer around it.
//!
//! Corpora are drawn from a fixed seed: audit events of about 1.4 KB in the Activity Tracker form and WAF events of
//! about 220 bytes, every line different in values and in length, so that the branch predictor cannot learn them.
//! Throughput is printed by criterion; 1 GiB/s is 0.93 ns a byte.

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use serde::de::IgnoredAny;
use std::fmt::Write as _;
use std::hint::black_box;
use weir::ingest::admission::{Admission, Verdict};
use weir::ingest::framer::{Judge, LineState, RejectedLine};
use weir::ingest::settings::Validation;
use weir::ingest::validate::Validator;
use weir::os::simd::Level;

criterion_group!(benches, validation, framing);
criterion_main!(benches);

fn validation(criterion: &mut Criterion) {
    for corpus in [
        audit_events(),
        waf_events(),
        audit_events_spaced(),
        audit_events_accented(),
    ] {
        let mut group = criterion.benchmark_group(format!("validate/{}", corpus.name));
        group.throughput(Throughput::Bytes(corpus.bytes as u64));
        for level in Level::available() {
            let validator = Validator::with_level(Some(level));
            over_lines(&mut group, level.name(), &corpus, |line| {
                validator.validate(line).is_ok()
            });
        }
        let portable = Validator::with_level(None);
        over_lines(&mut group, "portable", &corpus, |line| {
            portable.validate(line).is_ok()
        });
        over_lines(&mut group, "sonic_rs", &corpus, |line| {
            sonic_rs::from_slice::<sonic_rs::LazyValue<'_>>(line).is_ok()
        });
        over_lines(&mut group, "serde_json", &corpus, |line| {
            std::str::from_utf8(line)
                .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
        });
        group.finish();
    }
}

fn over_lines(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    corpus: &Corpus,
    accepts: impl Fn(&[u8]) -> bool,
) {
    assert!(
        corpus.lines().all(&accepts),
        "{name} refuses a line of {}",
        corpus.name
    );
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            corpus
                .lines()
                .filter(|line| accepts(black_box(line)))
                .count()
        });
    });
}

/// Receives of 256 KiB are cut, judged and compacted in place, as on a shard: a memcpy stands for the receive.
fn framing(criterion: &mut Criterion) {
    for corpus in [audit_events(), waf_events()] {
        let mut group = criterion.benchmark_group(format!("frame_and_judge/{}", corpus.name));
        group.throughput(Throughput::Bytes(corpus.bytes as u64));
        for (name, mode) in [("full", Validation::Full), ("none", Validation::None)] {
            let mut judge = Counting {
                admission: Admission::new(1 << 20, mode),
                rejected: 0,
            };
            let mut buffer = vec![0; (256 << 10) + (1 << 20)];
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let mut state = LineState::new(1 << 20);
                    let mut accepted = 0;
                    for receive in corpus.buffer.chunks(256 << 10) {
                        let from = state.carried();
                        buffer[from..from + receive.len()].copy_from_slice(receive);
                        accepted += state
                            .cut(&mut buffer, 0, from + receive.len(), &mut judge)
                            .accepted;
                    }
                    assert_eq!((accepted as usize, judge.rejected), (corpus.ends.len(), 0));
                });
            });
        }
        group.finish();
    }
}

struct Counting {
    admission: Admission,
    rejected: u64,
}

impl Judge for Counting {
    fn judge(&mut self, line: &[u8]) -> Verdict {
        self.admission.judge(line)
    }
    fn judge_unterminated(&mut self, line: &[u8]) -> Verdict {
        self.admission.judge_unterminated(line)
    }
    fn rejected(&mut self, _: RejectedLine<'_>) {
        self.rejected += 1;
    }
}

/// Lines of one kind, each ended by a line feed.
struct Corpus {
    name: &'static str,
    buffer: Vec<u8>,
    ends: Vec<usize>,
    bytes: usize,
}

impl Corpus {
    fn new(name: &'static str, mut line: impl FnMut(&mut Draw, &mut String)) -> Self {
        let (mut buffer, mut ends, mut draw) = (Vec::new(), Vec::new(), Draw(0x5eed));
        while buffer.len() < 512 << 10 {
            let mut text = String::new();
            line(&mut draw, &mut text);
            buffer.extend_from_slice(text.as_bytes());
            ends.push(buffer.len());
            buffer.push(b'\n');
        }
        Self {
            name,
            bytes: buffer.len(),
            buffer,
            ends,
        }
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.buffer[start..*end])
    }
}

/// A small deterministic generator; benches need no better one.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[usize::try_from(self.below(from.len() as u64)).expect("an index")]
    }
}

fn audit_events() -> Corpus {
    Corpus::new("audit", |draw, text| audit_event(draw, text, NAMES))
}

fn audit_events_accented() -> Corpus {
    Corpus::new("audit_accented", |draw, text| {
        audit_event(draw, text, NAMES_ACCENTED)
    })
}

/// As some loggers write them: a space behind every comma and colon.
fn audit_events_spaced() -> Corpus {
    Corpus::new("audit_spaced", |draw, text| {
        let mut tight = String::new();
        audit_event(draw, &mut tight, NAMES);
        let mut in_string = false;
        for byte in tight.chars() {
            in_string ^= byte == '"';
            text.push(byte);
            if !in_string && matches!(byte, ',' | ':') {
                text.push(' ');
            }
        }
    })
}

const NAMES: &[&str] = &[
    "maria.souza",
    "joao.pereira",
    "svc-deploy",
    "ana.lima",
    "root",
    "carlos.eduardo.santos",
];
const NAMES_ACCENTED: &[&str] = &[
    "Maria Conceição",
    "João Pereira",
    "svc-deploy",
    "Ana Lúcia",
    "root",
    "José Antônio",
];

fn audit_event(draw: &mut Draw, text: &mut String, names: &[&'static str]) {
    let service = draw.pick(&[
        "cloud-object-storage",
        "iam-identity",
        "kms",
        "databases-for-postgresql",
        "is",
        "codeengine",
    ]);
    let verb = draw.pick(&[
        "create",
        "read",
        "update",
        "delete",
        "list",
        "configure",
        "enable",
    ]);
    let region = draw.pick(&["us-south", "eu-de", "br-sao", "jp-tok", "au-syd"]);
    let name = draw.pick(names);
    let status = draw.pick(&["200", "201", "204", "403", "404", "409", "500"]);
    let (account, id) = (draw.next(), draw.next());
    write!(
        text,
        r#"{{"eventTime":"2024-05-{:02}T{:02}:{:02}:{:02}.{:02}+0000","action":"{service}.object.{verb}","outcome":"{}","typeURI":"http://schemas.dmtf.org/cloud/audit/1.0/event","eventType":"activity","severity":"{}","id":"{id:016x}-{account:016x}","message":"{service}: {verb} object {}","#,
        draw.below(28) + 1, draw.below(24), draw.below(60), draw.below(60), draw.below(100),
        draw.pick(&["success", "failure", "pending"]), draw.pick(&["normal", "warning", "critical"]),
        draw.pick(&["", "invoice-2024.pdf", "backups/db/daily/full.tar.gz", "-failure", r#"\"quoted name\".txt"#]),
    )
    .expect("a string takes all");
    write!(
        text,
        r#""initiator":{{"id":"IBMid-{:010}","typeURI":"service/security/account/user","name":"{name}@example.com","host":{{"address":"10.{}.{}.{}","addressType":"IPv4","agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0"}},"credential":{{"type":"{}"}}}},"#,
        draw.below(10_000_000_000), draw.below(256), draw.below(256), draw.below(256), draw.below(60) + 80,
        draw.pick(&["token", "apikey", "user"]),
    )
    .expect("a string takes all");
    write!(
        text,
        r#""target":{{"id":"crn:v1:bluemix:public:{service}:{region}:a/{account:032x}:{id:016x}::","typeURI":"{service}/object","name":"bucket-{}","host":{{"address":"s3.{region}.example.cloud"}}}},"observer":{{"name":"ActivityTracker"}},"reason":{{"reasonCode":{status},"reasonType":"{}"}},"dataEvent":{},"saveServiceCopy":{},"correlationId":"{:016x}","#,
        draw.below(1000), draw.pick(&["OK", "Forbidden", "Not Found"]), draw.pick(&["true", "false"]),
        draw.pick(&["true", "false"]), draw.next(),
    )
    .expect("a string takes all");
    write!(text, r#""logSourceCRN":"crn:v1:bluemix:public:{service}:{region}:a/{account:032x}:::","requestData":{{"headers":["#).expect("a string takes all");
    for header in 0..=draw.below(4) {
        let comma = if header == 0 { "" } else { "," };
        write!(
            text,
            r#"{comma}{{"name":"x-trace-{}","value":"{:x}"}}"#,
            draw.below(100),
            draw.next()
        )
        .expect("a string takes all");
    }
    write!(
        text,
        r#"],"bytes":{},"seconds":{}.{},"retry":{},"tags":["env:prod","team:{}"]}},"responseData":{{"requestId":"{:x}","parts":[{},{},{}],"etag":null}}}}"#,
        draw.below(10_000_000), draw.below(10), draw.below(10_000), draw.pick(&["0", "1", "-1", "2.5e3"]),
        draw.pick(&["core", "payments", "edge"]), draw.next(), draw.below(100), draw.below(1000), draw.below(100_000),
    )
    .expect("a string takes all");
}

fn waf_events() -> Corpus {
    Corpus::new("waf", |draw, text| {
        write!(
            text,
            r#"{{"ts":{}.{:03},"host":"{}","ip":"{}.{}.{}.{}","method":"{}","uri":"/{}/{:x}","status":{},"rule":"{}","score":{},"block":{},"bytes":{},"ua":"{}"}}"#,
            1_700_000_000 + draw.below(50_000_000), draw.below(1000), draw.pick(&["www.example.com", "api.example.com.br", "shop.example.org"]),
            draw.below(256), draw.below(256), draw.below(256), draw.below(256), draw.pick(&["GET", "POST", "PUT"]),
            draw.pick(&["login", "cart/items", "v2/users", "static/js"]), draw.next() >> draw.below(40),
            draw.pick(&["200", "302", "403", "404"]), draw.pick(&["942100", "941110", "920350", "-"]), draw.below(40),
            draw.pick(&["true", "false"]), draw.below(200_000),
            draw.pick(&["curl/8.5.0", "Mozilla/5.0 (Windows NT 10.0; Win64)", "python-requests/2.31", "sqlmap/1.7"]),
        )
        .expect("a string takes all");
    })
}
