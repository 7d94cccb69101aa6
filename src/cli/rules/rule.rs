//! The rule on the command line: its language, and what a match of it means.

use clap::{Args, ValueEnum};

use crate::cli::CommandError;
use crate::filter::error::RuleError;
use crate::filter::query::{MatchMode, Options};
use crate::filter::tree::Expr;
use crate::filter::{Polarity, dpxl, query};

/// Arguments that give one rule.
#[derive(Debug, Args)]
pub(super) struct RuleArguments {
    /// Query of an exclusion rule: what it matches is dropped.
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
    query: Option<String>,
    /// DPXL expression of a stream's rule: what it matches is delivered.
    #[arg(long, value_name = "EXPRESSION", allow_hyphen_values = true)]
    dpxl: Option<String>,
    /// What `field:value` of a query compares with: the beginning of the field's value, or of a word in it. Default:
    /// value.
    #[arg(long, value_name = "MODE")]
    match_mode: Option<MatchModeWord>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MatchModeWord {
    Value,
    Token,
}

/// A rule that compiles.
#[derive(Debug)]
pub(super) struct GivenRule {
    pub(super) language: Language,
    pub(super) text: String,
    pub(super) condition: Expr,
}

/// The languages of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Query,
    Dpxl,
}

impl Language {
    /// As the argument is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Dpxl => "dpxl",
        }
    }

    pub(super) fn polarity(self) -> Polarity {
        match self {
            Self::Query => Polarity::Drop,
            Self::Dpxl => Polarity::Deliver,
        }
    }

    /// What becomes of events that match, and of the others.
    pub(super) fn fates(self) -> [&'static str; 2] {
        match self {
            Self::Query => ["dropped", "kept"],
            Self::Dpxl => ["delivered", "not delivered"],
        }
    }
}

impl RuleArguments {
    /// The rule; `None` when none is given.
    pub(super) fn parse(&self) -> Result<Option<GivenRule>, CommandError> {
        if self.match_mode.is_some() && self.query.is_none() {
            return Err(CommandError::Usage(
                "--match-mode is for --query".to_owned(),
            ));
        }
        let match_mode = match self.match_mode {
            Some(MatchModeWord::Token) => MatchMode::Token,
            Some(MatchModeWord::Value) | None => MatchMode::Value,
        };
        let (language, text) = match (&self.query, &self.dpxl) {
            (Some(text), _) => (Language::Query, text),
            (None, Some(text)) => (Language::Dpxl, text),
            (None, None) => return Ok(None),
        };
        let parsed = match language {
            Language::Query => query::parse(text, Options { match_mode }),
            Language::Dpxl => dpxl::parse(text),
        };
        let refused = |error: RuleError| {
            let name = language.name();
            CommandError::Usage(format!("--{name} does not compile: {error}"))
        };
        Ok(Some(GivenRule {
            language,
            text: text.clone(),
            condition: parsed.map_err(refused)?,
        }))
    }
}
