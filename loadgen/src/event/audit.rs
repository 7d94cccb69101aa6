//! Audit events of about 1.4 KB in the Activity Tracker form.
//!
//! Owns the vocabulary (services, objects, verbs, users, agents) and the order of fields. Leaves
//! the stamp (run, sender, sequence, time) to `event`, which appends it after the last field.

use std::fmt::Write as _;

use super::random::Random;

/// Appends formatted text to a `String`, which cannot fail.
macro_rules! put {
    ($out:expr, $($arguments:tt)*) => {
        write!($out, $($arguments)*).expect("writing to a String cannot fail")
    };
}

/// The people, accounts and instances of one run: drawn once, so that events share them as the
/// events of a real account do.
pub(super) struct Account {
    account: String,
    users: Vec<(String, String)>,
    instances: Vec<String>,
    /// Most events touch a resource that others touch too.
    resources: Vec<String>,
    addresses: Vec<String>,
    session: Session,
    /// Hundredths of a second since midnight; advances from event to event.
    now_cs: u64,
}

/// Who does what where for a few events in a row, as scripts and consoles do.
#[derive(Debug, Clone, Copy, Default)]
struct Session {
    user: usize,
    initiator: usize,
    address: usize,
    agent: usize,
    service: usize,
    region: usize,
    instance: usize,
}

impl Account {
    /// A few hundred users and instances of one account.
    pub(super) fn draw(random: &mut Random) -> Self {
        let users = (0..300).map(|_| user(random)).collect();
        let instances = (0..40).map(|_| random.guid()).collect();
        let resources = (0..200).map(|_| random.guid()).collect();
        let addresses = (0..250).map(|_| random.address()).collect();
        let account = format!("{:016x}{:016x}", random.bits(), random.bits());
        Self {
            account,
            users,
            instances,
            resources,
            addresses,
            session: Session::default(),
            now_cs: 4_000_000,
        }
    }

    /// The time goes on and sometimes somebody else begins.
    fn advance(&mut self, random: &mut Random) {
        self.now_cs += random.below(8);
        if random.chance(SESSION_END_PERCENT) {
            self.session = Session {
                user: random.skewed(self.users.len()),
                initiator: random.skewed(INITIATORS.len()),
                address: random.skewed(self.addresses.len()),
                agent: random.skewed(AGENTS.len()),
                service: random.skewed(SERVICES.len()),
                region: random.skewed(REGIONS.len()),
                instance: random.skewed(self.instances.len()),
            };
        }
    }
}

/// Appends one event, without its closing brace and without a line end.
pub(super) fn write_event(out: &mut String, random: &mut Random, account: &mut Account) {
    account.advance(random);
    let session = account.session;
    let (service, display) = SERVICES[session.service];
    let object = OBJECTS[random.skewed(OBJECTS.len())];
    let verb = VERBS[random.skewed(VERBS.len())];
    let region = REGIONS[session.region];
    let instance = &account.instances[session.instance];
    let resource = if random.chance(20) {
        random.guid()
    } else {
        account.resources[random.skewed(account.resources.len())].clone()
    };
    let crn = format!(
        "crn:v1:bluemix:public:{service}:{region}:a/{}:{instance}",
        account.account
    );
    let failed = random.chance(7);
    let (code, reason) = if failed {
        FAILURES[random.index(FAILURES.len())]
    } else {
        (200, "OK")
    };
    let outcome = if failed { "failure" } else { "success" };
    let severity = severity(code, verb);
    let name = format!(
        "{object}-{}-{:02}",
        PLACES[random.skewed(PLACES.len())],
        random.skewed(40)
    );
    let suffix = if failed { " -failure" } else { "" };
    let data_event = random.chance(30);
    put!(out, "{{\"eventTime\":\"{}\",", event_time(account.now_cs));
    put!(
        out,
        "\"action\":\"{service}.{object}.{verb}\",\"outcome\":\"{outcome}\","
    );
    put!(
        out,
        "\"message\":\"{display}: {verb} {object} {name}{suffix}\","
    );
    put!(
        out,
        "\"severity\":\"{severity}\",\"dataEvent\":{data_event},"
    );
    put!(
        out,
        "\"saveServiceCopy\":true,\"logSourceCRN\":\"{crn}::\","
    );
    put!(out, "\"correlationId\":\"{}\",", random.guid());
    write_initiator(out, account);
    put!(
        out,
        "\"target\":{{\"id\":\"{crn}:{object}:{resource}\",\"name\":\"{name}\","
    );
    put!(
        out,
        "\"typeURI\":\"{service}/{object}\",\"resourceGroupId\":\""
    );
    put!(
        out,
        "crn:v1:bluemix:public:resource-controller::a/{}::",
        account.account
    );
    put!(
        out,
        "resource-group:{}\"}},",
        account.instances[random.skewed(12)]
    );
    write_reason(out, random, code, reason);
    write_payloads(out, random, &name);
}

fn write_reason(out: &mut String, random: &mut Random, code: u16, reason: &str) {
    out.push_str("\"observer\":{\"name\":\"ActivityTracker\"},");
    put!(
        out,
        "\"reason\":{{\"reasonCode\":{code},\"reasonType\":\"{reason}\""
    );
    if code >= 400 {
        let explanation = random.pick(&EXPLANATIONS);
        put!(out, ",\"reasonForFailure\":\"{explanation}\"");
    }
    out.push_str("},");
}

/// The stamp's fields follow `responseData`, so the event ends in an open object.
fn write_payloads(out: &mut String, random: &mut Random, name: &str) {
    let page = 10 * (1 + random.below(20));
    put!(out, "\"requestData\":{{\"apiVersion\":\"2024-10-15\",");
    put!(out, "\"name\":\"{name}\",\"limit\":{page},");
    put!(out, "\"tags\":[\"env:{}\",", random.pick(&ENVIRONMENTS));
    put!(out, "\"team:{}\"],", TEAMS[random.skewed(TEAMS.len())]);
    match random.below(20) {
        0 => out.push_str("\"comment\":\"acesso n\u{e3}o autorizado \u{2014} revis\u{e3}o\","),
        1 => out.push_str("\"comment\":\"quoted \\\"value\\\" in C:\\\\temp\\\\job\","),
        2 => out.push_str("\"comment\":\"\\u00e9tat \\ud83d\\udd12 \\t(checked)\","),
        _ => {}
    }
    put!(out, "\"dryRun\":{}}},", random.chance(5));
    put!(
        out,
        "\"responseData\":{{\"status\":\"{}\",",
        random.pick(&STATES)
    );
    put!(out, "\"durationMs\":{}}}", 3 + random.skewed(400));
}

fn write_initiator(out: &mut String, account: &Account) {
    let session = account.session;
    let (id, name) = &account.users[session.user];
    let (uri, credential) = INITIATORS[session.initiator];
    put!(out, "\"initiator\":{{\"id\":\"{id}\",\"name\":\"{name}\",");
    put!(out, "\"typeURI\":\"service/security/{uri}\",");
    put!(out, "\"credential\":{{\"type\":\"{credential}\"}},");
    let address = &account.addresses[session.address];
    put!(
        out,
        "\"host\":{{\"address\":\"{address}\",\"addressType\":\"IPv4\","
    );
    put!(out, "\"agent\":\"{}\"}}}},", AGENTS[session.agent]);
}

fn user(random: &mut Random) -> (String, String) {
    let suffix = format!("{:05x}{:05X}", random.bits() >> 44, random.bits() >> 44);
    let (first, last) = (random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES));
    if random.chance(30) {
        (
            format!("iam-ServiceId-{}", random.guid()),
            format!("{last}-{first}-automation"),
        )
    } else {
        (
            format!("IBMid-{suffix}"),
            format!("{first}.{last}@example.com"),
        )
    }
}

/// UTC with two fraction digits and an offset without colon, as the platform writes it.
fn event_time(now_cs: u64) -> String {
    let seconds = now_cs / 100 % 86_400;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!(
        "2025-11-21T{hour:02}:{minute:02}:{second:02}.{:02}+0000",
        now_cs % 100
    )
}

/// The platform's table: unauthorised and deleted things are critical, other failures and updates
/// are warnings.
fn severity(code: u16, verb: &str) -> &'static str {
    match (code, verb) {
        (401 | 403 | 503, _) | (_, "delete" | "revoke" | "rotate") => "critical",
        (400.., _) | (_, "update" | "create") => "warning",
        _ => "normal",
    }
}

/// A session has two or three events on average.
const SESSION_END_PERCENT: u64 = 40;
const SERVICES: [(&str, &str); 18] = [
    ("iam-identity", "IAM Identity Service"),
    ("iam-am", "IAM Access Management"),
    ("cloud-object-storage", "Object Storage"),
    ("containers-kubernetes", "Kubernetes Service"),
    ("is.instance", "Virtual Private Cloud"),
    ("is.vpc", "Virtual Private Cloud"),
    ("is.security-group", "Virtual Private Cloud"),
    ("kms", "Key Protect"),
    ("secrets-manager", "Secrets Manager"),
    ("resource-controller", "Resource Controller"),
    ("logdnaat", "Activity Tracker"),
    ("databases-for-postgresql", "Databases for PostgreSQL"),
    ("event-streams", "Event Streams"),
    ("codeengine", "Code Engine"),
    ("internet-svcs", "Internet Services"),
    ("schematics", "Schematics"),
    ("container-registry", "Container Registry"),
    ("billing", "Billing"),
];
const OBJECTS: [&str; 20] = [
    "object",
    "instance",
    "policy",
    "secret",
    "bucket",
    "account-apikey",
    "cluster",
    "service-key",
    "user-apikey",
    "volume",
    "subnet",
    "rule",
    "access-group",
    "token",
    "worker-pool",
    "image",
    "backup",
    "dns-record",
    "certificate",
    "workspace",
];
const VERBS: [&str; 16] = [
    "read",
    "list",
    "update",
    "create",
    "delete",
    "authenticate",
    "wrap",
    "unwrap",
    "configure",
    "attach",
    "rotate",
    "restore",
    "export",
    "enable",
    "disable",
    "revoke",
];
const REGIONS: [&str; 8] = [
    "br-sao", "us-south", "us-east", "eu-de", "eu-gb", "jp-tok", "au-syd", "ca-tor",
];
const FAILURES: [(u16, &str); 7] = [
    (403, "Forbidden"),
    (404, "Not Found"),
    (401, "Unauthorized"),
    (409, "Conflict"),
    (400, "Bad Request"),
    (500, "Internal Server Error"),
    (503, "Service Unavailable"),
];
const EXPLANATIONS: [&str; 6] = [
    "User is not authorized to perform this action",
    "The resource could not be found or was deleted",
    "Precondition failed: the resource has been changed by someone else",
    "Quota of the account is exceeded for this region",
    "The supplied token has expired, authenticate again",
    "Upstream did not answer within the time limit",
];
const INITIATORS: [(&str, &str); 6] = [
    ("account/user", "token"),
    ("account/serviceid", "apikey"),
    ("account/user", "user"),
    ("clientid", "apikey-serviceid"),
    ("client/certificateid", "certificate"),
    ("account/serviceid", "compute-resource"),
];
const AGENTS: [&str; 12] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17.6 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "terraform-provider-ibm/1.70.1 (linux; amd64) go1.22.5",
    "IBM Cloud CLI/2.29.0 (linux; amd64) plugin/container-service 1.0.650",
    "kube-controller-manager/v1.30.4 (linux/amd64) kubernetes/a51b3b7/cloud-provider",
    "aws-sdk-java/1.12.772 Linux/5.15.0-122-generic OpenJDK_64-Bit_Server_VM/17.0.12",
    "python-requests/2.32.3",
    "cos-sdk-go/1.11.0 (linux; amd64)",
    "Go-http-client/1.1",
    "curl/8.5.0",
    "okhttp/4.12.0",
];
const FIRST_NAMES: [&str; 24] = [
    "ana", "bruno", "carla", "daniel", "elena", "fabio", "grace", "hiro", "ines", "joao", "karin",
    "lucas", "marta", "nuno", "olga", "paulo", "quentin", "rita", "sofia", "tiago", "ursula",
    "victor", "wendy", "yuki",
];
const LAST_NAMES: [&str; 24] = [
    "almeida", "barbosa", "costa", "dias", "esteves", "ferreira", "gomes", "hansen", "ito",
    "jensen", "kumar", "lopes", "martins", "nakamura", "oliveira", "pereira", "ramos", "santos",
    "teixeira", "vieira", "weber", "xavier", "yamada", "zimmer",
];
const PLACES: [&str; 16] = [
    "frontend",
    "payments",
    "ledger",
    "checkout",
    "archive",
    "reports",
    "search",
    "identity",
    "gateway",
    "backoffice",
    "mobile",
    "partner",
    "analytics",
    "staging",
    "sandbox",
    "edge",
];
const ENVIRONMENTS: [&str; 4] = ["production", "staging", "development", "dr"];
const TEAMS: [&str; 10] = [
    "platform", "security", "data", "payments", "mobile", "core", "sre", "risk", "web", "partners",
];
const STATES: [&str; 6] = [
    "active",
    "provisioning",
    "updating",
    "ready",
    "deleted",
    "unchanged",
];
