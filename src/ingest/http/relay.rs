//! The receiving side of a relay: `POST /logs/selfstream`, from another Weir.
//!
//! Owns who may send (a token each, told by name), what is kept of where events come from, and that a batch
//! which is sent again is stored once. **Provenance** is the label `_source` in `meta`, made from the
//! authenticated token, never from the bytes of an event:
//!
//! ```text
//! {"_source":{"token":"NAME","node":"ID","batch":"IDEMPOTENCY-KEY"}}
//! ```
//!
//! **Once.** A batch is known by its token and its `Idempotency-Key`. The key stands in the labels of the
//! batch's events, so it is durable with each block of them and never without: after a crash the node reads
//! the labels of its newest events again ([`RelayLedger::add_stored`]) and knows how many events of a batch it
//! has. A batch that comes again is judged as the first time, and only the events behind those are stored.
//! While a try is under way another one of the same batch is sent away. What is forgotten: all but the newest
//! [`BATCHES_KEPT_MAX`] batches of a token, and what stands further back in the journals than the node looks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, Method};
use memchr::memmem;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::answer::Refusal;
use super::labels::shortened;
use crate::event::Labels;
use crate::filter::{PathId, Paths, Walker};
use crate::ingest::settings::RelayToken;

/// Where relayed events are posted to.
pub(super) const RELAY_PATH: &str = "/logs/selfstream";

/// The identity of a batch.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The id of the node that sends.
const NODE: HeaderName = HeaderName::from_static("x-weir-node");

/// Longest identity or node id, in bytes.
const IDENTITY_BYTES_MAX: usize = 256;

/// Batches that are remembered of a token. A sender has one batch under way for each of its journals and
/// streams, and sends none anew before it has an answer to the one before.
const BATCHES_KEPT_MAX: usize = 4096;

/// Why a relay's request cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RelayError {
    #[error(
        "header {name}: must be given once, with 1 to {IDENTITY_BYTES_MAX} printable ASCII characters; \
         it is the identity by which a batch is stored once"
    )]
    Identity { name: HeaderName },
    #[error("Content-Type {given:?}: only application/x-ndjson is taken here, events as they came")]
    ContentType { given: String },
}

/// Where the events of a request come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    token: Arc<str>,
    node: Option<Box<str>>,
    batch: Box<str>,
    host: Option<Box<str>>,
}

impl Origin {
    /// Authenticates a request and reads where its events come from.
    pub(super) fn of_request(head: &Parts, tokens: &[RelayToken]) -> Result<Self, Refusal> {
        let token = authenticated(head, tokens).ok_or(Refusal::Unauthorized)?;
        if head.method != Method::POST {
            return Err(Refusal::Method {
                method: shortened(head.method.as_str()),
            });
        }
        let given = head.headers.get(CONTENT_TYPE);
        let given = given.map_or("", |given| given.to_str().unwrap_or("not readable"));
        let media_type = given.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-ndjson") {
            let given = shortened(given);
            return Err(RelayError::ContentType { given }.into());
        }
        let batch = identity(head, IDEMPOTENCY_KEY)?;
        let batch = batch.ok_or(RelayError::Identity {
            name: IDEMPOTENCY_KEY,
        })?;
        Ok(Self {
            token: Arc::clone(&token.name),
            node: identity(head, NODE)?,
            batch,
            host: host(head.uri.query().unwrap_or_default()),
        })
    }

    /// The labels of its events, over those of the input.
    pub(super) fn labels(&self, defaults: &Labels) -> Labels {
        let provenance = Provenance {
            source: Source {
                token: self.token.as_ref().into(),
                node: self.node.as_deref().map(Into::into),
                batch: self.batch.as_ref().into(),
            },
        };
        let meta = serde_json::to_string(&provenance).expect("strings are always JSON");
        Labels {
            meta: Some(meta.into()),
            sender: Some(self.token.as_ref().into()),
            host: self.host.clone().or_else(|| defaults.host.clone()),
            ..defaults.clone()
        }
    }
}

/// The label as it is written and read back.
#[derive(Debug, Serialize, Deserialize)]
struct Provenance {
    #[serde(rename = "_source")]
    source: Source,
}

#[derive(Debug, Serialize, Deserialize)]
struct Source {
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    batch: String,
}

/// The token a request shows. All are compared, each in constant time, so that the time tells nothing.
fn authenticated<'t>(head: &Parts, tokens: &'t [RelayToken]) -> Option<&'t RelayToken> {
    let shown = head.headers.get(AUTHORIZATION)?.as_bytes();
    let mut found = None;
    for token in tokens {
        if bool::from(token.authorization.as_bytes().ct_eq(shown)) {
            found = Some(token);
        }
    }
    found
}

fn identity(head: &Parts, name: HeaderName) -> Result<Option<Box<str>>, RelayError> {
    let mut values = head.headers.get_all(&name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let is_sound = (1..=IDENTITY_BYTES_MAX).contains(&text.len()) && values.next().is_none();
    if is_sound && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Some(text.into()))
    } else {
        Err(RelayError::Identity { name })
    }
}

/// The parameter `hostname`, when it can be a label as it stands. Other parameters, which are those of
/// LogDNA's ingestion (`now`, `ip`, `mac`, `tags`), are ignored.
fn host(query: &str) -> Option<Box<str>> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("hostname="))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let is_sound = (1..=IDENTITY_BYTES_MAX).contains(&value.len()) && value.bytes().all(is_plain);
    is_sound.then(|| value.into())
}

/// Finds events that came over a relay before they came over this one.
pub(super) struct LoopCheck {
    paths: Paths,
    path: PathId,
    walker: Walker,
}

impl LoopCheck {
    pub(super) fn new() -> Self {
        let mut paths = Paths::new();
        let path = paths.add(&["_meta".into(), "_source".into()]);
        Self {
            path,
            paths,
            walker: Walker::new(),
        }
    }

    /// Whether the event has `_meta._source`.
    pub(super) fn finds(&mut self, line: &[u8]) -> bool {
        // A key that is spelled with escapes is one too.
        let may_have =
            memmem::find(line, b"_source").is_some() || memchr::memchr(b'\\', line).is_some();
        if !may_have {
            return false;
        }
        self.walker.begin(&self.paths, line);
        self.walker.find(&self.paths, line, self.path).is_some()
    }
}

impl std::fmt::Debug for LoopCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoopCheck")
    }
}

impl std::fmt::Debug for RelayLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayLedger").finish_non_exhaustive()
    }
}

/// Which batches of which tokens are stored; one for all shards of a node.
#[derive(Default)]
pub struct RelayLedger {
    tokens: Mutex<HashMap<Box<str>, Batches>>,
}

/// The batches of one token.
#[derive(Debug, Default)]
struct Batches {
    known: HashMap<Box<str>, Known>,
    /// In the order they were first seen.
    order: VecDeque<Box<str>>,
}

/// What is known of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// Events of it that are durable; `None` before the first try has ended.
    stored: Option<u64>,
    /// A try is under way.
    claimed: bool,
}

impl RelayLedger {
    /// Adds what a run of events in a journal says: events of one batch, durable. Labels that say nothing of
    /// a relay are ignored, and so is a provenance that is not of the token the sender showed.
    pub fn add_stored(&self, labels: &Labels, events: u64) {
        let (Some(sender), Some(meta)) = (&labels.sender, &labels.meta) else {
            return;
        };
        let Ok(Provenance { source }) = serde_json::from_str(meta) else {
            return;
        };
        if *source.token == **sender {
            let mut tokens = self.lock();
            let batches = tokens.entry(sender.clone()).or_default();
            let known = batches.known(&source.batch);
            known.stored = Some(known.stored.unwrap_or(0) + events);
        }
    }

    /// Begins a try of a batch; `None` while another one is under way.
    pub(super) fn claim(self: &Arc<Self>, origin: &Origin) -> Option<Claim> {
        let mut tokens = self.lock();
        let batches = tokens.entry(origin.token.as_ref().into()).or_default();
        let known = batches.known(&origin.batch);
        if known.claimed {
            return None;
        }
        known.claimed = true;
        Some(Claim {
            ledger: Arc::clone(self),
            token: Arc::clone(&origin.token),
            batch: origin.batch.clone(),
            stored: known.stored,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Batches>> {
        // What a panic elsewhere left is whole: every change is one assignment.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batches {
    /// The entry of a batch; a new one takes the place of the oldest when there are enough.
    fn known(&mut self, batch: &str) -> &mut Known {
        if !self.known.contains_key(batch) {
            let claimed = |known: &HashMap<Box<str>, Known>, batch: &str| {
                known.get(batch).is_some_and(|known| known.claimed)
            };
            if self.order.len() >= BATCHES_KEPT_MAX
                && let Some(place) = (self.order.iter()).position(|one| !claimed(&self.known, one))
                && let Some(oldest) = self.order.remove(place)
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(batch.into());
        }
        self.known.entry(batch.into()).or_insert(Known {
            stored: None,
            claimed: false,
        })
    }
}

/// A try of a batch that is under way. Dropped without [`Claim::settle`], it leaves what was known before.
#[derive(Debug)]
pub(super) struct Claim {
    ledger: Arc<RelayLedger>,
    token: Arc<str>,
    batch: Box<str>,
    /// Events of the batch that are stored already; `None`: it was never seen whole or in part.
    pub(super) stored: Option<u64>,
}

impl Claim {
    /// The batch's events, all of them, are durable.
    pub(super) fn settle(mut self, events: u64) {
        self.stored = Some(events);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut tokens = self.ledger.lock();
        let known = tokens
            .get_mut(&*self.token)
            .and_then(|batches| batches.known.get_mut(&self.batch));
        if let Some(known) = known {
            known.claimed = false;
            known.stored = self.stored;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::InputId;

    fn origin(batch: &str) -> Origin {
        Origin {
            token: "siteA".into(),
            node: Some("node-1".into()),
            batch: batch.into(),
            host: None,
        }
    }

    fn stored(ledger: &Arc<RelayLedger>, batch: &str) -> Option<u64> {
        ledger
            .claim(&origin(batch))
            .expect("no try under way")
            .stored
    }

    #[test]
    fn a_batch_has_one_try_at_a_time_and_is_known_after_it() {
        let ledger = Arc::<RelayLedger>::default();
        let first = ledger.claim(&origin("a")).expect("a new batch");
        assert_eq!(first.stored, None);
        assert!(ledger.claim(&origin("a")).is_none());
        assert!(ledger.claim(&origin("b")).is_some());
        drop(first);
        assert_eq!(stored(&ledger, "a"), None);
        ledger.claim(&origin("a")).expect("free again").settle(7);
        assert_eq!(stored(&ledger, "a"), Some(7));
        assert_eq!(stored(&ledger, "b"), None);
    }

    #[test]
    fn what_labels_in_the_journal_say_is_known_again() {
        let ledger = Arc::<RelayLedger>::default();
        let labels = origin("a").labels(&Labels::of_input(InputId(0)));
        assert_eq!(
            labels.meta.as_deref(),
            Some(r#"{"_source":{"token":"siteA","node":"node-1","batch":"a"}}"#)
        );
        ledger.add_stored(&labels, 3);
        ledger.add_stored(&labels, 4);
        let forged = Labels {
            sender: Some("siteB".into()),
            ..labels.clone()
        };
        ledger.add_stored(&forged, 100);
        ledger.add_stored(&Labels::of_input(InputId(0)), 100);
        assert_eq!(stored(&ledger, "a"), Some(7));
    }

    #[test]
    fn the_oldest_batches_are_forgotten_but_none_that_is_under_way() {
        let ledger = Arc::<RelayLedger>::default();
        let under_way = ledger.claim(&origin("first")).expect("a new batch");
        for number in 0..=BATCHES_KEPT_MAX {
            let claim = ledger.claim(&origin(&number.to_string()));
            claim.expect("a new batch").settle(1);
        }
        assert!(ledger.claim(&origin("first")).is_none());
        drop(under_way);
        assert_eq!(stored(&ledger, &BATCHES_KEPT_MAX.to_string()), Some(1));
        assert_eq!(stored(&ledger, "2"), Some(1));
        assert_eq!(stored(&ledger, "0"), None);
    }

    #[test]
    fn an_event_that_came_over_a_relay_before_is_found() {
        let mut check = LoopCheck::new();
        let mut finds = |line: &str| check.finds(line.as_bytes());
        assert!(finds(r#"{"a":1,"_meta":{"x":1,"_source":{"token":"t"}}}"#));
        assert!(finds(r#"{"_meta":{"\u005fsource":1}}"#));
        assert!(!finds(r#"{"_meta":{"x":1}}"#));
        assert!(!finds(r#"{"_source":{"_meta":1}}"#));
        assert!(!finds(r#"{"text":"_meta _source"}"#));
        assert!(!finds("{}"));
    }
}
