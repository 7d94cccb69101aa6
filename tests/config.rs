//! Configuration files as an operator writes them: every mistake with its exact message,
//! the examples, and the agreement of code, example and documentation.
//!
//! Each `tests/data/config/NAME.toml` has its messages in `NAME.txt`. To write them anew
//! after a change of words, run with `WEIR_BLESS=1` and read the difference.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use weir::config::keys::reference::reference;
use weir::config::keys::{Kind, SECTIONS};
use weir::config::plan::{InputPlan, Plan};
use weir::config::{
    ConfigErrors, Environment, describe, embedded_default, fuzz_parse, load, parse,
};
use weir::event::{InputId, Labels};
use weir::ingest::settings::{HttpSettings, InputSettings, TcpSettings, Validation};
use weir::journal::settings::{
    HoldPolicy, JournalSettings, LettersSettings, RoomLimit, RoomSettings, WhenFull,
    WhenLettersFull,
};
use weir::position::Timestamp;
use weir::shard::settings::ShardSettings;
use weir::sink::settings::{Compression, ReplyForm, SinkSettings, TokenScheme, TokenSource};
use weir::stream::settings::{Shape, StartAt};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a file with what it should hold, or writes it when told to.
fn assert_file_holds(path: &Path, expected: &str) {
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(path, expected).expect("the file can be written");
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        found,
        expected,
        "{}; WEIR_BLESS=1 writes it",
        path.display()
    );
}

/// Two cores, a working directory of `/srv`, and only the files of `/etc/weir/`.
fn environment() -> Environment {
    Environment {
        cores: 2,
        working_dir: PathBuf::from("/srv"),
        file_exists: |path| path.starts_with("/etc/weir"),
    }
}

fn read(text: &str) -> Result<Plan, ConfigErrors> {
    parse(text, "weir.toml", &environment())
}

fn plan_of(text: &str) -> Plan {
    read(text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_exact_message() {
    let mut files: Vec<_> = fs::read_dir(repository("tests/data/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    assert!(files.len() > 10);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let errors = read(&text).expect_err("a bad file is refused");
        assert_file_holds(&path.with_extension("txt"), &format!("{errors}\n"));
    }
}

#[test]
fn the_embedded_default_is_a_plan_for_loopback() {
    let plan = plan_of(embedded_default());
    assert_eq!(plan.data_dir, Path::new("./weir-data"));
    assert_eq!(plan.admin_listen.to_string(), "127.0.0.1:9600");
    let listens: Vec<_> = plan
        .inputs
        .iter()
        .map(|input| match input {
            InputPlan::Tcp(tcp) => format!("tcp {}", tcp.listen),
            InputPlan::Http(http) => format!("http {}", http.listen),
        })
        .collect();
    assert_eq!(listens, ["tcp 127.0.0.1:9000", "http 127.0.0.1:9001"]);
    assert_eq!(plan.streams.len(), 1);
    let SinkSettings::File(file) = &plan.streams[0].sink else {
        panic!("{:?}", plan.streams[0].sink);
    };
    assert_eq!(file.path, Path::new("./weir-data/out/events.ndjson"));
}

#[test]
fn a_file_with_nothing_but_an_input_gets_the_documented_defaults() {
    let plan = plan_of("[input.apps.tcp]\nlisten = \"127.0.0.1:9000\"\n");
    let expected = Plan {
        data_dir: "./weir-data".into(),
        memory_bytes_max: 192 << 20,
        drain_timeout: Duration::from_secs(30),
        shard: ShardSettings {
            count: 2,
            pin: true,
            io_uring: true,
            commit_interval: Duration::from_millis(5),
            commit_interval_idle: Duration::from_millis(100),
        },
        journals: 2,
        journal: JournalSettings {
            dir: "./weir-data/journal".into(),
            segment_bytes: 128 << 20,
            tail_bytes_max: 16 << 20,
            pending_bytes_max: 8 << 20,
            write_bytes_max: 1 << 20,
            spares: 2,
            direct_io: true,
        },
        room: RoomSettings {
            bytes_max: RoomLimit::Percent(80),
            free_bytes_min: 1 << 30,
            keep: Some(Duration::from_hours(7 * 24)),
        },
        admin_listen: "127.0.0.1:9600".parse().unwrap(),
        inputs: vec![InputPlan::Tcp(TcpSettings {
            input: InputSettings {
                id: InputId(0),
                name: "apps".to_owned(),
                validation: Validation::Full,
                line_bytes_max: 1 << 20,
                labels: Labels::of_input(InputId(0)),
            },
            listen: "127.0.0.1:9000".parse().unwrap(),
            ack: false,
            connections_max: 10_000,
            idle_timeout: Some(Duration::from_hours(1)),
        })],
        exclusions: Vec::new(),
        streams: Vec::new(),
    };
    assert_eq!(plan, expected);
}

#[test]
fn the_full_example_says_the_defaults() {
    let full = fs::read_to_string(repository("examples/full.toml")).unwrap();
    let plan = plan_of(&full);
    let minimal = plan_of(
        "[node]\ndata_dir = \"/var/lib/weir\"\n[memory]\nmax = \"256 MiB\"\n\
         [input.apps.tcp]\nlisten = \"127.0.0.1:9000\"\nlabels.application = \"billing\"\n\
         [input.web.http]\nlisten = \"127.0.0.1:9001\"\nlabels.env = \"production\"\n\
         [exclude.reads]\ntitle = \"reads of the platform's own tokens\"\nhosts = [\"iam-am\"]\n\
         query = \"action:(read OR list) -outcome:failure\"\nactive = false\n\
         [stream.siem]\nrule = \"$d.severity == 'critical' || $d.outcome == 'failure'\"\n\
         [stream.siem.exclude.tests]\nquery = '\"LogDNA test message\"'\n\
         [stream.siem.domains]\nvalues = [\"www.example.com\", \"api.example.com\"]\n\
         [stream.siem.http]\nurl = \"https://siem.example:8088/ingest\"\n\
         headers.X-Token = \"change-me\"\n\
         content_type = \"application/x-ndjson\"\nserver_name = \"siem.example\"\n\
         [stream.qradar.kafka]\nbrokers = \"kafka-1.example:9093, kafka-2.example : 9093\"\n\
         topic = \"audit-events\"\nkey_field = \"target.id\"\ncrn_field = \"logSourceCRN\"\n\
         headers = { region = \"eu-de\", type = \"audit\" }\nheader_fields.host = \"_host\"\n\
         sasl = \"plain\"\nusername = \"token\"\npassword = \"change-me\"\n\
         properties.linger.ms = \"5\"\n\
         [stream.archive.file]\npath = \"/var/lib/weir/out/events.ndjson\"\n\
         [stream.hub.relay]\nurl = \"https://hub.example\"\n\
         token = \"change-me-to-a-random-one\"\nhostname = \"site-a\"\n\
         server_name = \"hub.example\"\n\
         [stream.console.syslog]\naddress = \"console.example:6514\"\ntls = true\n\
         severity = \"6\"\nhostname = \"relay-1\"\napp_name = \"weir\"\n\
         process_id = \"-\"\nmessage_id = \"-\"\nfacility_field = \"facility\"\n\
         severity_field = \"severity\"\nhostname_field = \"initiator.host.address\"\n\
         app_name_field = \"logSourceCRN\"\nprocess_id_field = \"correlationId\"\n\
         message_id_field = \"action\"\nserver_name = \"console.example\"\n\
         [stream.lake]\nbatch.bytes = \"64 MiB\"\n\
         [stream.lake.s3]\nhost = \"https://s3.eu-west-1.amazonaws.com\"\n\
         bucket = \"weir-events\"\nregion = \"eu-west-1\"\n\
         access_key = \"AKIAIOSFODNN7EXAMPLE\"\nsecret_key = \"change-me\"\n\
         [stream.archive.template.mask]\nfields = [\"initiator.host.address\"]\n\
         patterns = ['\\b\\d{4}-\\d{4}-\\d{4}-\\d{4}\\b']\ntext = \"***\"\n",
    );
    assert_eq!(plan, minimal);
}

#[test]
fn the_examples_load_from_their_files() {
    for name in ["examples/minimal.toml", "examples/full.toml"] {
        if let Err(errors) = load(&repository(name)) {
            // The full example asks for two cores; a smaller machine says so, and no more.
            let errors = errors.to_string();
            assert!(errors.contains("there is 1 core for 2 shards"), "{errors}");
            assert_eq!(errors.lines().count(), 2, "{errors}");
        }
    }
}

/// `section path, key` of every key a file gives, also of those commented out as `#key =`.
fn keys_of(text: &str) -> BTreeSet<(String, String)> {
    let text = text.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
        _ => line,
    });
    let text = text.collect::<Vec<_>>().join("\n");
    let root = DeTable::parse(&text).expect("the file is TOML");
    let mut keys = BTreeSet::new();
    for section in SECTIONS {
        for table in tables_at(root.get_ref(), section.path) {
            for (key, value) in table {
                let is_headers = (section.key(key.get_ref()))
                    .is_some_and(|key| matches!(key.kind, Kind::Headers));
                if !matches!(value.get_ref(), DeValue::Table(_)) || is_headers {
                    keys.insert((section.path.to_owned(), key.get_ref().to_string()));
                }
            }
        }
    }
    keys
}

fn tables_at<'t>(root: &'t DeTable<'t>, path: &str) -> Vec<&'t DeTable<'t>> {
    let mut tables = vec![root];
    for part in path.split('.') {
        tables = tables
            .into_iter()
            .flat_map(|table| table.iter())
            .filter(|(key, _)| part == "NAME" || part == "RULE" || key.get_ref() == part)
            .filter_map(|(_, value)| value.get_ref().as_table())
            .collect();
    }
    tables
}

#[test]
fn the_full_example_has_every_key_and_no_other() {
    let full = fs::read_to_string(repository("examples/full.toml")).unwrap();
    let known: BTreeSet<_> = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| (section.path, key.name)))
        .map(|(path, name)| (path.to_owned(), name.to_owned()))
        .collect();
    assert_eq!(keys_of(&full), known);
}

#[test]
fn the_documentation_has_the_reference_as_the_code_writes_it() {
    const START: &str =
        "<!-- The reference is written by the code: WEIR_BLESS=1 cargo test --test config -->\n";
    let path = repository("docs/configuration.md");
    let text = fs::read_to_string(&path).unwrap();
    let (front, _) = text
        .split_once(START)
        .expect("the mark before the reference");
    let expected = format!("{front}{START}\n{}", reference().trim_end());
    assert_file_holds(&path, &format!("{expected}\n"));
}

#[test]
fn inputs_and_streams_keep_the_order_of_the_file_and_may_share_a_name() {
    let plan = plan_of(
        "[stream.z.file]\npath = \"z\"\n[input.z.tcp]\nlisten = \"127.0.0.1:0\"\n\
         [stream.a.file]\npath = \"a\"\n[input.a.http]\nlisten = \"[::1]:0\"\n",
    );
    let streams: Vec<_> = plan
        .streams
        .iter()
        .map(|s| s.stream.name.as_ref())
        .collect();
    assert_eq!(streams, ["z", "a"]);
    let inputs: Vec<_> = plan.inputs.iter().map(settings).collect();
    assert_eq!((inputs[0].name.as_str(), inputs[0].id), ("z", InputId(0)));
    assert_eq!((inputs[1].name.as_str(), inputs[1].id), ("a", InputId(1)));
    assert_eq!(inputs[1].labels.input, InputId(1));
}

fn settings(input: &InputPlan) -> &InputSettings {
    match input {
        InputPlan::Tcp(TcpSettings { input, .. }) | InputPlan::Http(HttpSettings { input, .. }) => {
            input
        }
    }
}

#[test]
fn values_that_mean_none_or_never_are_read_so() {
    let plan = plan_of(
        "[journal]\nkeep = -1\nmax_bytes = 2_000_000_000\n\
         [input.a.tcp]\nlisten = \"127.0.0.1:0\"\nidle_timeout = \"0s\"\nvalidate = \"none\"\n\
         [stream.a]\nfrom = 2026-01-31T08:00:00Z\nbatch = { records = 2000, bytes = 65536 }\n\
         file = { path = \"a\", compression = \"gzip\" }\n\
         [stream.b]\nfrom = \"start\"\nfile.path = \"b\"\nhold_max = -1\n\
         when_full = \"discard_oldest\"\nbacklog_bytes_max = \"512 MiB\"\n",
    );
    let may_lose = HoldPolicy {
        when_full: WhenFull::DiscardOldest,
        hold_max: None,
        backlog_bytes_max: Some(512 << 20),
    };
    assert_eq!(plan.streams[0].hold, HoldPolicy::default());
    assert_eq!(plan.streams[1].hold, may_lose);
    let described = describe(&plan);
    let words = "; discards its oldest events when the journals are full; holds events for ever \
                 while its destination fails, and 512 MiB of segments\n";
    assert!(described.ends_with(words), "{described}");
    assert_eq!(plan.room.keep, None);
    assert_eq!(plan.room.bytes_max, RoomLimit::Bytes(2_000_000_000));
    let InputPlan::Tcp(tcp) = &plan.inputs[0] else {
        panic!("{:?}", plan.inputs[0]);
    };
    assert_eq!(tcp.idle_timeout, None);
    assert_eq!(tcp.input.validation, Validation::None);
    let stream = &plan.streams[0];
    assert_eq!(
        stream.stream.from,
        StartAt::Time(Timestamp(1_769_846_400_000_000))
    );
    assert_eq!(stream.stream.batch.records_max, Some(2000));
    assert_eq!(stream.stream.batch.bytes_max, 65536);
    let SinkSettings::File(file) = &stream.sink else {
        panic!("{:?}", stream.sink);
    };
    assert_eq!(file.compression, Compression::Gzip);
    assert_eq!(plan.streams[1].stream.from, StartAt::Start);
    let forever = "[journal]\nkeep = \"-1\"\n[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n";
    assert_eq!(plan_of(forever).room.keep, None);
}

#[test]
fn the_default_memory_grows_with_the_machine() {
    let text = "[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n";
    for (cores, mebibytes) in [(1, 192), (2, 192), (8, 529), (64, 3777), (500, 3777)] {
        let environment = Environment {
            cores,
            ..environment()
        };
        let plan = parse(text, "weir.toml", &environment).unwrap();
        assert_eq!(plan.memory_bytes_max, mebibytes << 20, "{cores} cores");
        assert_eq!(plan.shard.count, cores.min(64));
        assert!(plan.shard.pin);
    }
}

#[test]
fn every_stream_on_the_page_of_http_destinations_is_a_plan() {
    let page = fs::read_to_string(repository("docs/destinations/http.md")).unwrap();
    let blocks = page.split("```toml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().expect("the block's end"));
    let streams: Vec<_> = blocks
        .filter(|block| block.starts_with("[stream."))
        .collect();
    assert_eq!(streams.len(), 8);
    for stream in streams {
        let plan = plan_of(&format!(
            "[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n{stream}"
        ));
        assert_eq!(plan.streams.len(), 1, "{stream}");
    }
}

#[test]
fn a_preset_sets_what_is_left_out_and_nothing_else() {
    let of = |keys: &str| {
        let text = format!("[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n[stream.s.http]\n{keys}");
        plan_of(&text).streams.remove(0)
    };
    let SinkSettings::Http(plain) = of("url = \"http://h\"").sink else {
        panic!("it is http");
    };
    assert_eq!(plain.urls, ["http://h/"]);
    assert_eq!(
        (plain.replies, plain.compression),
        (ReplyForm::Status, Compression::Gzip)
    );
    assert_eq!(
        (plain.token, plain.body_bytes_max, plain.content_type),
        (None, None, None)
    );

    let preset =
        of("preset = \"cloud_logs\"\nurl = [\"https://a\", \"https://b/x\"]\ntoken = \"tok\"");
    assert_eq!(preset.stream.batch.bytes_max, 1 << 20);
    let shape = preset.stream.template.map(|template| template.shape);
    assert_eq!(shape, Some(Shape::IclSingles));
    let SinkSettings::Http(http) = preset.sink else {
        panic!("it is http");
    };
    assert_eq!(http.urls, ["https://a/logs/v1/singles", "https://b/x"]);
    assert_eq!(
        (http.replies, http.compression),
        (ReplyForm::CloudLogs, Compression::Identity)
    );
    assert_eq!(http.content_type.unwrap(), "application/json");
    assert_eq!(http.body_bytes_max, Some(2_000_000));
    let token = http.token.unwrap();
    assert_eq!(
        (token.scheme, token.source),
        (TokenScheme::Bearer, TokenSource::Text("tok".into()))
    );

    let own = of(
        "preset = \"azion\"\nurl = \"http://h/in\"\ncompression = \"gzip\"\n\
         [stream.s.batch]\nage = \"1s\"\n[stream.s.template]\nshape = \"raw\"",
    );
    let batch = own.stream.batch;
    assert_eq!(
        (batch.age_max, batch.records_max),
        (Duration::from_secs(1), Some(2000))
    );
    assert_eq!(
        own.stream.template.map(|template| template.shape),
        Some(Shape::Raw)
    );
    let SinkSettings::Http(http) = own.sink else {
        panic!("it is http");
    };
    assert_eq!(
        (http.urls, http.compression),
        (vec!["http://h/in".parse().unwrap()], Compression::Gzip)
    );

    let acknowledged =
        of("preset = \"splunk_hec\"\nurl = \"http://h\"\nindexer_acknowledgement = true");
    let SinkSettings::Http(http) = acknowledged.sink else {
        panic!("it is http");
    };
    let five_minutes = Some(Duration::from_secs(300));
    assert_eq!(
        http.replies,
        ReplyForm::SplunkHec {
            acknowledgement: five_minutes
        }
    );
}

#[test]
fn tokens_are_kept_but_never_shown() {
    let text = "[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n[stream.s.http]\nurl = \"https://siem\"\n\
                token = \"sesame\"\nproxy = \"http://proxy:1\"\nproxy_authorization = \"sesame\"\n";
    let plan = plan_of(text);
    assert!(!format!("{plan:?}").contains("sesame"), "{plan:?}");
    let described = describe(&plan);
    assert!(!described.contains("sesame"), "{described}");
    assert!(
        described.contains("a token, through the proxy proxy:1"),
        "{described}"
    );
}

#[test]
fn header_values_are_kept_but_never_shown() {
    let text = "[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n\
                [stream.s.http]\nurl = \"https://siem/in?key=sesame\"\n\
                headers = { Authorization = \"sesame\" }\n";
    let plan = plan_of(text);
    let SinkSettings::Http(http) = &plan.streams[0].sink else {
        panic!("{:?}", plan.streams[0].sink);
    };
    assert_eq!(http.headers[0].1, "sesame");
    assert!(!format!("{:?}", http.headers).contains("sesame"));
    assert!(!describe(&plan).contains("sesame"), "{}", describe(&plan));
}

#[test]
fn limits_of_batches_follow_from_the_destination() {
    let plan = plan_of(
        "[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n\
         [stream.web.http]\nurl = \"https://siem/in\"\n\
         [stream.lake.s3]\nhost = \"http://minio:9000\"\nbucket = \"events\"\n\
         [stream.all]\nbatch.records = 0\n\
         s3 = { host = \"http://minio:9000\", bucket = \"events\" }\n",
    );
    let limits = plan.streams.iter().map(|plan| {
        let batch = &plan.stream.batch;
        (
            batch.bytes_max >> 20,
            batch.age_max.as_secs(),
            batch.records_max,
        )
    });
    let expected = [(8, 1, None), (256, 60, Some(2000)), (256, 60, None)];
    assert_eq!(limits.collect::<Vec<_>>(), expected);
}

/// Everything else here is of the program with all its destinations.
#[cfg(not(feature = "s3"))]
#[test]
fn a_program_built_without_a_destination_says_so() {
    let text = "[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n\
                [stream.s.s3]\nhost = \"https://s3.example.com\"\nbucket = \"events\"\n";
    assert_eq!(
        read(text).unwrap_err().to_string(),
        "weir.toml:3: stream \"s\": s3 is for a destination this program was built without; build \
         it with the cargo feature s3\n1 mistake; nothing was started"
    );
}

#[test]
fn what_an_s3_destination_does_follows_from_its_host() {
    for (host, path_style, sign_body) in [
        ("https://s3.eu-west-1.amazonaws.com", false, false),
        ("https://s3.cn-north-1.amazonaws.com.cn", false, false),
        ("https://amazonaws.com.example.com", true, false),
        ("http://127.0.0.1:9000/", true, true),
    ] {
        let plan = plan_of(&format!(
            "[input.a.tcp]\nlisten = \"127.0.0.1:0\"\n\
             [stream.s.s3]\nhost = \"{host}\"\nbucket = \"events\"\n\
             access_key = \"A\"\nsecret_key = \"sesame\"\n"
        ));
        let SinkSettings::S3(s3) = &plan.streams[0].sink else {
            panic!("{:?}", plan.streams[0].sink);
        };
        assert_eq!((s3.path_style, s3.sign_body), (path_style, sign_body));
        for shown in [format!("{plan:?}"), describe(&plan)] {
            assert!(!shown.contains("sesame"), "{shown}");
        }
    }
}

#[test]
fn a_plan_is_described_in_a_few_lines() {
    let full = fs::read_to_string(repository("examples/full.toml")).unwrap();
    let path = repository("tests/data/config/full.description");
    assert_file_holds(&path, &describe(&plan_of(&full)));
}

#[test]
fn a_file_that_cannot_be_read_is_said_so() {
    let missing = load(Path::new("no/such/weir.toml"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        missing,
        "no/such/weir.toml: cannot be read: No such file or directory (os error 2); check path \
         and rights\n1 mistake; nothing was started"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.toml");
    fs::write(&path, b"[node]\ndata_dir = \"\xff\"\n").unwrap();
    let errors = load(&path).unwrap_err().to_string();
    assert!(
        errors.contains("line 2 is not UTF-8; save the file as UTF-8"),
        "{errors}"
    );
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    let errors = load(&path).unwrap_err().to_string();
    assert!(
        errors.contains("is longer than 1 MiB; is it a configuration?"),
        "{errors}"
    );
}

mod any_text {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gives_a_plan_or_mistakes(text in ".*") {
            fuzz_parse(&text);
        }

        /// A good file with a piece cut out or put in elsewhere.
        #[test]
        fn near_a_good_file_gives_a_plan_or_mistakes(
            from in 0usize..4000, length in 0usize..60, to in 0usize..4000, keep in any::<bool>(),
        ) {
            let full = fs::read_to_string(repository("examples/full.toml")).unwrap();
            let mut bytes = full.into_bytes();
            let from = from.min(bytes.len());
            let end = (from + length).min(bytes.len());
            let piece: Vec<u8> = bytes.drain(from..end).collect();
            if keep {
                let to = to.min(bytes.len());
                bytes.splice(to..to, piece);
            }
            if let Ok(text) = String::from_utf8(bytes) {
                fuzz_parse(&text);
            }
        }
    }
}

#[test]
fn dead_letters_are_kept_as_the_file_says() {
    let stream = "[input.apps.tcp]\nlisten = \"127.0.0.1:9000\"\n\
                  [stream.siem.file]\npath = \"/srv/out/siem.ndjson\"\n";
    let letters_of = |more: &str| plan_of(&format!("{stream}{more}")).streams[0].letters;
    assert_eq!(letters_of(""), LettersSettings::default());
    let evicting = "[stream.siem.dead_letters]\nbytes_max = \"1 MiB\"\nwhen_full = \"evict\"\n";
    let expected = LettersSettings {
        bytes_max: 1 << 20,
        when_full: WhenLettersFull::Evict,
    };
    assert_eq!(letters_of(evicting), expected);
    let told = describe(&plan_of(&format!("{stream}{evicting}")));
    let words = "; keeps 1 MiB of dead letters; removes its oldest dead letters when they are full";
    assert!(told.contains(words), "{told}");
}
