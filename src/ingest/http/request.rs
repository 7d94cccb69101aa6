//! One request: its gate, its body, the admission of its lines and the answer.
//!
//! Owns the order of things. A request is refused before its body is read whenever that is
//! known; a body is read, decompressed and judged whole before the first of its lines is
//! admitted; admission is one step without a wait in it, so a body goes in whole or not at
//! all; and 200 is said only when the fate of every line is durable.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::HttpInput;
use super::answer::{Accepted, Answer, EVENTS_PATH, Refusal};
use super::body::{BodyLimits, ReservedBuffer, drop_rest, read_whole};
use super::counters::raise;
use super::decode::{DecodeLimits, Decompression, Encoding};
use super::judge::{BodyExclusion, Judgement, Judging, Rejected};
use super::labels::{LabelsCache, shortened};
use super::relay::{Claim, Origin, RELAY_PATH};
use super::watch::Watch;
use crate::budget::Grant;
use crate::event::Labels;
use crate::ingest::admission::Admission;
use crate::ingest::door::GateState;
use crate::ingest::fate::{Fate, Waiter};
use crate::ingest::gather::Judged;
use crate::ingest::reject::{RejectOrigin, RejectedLine};
use crate::metrics::ledger::RejectReason;

/// A connection, as its requests see it.
pub(super) struct Session {
    input: Rc<HttpInput>,
    watch: Rc<Watch>,
    labels: RefCell<LabelsCache>,
    peer: String,
}

/// Bytes of a refused body that are read and dropped, so that a client that first sends and
/// then listens hears why, and the connection lives on.
const DROPPED_BYTES_MAX: usize = 1024 * 1024;

impl Session {
    /// For a connection of `peer`.
    pub(super) fn new(input: Rc<HttpInput>, watch: Rc<Watch>, peer: SocketAddr) -> Self {
        let peer = peer.to_string();
        let labels = LabelsCache::new(Labels {
            peer: Some(peer.as_str().into()),
            ..input.settings().input.labels.clone()
        });
        Self {
            input,
            watch,
            labels: RefCell::new(labels),
            peer,
        }
    }

    /// Answers a request, whatever it is.
    pub(super) async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.watch.request_began();
        let counters = self.input.counters();
        let (head, mut body) = request.into_parts();
        let mut received = 0;
        let answer = match self.events(&head, &mut body, &mut received).await {
            Ok(answer) => answer,
            Err(refusal) => {
                counters.refused(refusal.reason());
                let goes_on = self
                    .get_past(&refusal, &head.headers, &mut body, &mut received)
                    .await;
                refusal.answer(!goes_on)
            }
        };
        if answer.close {
            self.watch.last_answer();
        }
        raise(&counters.body_bytes, received as u64);
        counters.answered(answer.status.as_u16());
        self.watch.request_answered();
        answer.into_response()
    }

    /// Takes the events of a request, or says why not.
    async fn events(
        &self,
        head: &Parts,
        body: &mut Incoming,
        received: &mut usize,
    ) -> Result<Answer, Refusal> {
        let settings = self.input.settings();
        let origin = if head.uri.path() == RELAY_PATH && !settings.relay.is_empty() {
            Some(Origin::of_request(head, &settings.relay)?)
        } else {
            check_target(head)?;
            None
        };
        let encoding = encoding(&head.headers)?;
        let labels = match &origin {
            Some(origin) => Arc::new(origin.labels(self.labels.borrow().defaults())),
            None => {
                let mut labels = self.labels.borrow_mut();
                labels.of_request(&head.uri, &head.headers)?
            }
        };
        let bytes_max = settings.body_bytes_max;
        if let Some(bytes) = body.size_hint().exact()
            && bytes > bytes_max as u64
        {
            return Err(Refusal::BodyTooLarge { bytes, bytes_max });
        }
        self.gate().await?;
        let limits = BodyLimits {
            bytes_max,
            timeout: settings.body_timeout,
        };
        let sent = read_whole(body, limits, self.input.door().budget(), received).await?;
        let body = self.decompressed(encoding, sent).await?;
        let judgement = self.judged(body, &labels, origin.is_some()).await?;
        self.gate().await?;
        // No wait between the gate and the admission.
        let admitted = match &origin {
            Some(origin) => self.admit_once(judgement, &labels, origin)?,
            None => self.admit(judgement, &labels),
        };
        admitted.answer().await
    }

    /// Waits while the shard is busy, and refuses while it takes nothing.
    async fn gate(&self) -> Result<(), Refusal> {
        let door = self.input.door();
        match door.wait_for(|state| state != GateState::Busy).await {
            GateState::Open | GateState::Busy => Ok(()),
            GateState::Full => Err(Refusal::JournalFull),
            GateState::Failed => Err(Refusal::Failed),
            GateState::Stopping => Err(Refusal::Stopping),
        }
    }

    async fn decompressed(
        &self,
        encoding: Encoding,
        sent: ReservedBuffer,
    ) -> Result<ReservedBuffer, Refusal> {
        if encoding == Encoding::Identity || sent.bytes.is_empty() {
            return Ok(sent);
        }
        let settings = self.input.settings();
        let limits = DecodeLimits {
            decompressed_bytes_max: settings.decompressed_bytes_max,
            expansion_max: settings.expansion_max,
        };
        let budget = self.input.door().budget();
        let mut decompression = Decompression::begin(encoding, &sent.bytes, limits, budget)?;
        while !decompression.step()? {
            tokio::task::yield_now().await;
        }
        let body = decompression.into_body();
        let bytes = body.bytes.len() as u64;
        raise(&self.input.counters().decompressed_bytes, bytes);
        Ok(body)
    }

    async fn judged(
        &self,
        body: ReservedBuffer,
        labels: &Arc<Labels>,
        relayed: bool,
    ) -> Result<Judgement, Refusal> {
        let input = &self.input.settings().input;
        let validate = input.validation;
        let admission = Admission::new(input.line_bytes_max, validate);
        let rejected = Rejected::new(self.input.door().budget()).ok_or(Refusal::Memory)?;
        let (_, received) = self.input.now();
        let exclusion = BodyExclusion {
            run: self.input.door().exclusion().begin(),
            labels: Arc::clone(labels),
            received,
        };
        let mut judging = Judging::begin(body, admission, exclusion, rejected);
        if relayed {
            judging = judging.relayed();
        }
        while !judging.step()? {
            tokio::task::yield_now().await;
        }
        Ok(judging.finish())
    }

    /// Puts the body's lines in the open block, all of them.
    fn admit(&self, judgement: Judgement, labels: &Arc<Labels>) -> Admitted {
        let Judgement {
            body,
            counts,
            lines,
            rejected,
            excluded,
        } = judgement;
        excluded.count();
        let fate = Rc::new(Fate::default());
        // Nothing is durable about empty lines, so nobody waits for them.
        let awaited = if counts.received > 0 { lines } else { 0 };
        if lines > 0 {
            let (now, received) = self.input.now();
            let origin = RejectOrigin {
                input: &self.input.settings().input.name,
                peer: Some(&self.peer),
                received,
            };
            let door = self.input.door();
            let mut gather = door.gather();
            each_reject(&rejected, |line| gather.reject(origin, line));
            let judged = Judged {
                events: u32::try_from(counts.stored).expect("a body is below 4 GiB"),
                counts,
                labels,
                received,
                waiter: (awaited > 0).then(|| Waiter {
                    fate: Rc::clone(&fate),
                    line: lines,
                }),
            };
            gather.copy_in(&body.bytes, judged, now);
            drop(gather);
            door.changed();
        }
        Admitted {
            fate,
            awaited,
            accepted: counts.stored + counts.excluded,
            excluded: counts.excluded,
            rejected,
            _grant: body.into_grant(),
        }
    }

    /// Puts in the open block what is not stored yet of a batch that may have come before.
    fn admit_once(
        &self,
        mut judgement: Judgement,
        labels: &Arc<Labels>,
        origin: &Origin,
    ) -> Result<Admitted, Refusal> {
        let claim = self.input.relay().claim(origin);
        let claim = claim.ok_or(Refusal::RelayBusy)?;
        let stored = judgement.counts.stored;
        if claim.stored.is_some_and(|known| known >= stored) {
            return Ok(Admitted {
                fate: Rc::default(),
                awaited: 0,
                accepted: stored + judgement.counts.excluded,
                excluded: judgement.counts.excluded,
                rejected: judgement.rejected,
                _grant: judgement.body.into_grant(),
            });
        }
        let known = claim.stored.unwrap_or(0);
        judgement.skip_stored(known);
        let mut admitted = self.admit(judgement, labels);
        admitted.accepted += known;
        settle_when_durable(claim, stored, &admitted);
        Ok(admitted)
    }

    /// Comes to the end of a refused body if that is cheap; false when the connection has to
    /// be closed behind the answer.
    async fn get_past(
        &self,
        refusal: &Refusal,
        headers: &HeaderMap,
        body: &mut Incoming,
        received: &mut usize,
    ) -> bool {
        if body.is_end_stream() {
            return true;
        }
        let broken = matches!(
            refusal,
            Refusal::Aborted { .. } | Refusal::Chunks { .. } | Refusal::TooSlow { .. }
        );
        // A client that waits to be told to go on has sent nothing yet; reading would tell it.
        let waits = *received == 0 && headers.contains_key(EXPECT);
        let rest = body.size_hint().exact().unwrap_or(0);
        if broken || waits || rest > DROPPED_BYTES_MAX as u64 {
            return false;
        }
        let limits = BodyLimits {
            bytes_max: DROPPED_BYTES_MAX,
            timeout: self.input.settings().body_timeout,
        };
        drop_rest(body, limits, received).await
    }
}

/// A body whose lines are in open or closed blocks.
struct Admitted {
    fate: Rc<Fate>,
    /// Lines whose fate must be durable before the answer.
    awaited: u64,
    accepted: u64,
    excluded: u64,
    rejected: Rejected,
    /// The lines' bytes are in memory until they are durable, though no longer here.
    _grant: Grant,
}

/// Settles the claim of a batch when its events are durable, also when nobody waits for the answer any
/// more: they are in a block, and will be stored.
fn settle_when_durable(claim: Claim, events: u64, admitted: &Admitted) {
    let (fate, awaited) = (Rc::clone(&admitted.fate), admitted.awaited);
    tokio::task::spawn_local(async move {
        if fate.reach(awaited).await.is_ok() {
            claim.settle(events);
        }
    });
}

impl Admitted {
    async fn answer(self) -> Result<Answer, Refusal> {
        let reached = self.fate.reach(self.awaited).await;
        reached.map_err(|_| Refusal::NotDurable)?;
        Ok(Answer::accepted(&Accepted {
            accepted: self.accepted,
            excluded: self.excluded,
            rejected: &self.rejected.kept,
            rejected_total: self.rejected.total(),
        }))
    }
}

/// Tells of every refused line. Those kept fill the block's records, so the rest, of which
/// only sums are left, are summed there too: the first of a reason carries all their bytes.
fn each_reject(rejected: &Rejected, mut tell: impl FnMut(RejectedLine<'_>)) {
    for kept in &rejected.kept {
        tell(RejectedLine {
            line: kept.line,
            reason: kept.reason,
            detail: &kept.detail,
            sample: &kept.sample,
            bytes: kept.bytes,
        });
    }
    for reason in RejectReason::ALL {
        let mut sum = rejected.sums[reason.index()];
        for _ in 0..sum.lines {
            tell(RejectedLine {
                line: 0,
                reason,
                detail: "",
                sample: b"",
                bytes: std::mem::take(&mut sum.bytes),
            });
        }
    }
}

fn check_target(head: &Parts) -> Result<(), Refusal> {
    if head.uri.path() != EVENTS_PATH {
        return Err(Refusal::Path {
            path: shortened(head.uri.path()),
        });
    }
    if head.method != Method::POST {
        return Err(Refusal::Method {
            method: shortened(head.method.as_str()),
        });
    }
    Ok(())
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut named = headers.get_all(CONTENT_ENCODING).iter();
    let first = named.next();
    let more = named.next().is_some();
    let text = first.map_or("", |name| name.to_str().unwrap_or("not readable"));
    match Encoding::named(text) {
        Some(encoding) if !more => Ok(encoding),
        _ => Err(Refusal::Encoding {
            encoding: if more {
                "given more than once".to_owned()
            } else {
                shortened(text)
            },
        }),
    }
}
