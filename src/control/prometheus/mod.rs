//! The metrics page: a node in the Prometheus text format.
//!
//! Names are written out in full, so that a search finds where a number comes from, and each
//! stands in `docs/operating.md`. The encoder of `prometheus-client` writes the names of
//! counters without `_total` in the headings, as OpenMetrics wants; scrapers that read the
//! older text format would lose type and help. So every value goes out by the encoder's way
//! for gauges, under a heading with the full name and the true type.

mod inputs;
mod journals;
mod latency;
mod process;
mod streams;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, GaugeValueEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::control::observed::Observed;
use crate::control::snapshot::Snapshot;
use crate::position::Timestamp;

/// What the page's `Content-Type` says.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of a node.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics of `observed`, which runs since `started`.
    pub(super) fn new(observed: Arc<Observed>, started: Timestamp) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Node { observed, started }));
        Self { registry }
    }

    /// The page now.
    pub(super) fn page(&self) -> String {
        let mut page = String::new();
        encode_registry(&mut page, &self.registry).expect("a string takes all that is written");
        page
    }
}

#[derive(Debug)]
struct Node {
    observed: Arc<Observed>,
    started: Timestamp,
}

impl Collector for Node {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = Snapshot::take(&self.observed);
        let mut page = Page { encoder };
        process::write(&mut page, &self.observed, self.started)?;
        inputs::write(&mut page, &snapshot)?;
        journals::write(&mut page, &self.observed, &snapshot)?;
        streams::write(&mut page, &snapshot)
    }
}

/// The page while it is written.
struct Page<'e> {
    encoder: DescriptorEncoder<'e>,
}

/// A number on the page.
#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    Real(f64),
}

impl Page<'_> {
    /// Writes a counter with its samples: label values by name, and the count.
    fn counter<'l, const N: usize>(
        &mut self,
        name: &'static str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, &'l str); N], impl Into<Number>)>,
    ) -> fmt::Result {
        self.family(MetricType::Counter, name, help, samples)
    }

    /// Writes a gauge, likewise.
    fn gauge<'l, const N: usize>(
        &mut self,
        name: &'static str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, &'l str); N], impl Into<Number>)>,
    ) -> fmt::Result {
        self.family(MetricType::Gauge, name, help, samples)
    }

    fn family<'l, const N: usize>(
        &mut self,
        kind: MetricType,
        name: &'static str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, &'l str); N], impl Into<Number>)>,
    ) -> fmt::Result {
        let mut encoder = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, number) in samples {
            let number = number.into();
            if N == 0 {
                encoder.encode_gauge(&number)?;
            } else {
                encoder.encode_family(&labels)?.encode_gauge(&number)?;
            }
        }
        Ok(())
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.encode(encoder),
            Self::Real(number) => number.encode(encoder),
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Number {
    fn from(truth: bool) -> Self {
        Self::Whole(u64::from(truth))
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}
