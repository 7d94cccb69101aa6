//! Exclusion rules in force together: which of them drops an event, and how many each has dropped.
//!
//! Owns: the order, the first rule that matches is the one an event is counted under, and the counters, which outlive
//! a change of the rules: a rule of the same name goes on counting. Leaves to others: where the rules come from, and
//! that what they drop is counted in the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::filter::tree::Expr;
use crate::filter::{Evaluator, Event, Polarity, Program, Rule};

/// The exclusion rules of a node.
#[derive(Debug)]
pub struct Exclusions {
    program: Program,
    rules: Vec<Arc<ExclusionCounts>>,
}

/// What one rule has dropped since the node started.
#[derive(Debug, Default)]
pub struct ExclusionCounts {
    /// Name of the rule.
    pub name: Box<str>,
    /// Events dropped.
    pub events: AtomicU64,
    /// Their bytes, without line ends.
    pub bytes: AtomicU64,
}

impl Exclusions {
    /// Rules by name, in the order they are asked. Counts go on from `before` for rules of the same name.
    #[must_use]
    pub fn compile(rules: Vec<(Box<str>, Expr)>, before: Option<&Self>) -> Self {
        let known = before.map_or(&[][..], |before| &before.rules);
        let mut counts = Vec::with_capacity(rules.len());
        let mut conditions = Vec::with_capacity(rules.len());
        for (name, condition) in rules {
            let same = known.iter().find(|counts| counts.name == name);
            counts.push(same.cloned().unwrap_or_else(|| {
                Arc::new(ExclusionCounts {
                    name,
                    ..ExclusionCounts::default()
                })
            }));
            conditions.push(Rule {
                condition,
                polarity: Polarity::Drop,
            });
        }
        Self {
            program: Program::compile(conditions),
            rules: counts,
        }
    }

    /// True when no rule is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The program of the rules, in their order.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The first rule that drops the event, by its number.
    #[inline]
    pub fn first_match(&self, evaluator: &mut Evaluator, event: Event<'_>) -> Option<usize> {
        let mut evaluation = evaluator.begin(&self.program, event);
        (0..self.rules.len()).find(|rule| evaluation.matches(*rule))
    }

    /// Counts events as dropped by a rule.
    ///
    /// # Panics
    /// When there is no such rule.
    pub fn count(&self, rule: usize, events: u64, bytes: u64) {
        let counts = &self.rules[rule];
        counts.events.fetch_add(events, Ordering::Relaxed);
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What each rule has dropped, in their order.
    #[must_use]
    pub fn counts(&self) -> &[Arc<ExclusionCounts>] {
        &self.rules
    }
}
