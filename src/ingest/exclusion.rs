//! The node's exclusion rules as a shard's inputs ask them: of lines that are events, and of no others.
//!
//! Owns: that one receive or body is judged by the rules in force when it began, whole, and that what they drop is
//! counted only when the lines are handed over. Leaves to others: the rules (`filter`), and the ledger.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::filter::exclusions::Exclusions;
use crate::filter::{Evaluator, Event};

/// The rules of the node and one shard's memory to ask them with.
pub struct NodeExclusion {
    rules: Arc<ArcSwap<Exclusions>>,
    evaluator: RefCell<Evaluator>,
}

impl std::fmt::Debug for NodeExclusion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeExclusion")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl NodeExclusion {
    /// The rules behind this pointer, whatever they are when a run begins.
    #[must_use]
    pub fn new(rules: Arc<ArcSwap<Exclusions>>) -> Self {
        Self {
            rules,
            evaluator: RefCell::new(Evaluator::new()),
        }
    }

    /// No rules, for ever.
    #[must_use]
    pub fn none() -> Rc<Self> {
        let rules = Exclusions::compile(Vec::new(), None);
        Rc::new(Self::new(Arc::new(ArcSwap::from_pointee(rules))))
    }

    /// Begins to judge a receive or a body by the rules in force now.
    #[must_use]
    pub fn begin(self: &Rc<Self>) -> ExclusionRun {
        let rules = self.rules.load();
        ExclusionRun {
            node: Rc::clone(self),
            rules: (!rules.is_empty()).then(|| Arc::clone(&rules)),
            dropped: Vec::new(),
        }
    }
}

/// One receive or body judged by one set of rules.
#[derive(Debug)]
pub struct ExclusionRun {
    node: Rc<NodeExclusion>,
    /// `None` when there are no rules.
    rules: Option<Arc<Exclusions>>,
    dropped: Vec<Dropped>,
}

#[derive(Debug, Clone, Copy)]
struct Dropped {
    rule: usize,
    events: u64,
    bytes: u64,
}

impl ExclusionRun {
    /// True when a rule drops the event; it is noted under the first that does.
    #[inline]
    pub fn excludes(&mut self, event: Event<'_>) -> bool {
        let Some(rules) = &self.rules else {
            return false;
        };
        let bytes = event.line.len() as u64;
        let mut evaluator = self.node.evaluator.borrow_mut();
        let Some(rule) = rules.first_match(&mut evaluator, event) else {
            return false;
        };
        match self.dropped.iter_mut().find(|dropped| dropped.rule == rule) {
            Some(dropped) => {
                dropped.events += 1;
                dropped.bytes += bytes;
            }
            None => self.dropped.push(Dropped {
                rule,
                events: 1,
                bytes,
            }),
        }
        true
    }

    /// The lines are handed over: what was dropped counts.
    pub fn count(self) {
        let Some(rules) = self.rules else { return };
        for Dropped {
            rule,
            events,
            bytes,
        } in self.dropped
        {
            rules.count(rule, events, bytes);
        }
    }
}
