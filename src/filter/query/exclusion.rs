//! The rule object around a query: hosts, applications, query.
//!
//! Owns: how the parts join into one condition: each part that is there has to be true. Leaves to others: whether
//! the rule is active, and what becomes of an event it matches.

use super::fields::{self, Subject};
use super::{LIST_ITEMS_MAX, MatchMode, Options, parse};
use crate::filter::error::RuleError;
use crate::filter::tree::{Expr, Place, Term};

/// An exclusion rule as configured: what matches it is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExclusionRule {
    /// For people; not part of the condition.
    pub title: String,
    /// Values of the field `host`, one of which an event has to have. Empty: any.
    pub hosts: Vec<String>,
    /// Values of the field `app`, one of which an event has to have. Empty: any.
    pub apps: Vec<String>,
    /// The query; none, or nothing but white space, is no condition.
    pub query: Option<String>,
    /// How the query is read. Hosts and applications are always compared whole, case included.
    pub match_mode: MatchMode,
}

/// An exclusion rule that has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExclusionError {
    /// It would drop every event.
    #[error("the rule has neither `hosts` nor `apps` nor a `query`; it would drop every event")]
    Empty,
    /// An item of `hosts` or `apps` has no character.
    #[error("`{list}` has an empty item")]
    EmptyItem {
        /// `hosts` or `apps`.
        list: &'static str,
    },
    /// `hosts` or `apps` is longer than [`LIST_ITEMS_MAX`].
    #[error("`{list}` has more than {LIST_ITEMS_MAX} items")]
    TooManyItems {
        /// `hosts` or `apps`.
        list: &'static str,
    },
    /// The query does not compile.
    #[error(transparent)]
    Query(#[from] RuleError),
}

impl ExclusionRule {
    /// The condition on which an event is dropped.
    ///
    /// # Errors
    /// [`ExclusionError`]: no part is there, or one of them is wrong.
    pub fn condition(&self) -> Result<Expr, ExclusionError> {
        let mut parts = Vec::new();
        for (list, field, values) in [("hosts", "host", &self.hosts), ("apps", "app", &self.apps)] {
            if values.iter().any(String::is_empty) {
                return Err(ExclusionError::EmptyItem { list });
            }
            if values.len() > LIST_ITEMS_MAX {
                return Err(ExclusionError::TooManyItems { list });
            }
            if !values.is_empty() {
                parts.push(any_of(field, values));
            }
        }
        let query = self.query.as_deref().unwrap_or_default();
        if !query.trim().is_empty() {
            let match_mode = self.match_mode;
            parts.push(parse(query, Options { match_mode })?);
        }
        match parts.len() {
            0 => Err(ExclusionError::Empty),
            1 => Ok(parts.remove(0)),
            _ => Ok(Expr::All(parts)),
        }
    }
}

/// Whether the value of the field is one of these, whole and case included; of no values, never.
///
/// The values must not be empty: a term never is.
///
/// # Panics
/// When `field_name` is not a name from the table that stands for a value (`host`, `app`).
#[must_use]
pub fn any_of(field_name: &str, values: &[String]) -> Expr {
    let Ok(Subject::Field(field)) = fields::subject(field_name) else {
        panic!("`{field_name}` is no field with a value");
    };
    let is = |value: &String| {
        let term = Term {
            text: value.as_str().into(),
            place: Place::Whole,
            ignore_case: false,
        };
        Expr::Term(field.clone(), term)
    };
    match values {
        [only] => is(only),
        _ => Expr::Any(values.iter().map(is).collect()),
    }
}
