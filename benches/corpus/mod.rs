//! Event lines for the benches: audit events of about 1.4 KB and WAF events of about 220 B.
//!
//! Values vary as they do in the field (GUIDs, addresses, times, names of a few hundred users),
//! because the compression ratio, and with it every figure, hangs on them. The same seed gives
//! the same bytes.

use std::fmt::Write;

/// A xorshift generator: enough for values, and no dependency.
pub(crate) struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let at = usize::try_from(self.below(words.len() as u64)).expect("an index fits");
        words[at]
    }

    fn guid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        let hex = format!("{a:016x}{b:016x}");
        format!(
            "{}-{}-4{}-a{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..32]
        )
    }

    fn address(&mut self) -> String {
        format!(
            "{}.{}.{}.{}",
            self.pick(&["10", "172", "192", "169", "52", "158"]),
            self.below(256),
            self.below(256),
            self.below(256)
        )
    }
}

/// Raw form of a block of exactly `len` bytes: whole audit events, the last cut.
pub(crate) fn audit_block(len: usize, seed: u64) -> Vec<u8> {
    lines(len, seed, audit_event)
}

/// Raw form of a block of exactly `len` bytes: whole WAF events, the last cut.
#[allow(dead_code, reason = "each bench uses its part of the corpus")]
pub(crate) fn waf_block(len: usize, seed: u64) -> Vec<u8> {
    lines(len, seed, waf_event)
}

fn lines(len: usize, seed: u64, event: fn(&mut Dice, u64, &mut String)) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut text = String::with_capacity(len + 4096);
    let mut sequence = seed * 1_000_000;
    while text.len() < len {
        event(&mut dice, sequence, &mut text);
        text.push('\n');
        sequence += 1;
    }
    let mut raw = text.into_bytes();
    raw.truncate(len);
    raw
}

fn audit_event(dice: &mut Dice, sequence: u64, out: &mut String) {
    let service = dice.pick(&[
        "iam-identity",
        "cloud-object-storage",
        "kms",
        "is.vpc",
        "logs",
    ]);
    let verb = dice.pick(&["create", "read", "update", "delete", "list", "login"]);
    let region = dice.pick(&["us-south", "eu-de", "br-sao", "jp-tok", "global"]);
    let (code, outcome, level) = match dice.below(20) {
        0 => (403, "failure", "warning"),
        1 => (404, "failure", "warning"),
        _ => (200, "success", "normal"),
    };
    let account = ["a5f1", "77c0", "b2e9", "10dd"][usize::try_from(dice.below(4)).expect("small")];
    let (user, number) = (dice.below(400), dice.below(300));
    let (millis, minute) = (dice.below(1000), sequence / 600 % 60);
    let second = sequence / 10 % 60;
    // What stays the same: an instance keeps its id, a user the key.
    let target = Dice::new(number + 1).guid();
    let request = dice.guid();
    write!(
        out,
        concat!(
            r#"{{"eventTime":"2026-03-14T09:{minute:02}:{second:02}.{millis:03}+0000","#,
            r#""action":"{service}.instance.{verb}","outcome":"{outcome}","severity":"{level}","#,
            r#""message":"{service}: {verb} instance {target}","id":"{id}","typeURI":"http://schemas.dmtf.org/cloud/audit/1.0/event","#,
            r#""eventType":"activity","initiator":{{"id":"IBMid-{user:010}","name":"user{user}@example.com","#,
            r#""typeURI":"service/security/account/user","authnName":"user{user}","credential":{{"type":"{credential}","id":"ApiKey-{key}"}},"#,
            r#""host":{{"address":"{address}","addressType":"IPv4","agent":"{agent}"}}}},"#,
            r#""target":{{"id":"crn:v1:bluemix:public:{service}:{region}:a/{account}9e3d51c24c6b8f0ad7b1f0aa:{target}::","#,
            r#""name":"instance-{number}","typeURI":"{service}/instance","resourceGroupId":"crn:v1:bluemix:public:resource-controller::a/{account}9e3d51c24c6b8f0ad7b1f0aa::resource-group:{group}"}},"#,
            r#""observer":{{"name":"ActivityTracker","id":"crn:v1:bluemix:public:logdnaat:{region}:a/{account}::"}},"#,
            r#""reason":{{"reasonCode":{code},"reasonType":"{outcome}"}},"requestData":{{"requestId":"{request}","method":"{verb}","#,
            r#""path":"/v1/instances/{target}","bytes":{bytes},"updateType":"Config changed"}},"#,
            r#""responseData":{{"transactionId":"{transaction}","durationMs":{duration},"quota":{{"used":{used},"limit":5000}}}},"#,
            r#""correlationId":"{correlation}","logSourceCRN":"crn:v1:bluemix:public:{service}:{region}:a/{account}::","saveServiceCopy":true,"dataEvent":false,"seq":{sequence}}}"#
        ),
        minute = minute,
        second = second,
        millis = millis,
        service = service,
        verb = verb,
        outcome = outcome,
        level = level,
        target = target,
        id = dice.guid(),
        user = user,
        credential = dice.pick(&["apikey", "token", "user"]),
        key = Dice::new(user + 1000).guid(),
        address = dice.address(),
        agent = dice.pick(&[
            "python-requests/2.31.0",
            "Go-http-client/2.0",
            "Mozilla/5.0 (X11; Linux x86_64)",
            "ibmcloud-cli/2.23.0",
        ]),
        region = region,
        account = account,
        number = number,
        group = dice.pick(&["5c49eabc", "9a1b77ee", "00d3f4a2"]),
        code = code,
        request = request,
        bytes = dice.below(1 << 20),
        transaction = request,
        duration = dice.below(2500),
        used = dice.below(5000),
        correlation = dice.guid(),
        sequence = sequence,
    )
    .expect("a string takes all");
}

fn waf_event(dice: &mut Dice, sequence: u64, out: &mut String) {
    write!(
        out,
        r#"{{"ts":{},"client":"{}","method":"{}","uri":"/api/v2/{}/{}","status":{},"rule":{},"action":"{}","ua":{},"bytes":{},"req":"{:016x}","seq":{sequence}}}"#,
        1_773_480_000_000 + sequence * 3 + dice.below(3),
        dice.address(),
        dice.pick(&["GET", "GET", "GET", "POST", "PUT"]),
        dice.pick(&["orders", "users", "carts", "search", "login"]),
        dice.below(100_000),
        dice.pick(&["200", "200", "200", "301", "403", "404", "502"]),
        dice.pick(&["0", "0", "941100", "942190", "913100"]),
        dice.pick(&["pass", "pass", "block", "log"]),
        dice.below(64),
        dice.below(40_000),
        dice.next(),
    )
    .expect("a string takes all");
}
