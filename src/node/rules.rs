//! Rules in force, and the way to change them while the node runs.
//!
//! Owns: what shards and streams look at for their rules, and the difference between two plans' rules. A change is
//! durable in the audit log before it takes effect; each part takes it over at a place of its own: a shard with its
//! next receive or body, a stream with its next uncut batch. Leaves to others: reading the plan.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::audit::{Action, Notice};
use crate::config::plan::{ExclusionPlan, Plan, StreamPlan};
use crate::filter::exclusions::Exclusions;
use crate::filter::selection::{SelectionSet, Selections};
use crate::stream::content::Content;
use crate::stream::template::Template;

/// What shards and streams look at.
#[derive(Debug)]
pub(super) struct RulesInForce {
    pub(super) exclusions: Arc<ArcSwap<Exclusions>>,
    pub(super) selections: Arc<ArcSwap<SelectionSet>>,
    /// By the streams' order in the plan.
    pub(super) contents: Vec<Arc<ArcSwap<Content>>>,
}

impl RulesInForce {
    /// The rules of a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let selections = selections_of(plan);
        let contents = plan
            .streams
            .iter()
            .map(|stream| Arc::new(ArcSwap::from(content_of(stream, &selections))));
        Self {
            exclusions: Arc::new(ArcSwap::from_pointee(exclusions_of(plan, None))),
            contents: contents.collect(),
            selections: Arc::new(ArcSwap::from(selections)),
        }
    }

    /// Puts the rules of another plan in force, which has the same streams.
    pub(super) fn replace(&self, plan: &Plan) {
        let before = self.exclusions.load();
        let exclusions = exclusions_of(plan, Some(&before));
        self.exclusions.store(Arc::new(exclusions));
        let selections = selections_of(plan);
        self.selections.store(Arc::clone(&selections));
        for (content, stream) in self.contents.iter().zip(&plan.streams) {
            content.store(content_of(stream, &selections));
        }
    }
}

fn exclusions_of(plan: &Plan, before: Option<&Exclusions>) -> Exclusions {
    let active = plan.exclusions.iter().filter(|rule| rule.active);
    let rules = active.map(|rule| (rule.name.clone(), rule.condition.clone()));
    Exclusions::compile(rules.collect(), before)
}

fn selections_of(plan: &Plan) -> Arc<SelectionSet> {
    let selections: Vec<_> = plan
        .streams
        .iter()
        .filter_map(|stream| stream.selection.clone())
        .collect();
    Arc::new(SelectionSet::compile(&selections))
}

fn content_of(stream: &StreamPlan, selections: &Arc<SelectionSet>) -> Arc<Content> {
    Arc::new(Content {
        take: stream.stream.take.clone(),
        selections: Arc::clone(selections),
        own: Selections::compile(&stream.selection),
        template: stream.stream.template.as_ref().map(|settings| {
            Template::compile(settings).expect("a plan holds only templates that compile")
        }),
        version: stream.stream.version,
    })
}

/// What a change of the rules is told as: one notice for each rule that came, went or changed, and
/// for each stream whose content changes.
pub(super) fn changes(before: &Plan, after: &Plan) -> Vec<Notice> {
    let find = |plan: &'_ Plan, name: &str| -> Option<ExclusionPlan> {
        plan.exclusions
            .iter()
            .find(|rule| &*rule.name == name)
            .cloned()
    };
    let mut notices = Vec::new();
    for rule in &after.exclusions {
        match find(before, &rule.name) {
            None => notices.push(notice_of(Action::ExclusionRuleCreate, rule)),
            Some(known) if known != *rule => {
                notices.push(notice_of(Action::ExclusionRuleUpdate, rule));
            }
            Some(_) => {}
        }
    }
    for rule in &before.exclusions {
        if find(after, &rule.name).is_none() {
            notices.push(notice_of(Action::ExclusionRuleDelete, rule));
        }
    }
    if notices.is_empty() && before.exclusions != after.exclusions {
        // The same rules, asked in another order: an event may count under another of them.
        notices.push(Notice::new(Action::ConfigurationReload, "", "rule_order"));
    }
    for (old, new) in before.streams.iter().zip(&after.streams) {
        if old.stream.version != new.stream.version {
            let notice = Notice::new(Action::StreamUpdate, &*new.stream.name, "reload")
                .text("versionBefore", format!("{:016x}", old.stream.version))
                .text("version", format!("{:016x}", new.stream.version));
            notices.push(notice);
        }
    }
    notices
}

fn notice_of(action: Action, plan: &ExclusionPlan) -> Notice {
    let rule = &plan.rule;
    let enabled = if plan.active { "true" } else { "false" };
    let notice = Notice::new(action, &*plan.name, "reload")
        .text("feature", "exclusion-rule")
        .text("ruleId", &*plan.name)
        .text("isEnabled", enabled)
        .text("description", rule.title.as_str());
    let notice = match &rule.query {
        Some(query) => notice.text("query", query.as_str()),
        None => notice,
    };
    notice
        .text("hosts", rule.hosts.join(", "))
        .text("apps", rule.apps.join(", "))
}

/// The parts of the configuration in which two plans differ, besides their rules.
pub(super) fn differing_parts(before: &Plan, after: &Plan) -> Vec<String> {
    let (before, after) = (without_rules(before), without_rules(after));
    let parts = [
        ("node.data_dir", before.data_dir != after.data_dir),
        (
            "node.drain_timeout",
            before.drain_timeout != after.drain_timeout,
        ),
        ("node.journals", before.journals != after.journals),
        ("memory", before.memory_bytes_max != after.memory_bytes_max),
        ("shards and commits", before.shard != after.shard),
        (
            "journal",
            before.journal != after.journal || before.room != after.room,
        ),
        ("admin", before.admin_listen != after.admin_listen),
        ("input", before.inputs != after.inputs),
    ];
    let named = parts.into_iter().filter(|(_, differs)| *differs);
    let mut differing: Vec<String> = named.map(|(name, _)| name.to_owned()).collect();
    let find = |plan: &Plan, name: &str| {
        let known = plan
            .streams
            .iter()
            .find(|stream| &*stream.stream.name == name);
        known.cloned()
    };
    for stream in before.streams.iter().chain(&after.streams) {
        let name = &*stream.stream.name;
        let words = format!("stream.{name}");
        if find(&before, name) != find(&after, name) && !differing.contains(&words) {
            differing.push(words);
        }
    }
    if differing.is_empty() && before != after {
        differing.push("the order of streams".to_owned());
    }
    differing
}

/// The plan as it would be without its rules: what may not differ from the running one.
fn without_rules(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.exclusions.clear();
    for stream in &mut plan.streams {
        stream.selection = None;
        stream.stream.take = crate::stream::select::Take::default();
        stream.stream.template = None;
        stream.stream.version = 0;
    }
    plan
}
