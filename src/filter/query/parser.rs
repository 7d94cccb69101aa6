//! From the text of a query to its tree, by recursive descent.
//!
//! Owns: the grammar. `OR` binds tighter than `AND`, and white space is `AND`:
//!
//! ```text
//! query      := or ( 'AND'? or )*
//! or         := unary ( 'OR' unary )*
//! unary      := '-' unary | '(' query ')' | field ':' value | search
//! value      := '(' query of comparisons ')' | comparison | '[' item ( ',' item )* ']'
//! comparison := '*' | ( '===' | '==' | '=' | '>=' | '<=' | '>' | '<' )? ( phrase | word )
//! search     := ( '===' | '==' | '=' )? ( phrase | word )
//! ```
//!
//! Promises: no recursion deeper than [`NESTING_DEPTH_MAX`], no tree larger than [`NODES_MAX`].
//! Leaves to others: where elements end ([`cursor`](super::cursor)), what names mean ([`fields`]).

use super::cursor::{Cursor, Operator, Text, is_end_of_word, is_number};
use super::fields::{self, Subject};
use super::{LIST_ITEMS_MAX, MatchMode, NESTING_DEPTH_MAX, NODES_MAX, Options, hints};
use crate::filter::error::RuleError;
use crate::filter::tree::{Compare, Expr, Field, Place, Term};
use std::ops::Range;

const SEARCH: &str = "a search term";
pub(super) const QUOTE_KEYWORD: &str = "to look for the word itself, put it between double quotes";

pub(super) struct Parser<'a> {
    cursor: Cursor<'a>,
    options: Options,
    depth: usize,
    nodes: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, options: Options) -> Self {
        Self {
            cursor: Cursor::new(text),
            options,
            depth: 0,
            nodes: 0,
        }
    }

    /// The whole text as one query.
    pub(super) fn query(mut self) -> Result<Expr, RuleError> {
        self.cursor.skip_white_space();
        if self.cursor.peek().is_none() {
            let end = self.cursor.at();
            return Err(self.cursor.error(end..end, "the query is empty", None));
        }
        let condition = self.all(None)?;
        if self.cursor.peek().is_some() {
            let at = self.cursor.at();
            return Err(self.cursor.error(
                at..at + 1,
                "this `)` closes nothing",
                Some("a text that holds a parenthesis goes between double quotes: `\"a)\"`"),
            ));
        }
        Ok(condition)
    }

    /// Conditions joined by `AND` or white space, up to the end or a `)`. Inside `field:( … )` there is a subject.
    fn all(&mut self, subject: Option<&Subject>) -> Result<Expr, RuleError> {
        let mut operands = vec![self.any(subject)?];
        loop {
            self.cursor.skip_white_space();
            if matches!(self.cursor.peek(), None | Some(')')) {
                return self.join(operands, Expr::All);
            }
            self.cursor.take_keyword("AND");
            operands.push(self.any(subject)?);
        }
    }

    fn any(&mut self, subject: Option<&Subject>) -> Result<Expr, RuleError> {
        let mut operands = vec![self.unary(subject)?];
        loop {
            self.cursor.skip_white_space();
            if !self.cursor.take_keyword("OR") {
                return self.join(operands, Expr::Any);
            }
            operands.push(self.unary(subject)?);
        }
    }

    fn unary(&mut self, subject: Option<&Subject>) -> Result<Expr, RuleError> {
        self.cursor.skip_white_space();
        let start = self.cursor.at();
        match self.cursor.peek() {
            Some('-') => {
                self.cursor.take('-');
                self.descend(start)?;
                if self.cursor.at_delimiter() {
                    return Err(self.cursor.unexpected(
                        "what to negate directly behind `-`",
                        Some("a dash that is looked for goes between double quotes, with what is beside it"),
                    ));
                }
                let operand = self.unary(subject)?;
                self.depth -= 1;
                self.count(1, start)?;
                Ok(Expr::Not(Box::new(operand)))
            }
            Some('(') => self.group(subject),
            None | Some(')') => Err(self.cursor.unexpected(SEARCH, None)),
            _ if self.cursor.keyword().is_some() => {
                Err(self.cursor.unexpected(SEARCH, Some(QUOTE_KEYWORD)))
            }
            _ => match subject {
                Some(subject) => self.comparison(subject),
                None => self.search(),
            },
        }
    }

    fn group(&mut self, subject: Option<&Subject>) -> Result<Expr, RuleError> {
        let open = self.cursor.at();
        self.cursor.take('(');
        self.descend(open)?;
        self.cursor.skip_white_space();
        if self.cursor.take(')') {
            let span = open..self.cursor.at();
            return Err(self
                .cursor
                .error(span, "nothing is in these parentheses", None));
        }
        // Checked before and behind what is inside, so that a query cut short is reported where the group began.
        self.expect_more(open)?;
        let condition = self.all(subject)?;
        self.expect_more(open)?;
        self.cursor.take(')');
        self.depth -= 1;
        Ok(condition)
    }

    fn expect_more(&self, open: usize) -> Result<(), RuleError> {
        match self.cursor.peek() {
            Some(_) => Ok(()),
            None => Err(self
                .cursor
                .error(open..open + 1, "this `(` is not closed", None)),
        }
    }

    /// `field:value`, or a word or phrase to look for in the line and its labels.
    fn search(&mut self) -> Result<Expr, RuleError> {
        let start = self.cursor.at();
        let operator = self.cursor.operator();
        if let Operator::Number(_) = operator {
            let span = start..self.cursor.at();
            return Err(self.cursor.error(
                span,
                "a comparison needs a field",
                Some("write `field:>=500`; a text that begins with `<` or `>` goes between double quotes"),
            ));
        }
        let name_start = self.cursor.at();
        let name = self
            .cursor
            .take_while(|next| next != ':' && !is_end_of_word(next));
        let name_span = name_start..self.cursor.at();
        if self.cursor.take(':') {
            if operator != Operator::Begins {
                return Err(self.cursor.error(
                    start..name_start,
                    "an operator stands behind the colon",
                    Some("write `field:=value`; a text that holds a colon goes between double quotes"),
                ));
            }
            return self.field(name, name_span);
        }
        self.cursor.rewind(name_start);
        let text = self.cursor.text(SEARCH)?;
        match operator {
            Operator::Begins => self.check(&text, hints::of_search)?,
            Operator::BeginsCase => self.check(&text, hints::of_prefix)?,
            _ => self.check(&text, hints::of_exact_value)?,
        }
        self.anywhere(operator, text, true)
    }

    fn field(&mut self, name: &str, span: Range<usize>) -> Result<Expr, RuleError> {
        let subject = fields::subject(name).map_err(|refusal| {
            self.cursor
                .error(span, &refusal.message, refusal.suggestion)
        })?;
        if self.cursor.at_delimiter() {
            return Err(self.cursor.unexpected(
                "a value directly behind `:`",
                Some("a text that holds a colon goes between double quotes: `\"error:\"`"),
            ));
        }
        if self.cursor.peek() == Some('(') {
            return self.group(Some(&subject));
        }
        self.comparison(&subject)
    }

    /// One condition on a field, or a list of values.
    fn comparison(&mut self, subject: &Subject) -> Result<Expr, RuleError> {
        let start = self.cursor.at();
        if self.cursor.peek() == Some('[') {
            return self.list(subject);
        }
        let operator = self.cursor.operator();
        if let Some('[' | '=' | '<' | '>') = self.cursor.peek() {
            return Err(self.cursor.unexpected(
                "a value directly behind the operator",
                Some("the operators are `=`, `==`, `===`, `>`, `>=`, `<` and `<=`; a list takes none"),
            ));
        }
        let text = self.cursor.text("a value directly behind the operator")?;
        if operator == Operator::Begins && !text.quoted && &*text.text == "*" {
            self.count(1, start)?;
            return match subject {
                Subject::Field(field) => Ok(Expr::Exists(field.clone())),
                Subject::Line => Err(self.cursor.error(
                    text.span,
                    "every event has a line, this would be true of all of them",
                    None,
                )),
            };
        }
        match operator {
            Operator::Is | Operator::IsCase => self.check(&text, hints::of_exact_value)?,
            _ => self.check(&text, hints::of_value)?,
        }
        match subject {
            Subject::Line => self.anywhere(operator, text, false),
            Subject::Field(field) => self.value(field, operator, text),
        }
    }

    /// `[a,b]`: everything up to the next comma or bracket is the item, white space and parentheses too.
    fn list(&mut self, subject: &Subject) -> Result<Expr, RuleError> {
        let open = self.cursor.at();
        self.cursor.take('[');
        let mut items = Vec::new();
        loop {
            let start = self.cursor.at();
            let text = self.cursor.take_while(|next| next != ',' && next != ']');
            let item = Text {
                text: text.into(),
                quoted: false,
                span: start..self.cursor.at(),
            };
            if self.cursor.peek().is_none() {
                return Err(self
                    .cursor
                    .error(open..open + 1, "this `[` is not closed", None));
            }
            self.check(&item, hints::of_item)?;
            if items.len() == LIST_ITEMS_MAX {
                let message = format!("the list has more than {LIST_ITEMS_MAX} items");
                return Err(self.cursor.error(open..open + 1, &message, None));
            }
            items.push(match subject {
                Subject::Line => self.anywhere(Operator::Begins, item, false)?,
                Subject::Field(field) => self.value(field, Operator::Begins, item)?,
            });
            if !self.cursor.take(',') {
                break;
            }
        }
        self.cursor.take(']');
        if !self.cursor.at_delimiter() {
            return Err(self.cursor.unexpected("white space or `)`", None));
        }
        self.join(items, Expr::Any)
    }

    fn value(&mut self, field: &Field, operator: Operator, text: Text) -> Result<Expr, RuleError> {
        let number = !text.quoted && is_number(&text.text);
        let begins = match self.options.match_mode {
            MatchMode::Value => Place::Prefix,
            MatchMode::Token => Place::TokenPrefix,
        };
        let (place, ignore_case) = match operator {
            Operator::Begins => (begins, true),
            Operator::BeginsCase => (begins, false),
            Operator::Is => (Place::Whole, true),
            Operator::IsCase => (Place::Whole, false),
            Operator::Number(compare) if number => {
                self.count(1, text.span.start)?;
                return Ok(Expr::NumberTerm(field.clone(), compare, text.text));
            }
            Operator::Number(_) => {
                return Err(self.cursor.error(
                    text.span,
                    "expected a number",
                    Some("numbers are written as in JSON, without quotes: `500`, `-1.5`, `2e3`"),
                ));
            }
        };
        let term = Term {
            text: text.text,
            place,
            ignore_case,
        };
        if operator == Operator::BeginsCase && number {
            self.count(NUMBER_OR_TEXT_NODES, text.span.start)?;
            return Ok(number_or_text(field, term));
        }
        self.count(1, text.span.start)?;
        Ok(Expr::Term(field.clone(), term))
    }

    /// A search in the text of the line, and with `labels` in those too.
    fn anywhere(
        &mut self,
        operator: Operator,
        text: Text,
        labels: bool,
    ) -> Result<Expr, RuleError> {
        let (place, ignore_case) = match operator {
            Operator::Begins => (Place::TokenPrefix, true),
            Operator::BeginsCase => (Place::TokenPrefix, false),
            Operator::Is => (Place::Token, true),
            Operator::IsCase => (Place::Token, false),
            Operator::Number(_) => {
                return Err(self
                    .cursor
                    .error(text.span, "the line is a text, not a number", None));
            }
        };
        if text.text.chars().nth(1).is_none() {
            return Err(self.cursor.error(
                text.span,
                "a search word needs at least two characters",
                None,
            ));
        }
        self.count(1, text.span.start)?;
        let term = Term {
            text: text.text,
            place,
            ignore_case,
        };
        Ok(Expr::Anywhere { term, labels })
    }

    /// Refuses what means something else elsewhere and was hardly meant as it stands. A phrase always is.
    fn check(&self, text: &Text, hint: fn(&str) -> Option<hints::Hint>) -> Result<(), RuleError> {
        match hint(&text.text) {
            Some((message, suggestion)) if !text.quoted => {
                Err(self
                    .cursor
                    .error(text.span.clone(), message, suggestion.as_deref()))
            }
            _ => Ok(()),
        }
    }

    /// One operand is itself; several are the node that joins them.
    fn join(
        &mut self,
        mut operands: Vec<Expr>,
        node: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, RuleError> {
        match operands.pop() {
            Some(only) if operands.is_empty() => Ok(only),
            last => {
                operands.extend(last);
                self.count(1, self.cursor.at())?;
                Ok(node(operands))
            }
        }
    }

    fn descend(&mut self, at: usize) -> Result<(), RuleError> {
        self.depth += 1;
        if self.depth <= NESTING_DEPTH_MAX {
            return Ok(());
        }
        let message = format!("nested deeper than {NESTING_DEPTH_MAX}");
        Err(self.cursor.error(at..at + 1, &message, None))
    }

    fn count(&mut self, nodes: usize, at: usize) -> Result<(), RuleError> {
        self.nodes += nodes;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        let message = format!("the query has more than {NODES_MAX} conditions");
        Err(self.cursor.error(at..at, &message, None))
    }
}

/// Nodes of the tree below.
const NUMBER_OR_TEXT_NODES: usize = 8;

/// `field:=404`: equals when the value is a number, else begins with. A number is below the literal or it is not, and
/// what is neither is none, so these two comparisons tell whether the value is one.
fn number_or_text(field: &Field, term: Term) -> Expr {
    let compare = |how| Expr::NumberTerm(field.clone(), how, term.text.clone());
    let equal = compare(Compare::Equal);
    let is_number = Expr::Any(vec![compare(Compare::Less), compare(Compare::GreaterEqual)]);
    let text = Expr::All(vec![
        Expr::Not(Box::new(is_number)),
        Expr::Term(field.clone(), term),
    ]);
    Expr::Any(vec![equal, text])
}
