//! From the sections of rules to conditions: exclusion rules, and what a stream takes.

use toml::de::DeTable;

use super::keys;
use super::plan::ExclusionPlan;
use super::reader::report::{Given, Report};
use super::reader::{NamedTable, Section, named_tables};
use crate::batch::text_hash;
use crate::filter::dpxl;
use crate::filter::error::RuleError;
use crate::filter::query::{ExclusionError, ExclusionRule, MatchMode};
use crate::filter::selection::Selection;
use crate::filter::tree::{Expr, Field, Place as TermPlace, Source, Term};
use crate::stream::settings::Sampling;

/// The node's exclusion rules, in the order of the file. What is wrong with one is reported, and it
/// is left out.
pub(super) fn read_exclusions<'i>(report: &Report<'i>, root: &DeTable<'i>) -> Vec<ExclusionPlan> {
    named_tables(report, root, "exclude")
        .into_iter()
        .filter_map(|named| {
            let path = format!("exclude.{}", named.name);
            read_exclusion(report, named, path, &keys::rules::EXCLUDE)
        })
        .collect()
}

fn read_exclusion<'r, 'i>(
    report: &'r Report<'i>,
    named: NamedTable<'r, 'i>,
    path: String,
    spec: &'static keys::SectionSpec,
) -> Option<ExclusionPlan> {
    let NamedTable { name, table, place } = named;
    let section = Section::new(report, spec, Some(table), (path, place));
    let title = section.text("title");
    let hosts = section.texts("hosts");
    let apps = section.texts("apps");
    let query = section.rule("query");
    let match_mode = section.one_of("match_mode");
    let active = section.flag("active");
    let place = section.place();
    // A part that was wrong is missing here, and not because the operator left it out.
    let is_whole = ["hosts", "apps", "query"]
        .iter()
        .zip([hosts.is_some(), apps.is_some(), query.is_some()])
        .all(|(key, is_read)| is_read || !section.has(key));
    section.finish();
    let rule = ExclusionRule {
        title: title.map(|title| title.value).unwrap_or_default(),
        hosts: hosts.map(|hosts| hosts.value).unwrap_or_default(),
        apps: apps.map(|apps| apps.value).unwrap_or_default(),
        query: query.as_ref().map(|query| query.value.clone()),
        match_mode: match match_mode?.value {
            "token" => MatchMode::Token,
            _ => MatchMode::Value,
        },
    };
    let condition = match rule.condition() {
        Ok(condition) => Some(condition),
        Err(ExclusionError::Query(error)) => {
            if let Some(query) = &query {
                refuse_rule(report, query, &error);
            }
            None
        }
        Err(_) if !is_whole => None,
        Err(ExclusionError::Empty) => {
            report.missing(
                &place,
                "says nothing of what it drops; write hosts, apps or query",
            );
            None
        }
        Err(error) => {
            report.say(&place, error.to_string());
            None
        }
    };
    Some(ExclusionPlan {
        name: name.into(),
        rule,
        condition: condition?,
        active: active?.value,
    })
}

/// What a stream takes.
pub(super) struct TakePlan {
    pub(super) selection: Option<Selection>,
    pub(super) sampling: Option<Sampling>,
}

/// Reads rule, exclusion rules, domains and sampling of a stream.
pub(super) fn read_take<'r, 'i>(
    report: &'r Report<'i>,
    section: &Section<'r, 'i>,
    stream: &str,
) -> Option<TakePlan> {
    // Text that says all that the selection is made of: what its hash is of.
    let mut words = Vec::new();
    let rule = section.rule("rule");
    let mut conditions = Vec::new();
    let mut is_sound = rule.is_some() || !section.has("rule");
    if let Some(rule) = &rule {
        words.push(format!("rule {:?}", rule.value));
        match dpxl::parse(&rule.value) {
            Ok(condition) => conditions.push(condition),
            Err(error) => {
                refuse_rule(report, rule, &error);
                is_sound = false;
            }
        }
    }
    let mut exclusions = Vec::new();
    for named in section.named("exclude") {
        let path = format!("stream.{stream}.exclude.{}", named.name);
        let read = read_exclusion(report, named, path, &keys::rules::STREAM_EXCLUDE);
        is_sound &= read.is_some();
        if let Some(plan) = read.filter(|plan| plan.active) {
            words.push(format!("exclude {:?}", plan.rule));
            exclusions.push(plan.condition);
        }
    }
    let domains = section.has("domains");
    if domains {
        let section = section.section("domains", &keys::rules::DOMAINS);
        let (field, values) = (section.text("field"), section.texts("values"));
        section.finish();
        match field
            .zip(values)
            .map(|(field, values)| domains_of(report, &field, &values))
        {
            Some(Some((condition, word))) => {
                words.push(word);
                conditions.push(condition);
            }
            Some(None) | None => is_sound = false,
        }
    }
    let sampling = read_sampling(report, section, domains, stream);
    let selection = (!conditions.is_empty() || !exclusions.is_empty()).then(|| Selection {
        hash: text_hash(&words.join("\n")),
        deliver: match conditions.len() {
            0 => None,
            1 => conditions.pop(),
            _ => Some(Expr::All(conditions)),
        },
        exclusions,
    });
    is_sound.then_some(TakePlan {
        selection,
        sampling: sampling?,
    })
}

fn domains_of(
    report: &Report<'_>,
    field: &Given<String>,
    values: &Given<Vec<String>>,
) -> Option<(Expr, String)> {
    if values.value.is_empty() {
        report.refuse(
            values,
            "names no domain; name one, or leave [domains] out for all",
        );
        return None;
    }
    if field.value.split('.').any(str::is_empty) {
        report.refuse(
            field,
            "has an empty key; write for example \"host\" or \"request.host\"",
        );
        return None;
    }
    let source = Source::Data(field.value.split('.').map(Into::into).collect());
    let field = Field {
        name: field.value.as_str().into(),
        sources: Box::new([source]),
    };
    let any = values.value.iter().map(|value| {
        let term = Term {
            text: value.as_str().into(),
            place: TermPlace::Whole,
            ignore_case: true,
        };
        Expr::Term(field.clone(), term)
    });
    let word = format!("domains {} {:?}", field.name, values.value);
    Some((Expr::Any(any.collect()), word))
}

fn read_sampling(
    report: &Report<'_>,
    stream: &Section<'_, '_>,
    domains: bool,
    name: &str,
) -> Option<Option<Sampling>> {
    let section = stream.section("sample", &keys::rules::SAMPLE);
    let percent = section.count("percent");
    let strict = section.flag("strict_azion");
    section.finish();
    let (percent, strict) = (percent?, strict?);
    if domains && strict.value && percent.value < 100 {
        report.refuse(
            &percent,
            "is not for a list of domains, as Azion has it; leave [domains] out, or write \
             strict_azion = false",
        );
    }
    let percent = u8::try_from(percent.value).expect("the range of percent lies in u8");
    let seed = text_hash(&format!("sample {name}"));
    Some((percent < 100).then_some(Sampling { percent, seed }))
}

/// Reports a rule that does not compile, with its caret below the message.
fn refuse_rule(report: &Report<'_>, rule: &Given<String>, error: &RuleError) {
    let text = error.to_string().replace('\n', "\n    ");
    report.say(&rule.place, format!("does not compile: {text}"));
}
