//! Types: the untyped syntax tree to the typed one.
//!
//! Owns: which type a field is read as, which operands go together, and what stands as a condition. Promises: the tree is
//! typed as [`tree`](super::super::tree) says, and has at most [`NODES_MAX`] nodes. Leaves to others: the calls of
//! functions (`calls`), the names of fields (`fields`).
//!
//! A field of the event has no type until another operand or a function gives it one: then it is read as that. Two sides
//! without a type ask for a cast.

use std::ops::Range;

use super::super::tree::{
    Arithmetic, Compare, Expr, Function, Literal, Place, Severity, Source, Term, Type,
};
use super::lexer::Namespace;
use super::nodes::{Keypath, Kind, Name, Node, Operator, SEVERITIES};
use super::{NODES_MAX, Problem, fields};

/// The condition that a whole rule is.
pub(super) fn rule(text: &str, node: &Node) -> Result<Expr, Problem> {
    Typing { text, nodes: 0 }.condition(node)
}

/// A typed node that may still get a type from its neighbours.
pub(super) struct Value {
    /// A field is [`Expr::Field`] here, also when its type is known: comparing it with null must not read it.
    pub(super) expr: Expr,
    pub(super) shape: Shape,
    pub(super) span: Range<usize>,
}

/// What is known of a value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Always null.
    Null,
    /// Of fields, which are of any type.
    Untyped,
    /// Of this type, or null.
    Of(Type),
    /// True, false or null, but no value.
    Condition,
}

/// How a type is spoken of.
pub(super) fn named(kind: Type) -> &'static str {
    match kind {
        Type::Bool => "a boolean",
        Type::Number => "a number",
        Type::String => "a string",
        Type::Timestamp => "a timestamp",
        Type::Interval => "an interval",
        Type::Severity => "a severity",
    }
}

/// The name of a type in a cast, when it has one.
fn cast_name(kind: Type) -> Option<&'static str> {
    match kind {
        Type::Bool => Some("bool"),
        Type::Number => Some("number"),
        Type::String => Some("string"),
        Type::Timestamp => Some("timestamp"),
        Type::Interval | Type::Severity => None,
    }
}

/// Whether a cast from one type to another gives null for every value.
fn cast_is_null(from: Type, to: Type) -> bool {
    match to {
        Type::String => false,
        Type::Number => matches!(from, Type::Interval | Type::Severity),
        Type::Bool => matches!(from, Type::Timestamp | Type::Interval | Type::Severity),
        Type::Timestamp => matches!(from, Type::Bool | Type::Interval | Type::Severity),
        Type::Interval | Type::Severity => from != to,
    }
}

impl Value {
    /// The value, a field read as its type.
    pub(super) fn settled(self) -> Expr {
        match (self.expr, self.shape) {
            (Expr::Field(field), Shape::Of(kind)) => Expr::Read(field, kind),
            (expr, _) => expr,
        }
    }

    fn string(&self) -> Option<&str> {
        match &self.expr {
            Expr::Literal(Literal::String(text)) => Some(text),
            _ => None,
        }
    }

    fn is_whole_event(&self) -> bool {
        matches!(&self.expr, Expr::Field(field) if matches!(&field.sources[..], [Source::Data(path)] if path.is_empty()))
    }

    /// A condition's null is not a value's null, so it is not one.
    pub(super) fn refuse_condition(&self) -> Result<(), Problem> {
        if self.shape != Shape::Condition {
            return Ok(());
        }
        let suggestion = match &self.expr {
            Expr::Not(_) => "`!` binds tighter than comparisons: write `!( … )` around all of it",
            _ => "combine conditions with `&&`, `||` and `!`; leave out `== true`",
        };
        Err(Problem::new(
            "a condition stands where a value is expected",
            self.span.clone(),
        )
        .suggest(suggestion))
    }
}

/// Types one rule.
pub(super) struct Typing<'a> {
    text: &'a str,
    nodes: usize,
}

impl Typing<'_> {
    fn written(&self, span: &Range<usize>) -> &str {
        &self.text[span.clone()]
    }

    fn count(&mut self, span: &Range<usize>) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("the rule has more than {NODES_MAX} nodes");
            return Err(Problem::new(message, span.start..span.start));
        }
        Ok(())
    }

    /// A node as a condition.
    pub(super) fn condition(&mut self, node: &Node) -> Result<Expr, Problem> {
        let value = self.value(node)?;
        match (value.shape, &value.expr) {
            (Shape::Condition, _) | (_, Expr::Literal(Literal::Null | Literal::Bool(_))) => {
                Ok(value.expr)
            }
            (Shape::Of(Type::Bool) | Shape::Untyped | Shape::Null, _)
            | (Shape::Of(_), Expr::Field(_)) => {
                self.count(&value.span)?;
                Ok(Expr::Truthy(Box::new(value.expr)))
            }
            (Shape::Of(kind), _) => {
                let message = format!("expected a condition, found {}", named(kind));
                Err(Problem::new(message, value.span).suggest("compare it, for example with `==`"))
            }
        }
    }

    /// A node as what it is.
    pub(super) fn value(&mut self, node: &Node) -> Result<Value, Problem> {
        self.count(&node.span)?;
        let span = node.span.clone();
        let (expr, shape) = match &node.kind {
            Kind::Literal(literal) => literal_value(literal),
            Kind::Now => (Expr::Now, Shape::Of(Type::Timestamp)),
            Kind::Keypath(keypath) => {
                let (field, known) = fields::resolve(keypath, self.written(&span), span.clone())?;
                (Expr::Field(field), known.map_or(Shape::Untyped, Shape::Of))
            }
            Kind::Regex(_) => {
                return Err(Problem::new(
                    "a regular expression stands where a value is expected",
                    span,
                )
                .suggest("did you mean `.matches(/…/)`?"));
            }
            Kind::List(_) => {
                return Err(
                    Problem::new("a list stands where a value is expected", span)
                        .suggest("did you mean `inArray(field, ['a', 'b'])`?"),
                );
            }
            Kind::Call(name, arguments) => self.call(name, arguments)?,
            Kind::Case(arms, otherwise) => self.case(arms, otherwise)?,
            Kind::Cast(operand, name) => self.cast(operand, name)?,
            Kind::Not(operand) => (
                Expr::Not(Box::new(self.condition(operand)?)),
                Shape::Condition,
            ),
            Kind::Negate(operand) => self.negate(operand)?,
            Kind::All(operands) => (Expr::All(self.conditions(operands)?), Shape::Condition),
            Kind::Any(operands) => (Expr::Any(self.conditions(operands)?), Shape::Condition),
            Kind::Binary(operator, left, right) => self.binary(*operator, left, right)?,
        };
        Ok(Value { expr, shape, span })
    }

    fn conditions(&mut self, nodes: &[Node]) -> Result<Vec<Expr>, Problem> {
        nodes.iter().map(|node| self.condition(node)).collect()
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: &Node,
        right: &Node,
    ) -> Result<(Expr, Shape), Problem> {
        match operator {
            Operator::All => Ok((
                Expr::All(vec![self.condition(left)?, self.condition(right)?]),
                Shape::Condition,
            )),
            Operator::Any => Ok((
                Expr::Any(vec![self.condition(left)?, self.condition(right)?]),
                Shape::Condition,
            )),
            Operator::Compare(compare) => self.compare(compare, left, right),
            Operator::Phrase => Ok((self.phrase(left, right)?, Shape::Condition)),
            Operator::NoPhrase => Ok((
                Expr::Not(Box::new(self.phrase(left, right)?)),
                Shape::Condition,
            )),
            Operator::Anywhere => anywhere(left, right),
            Operator::Arithmetic(arithmetic) => self.arithmetic(arithmetic, left, right),
        }
    }

    fn compare(
        &mut self,
        compare: Compare,
        left: &Node,
        right: &Node,
    ) -> Result<(Expr, Shape), Problem> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        let span = left.span.start..right.span.end;
        left.refuse_condition()?;
        right.refuse_condition()?;
        if left.shape == Shape::Null || right.shape == Shape::Null {
            // A test of presence: the field is there, whatever its type.
            let expr = Expr::Compare(compare, Box::new(left.expr), Box::new(right.expr));
            return Ok((expr, Shape::Condition));
        }
        if left.shape == Shape::Untyped && right.shape == Shape::Untyped {
            return Err(self.untyped(&left, &right, span));
        }
        let (left, right) = self.unify_two(left, right)?;
        Ok((
            Expr::Compare(compare, Box::new(left), Box::new(right)),
            Shape::Condition,
        ))
    }

    fn untyped(&self, left: &Value, right: &Value, span: Range<usize>) -> Problem {
        let problem = Problem::new("the type of both sides is unknown", span);
        let (left, right) = (self.written(&left.span), self.written(&right.span));
        let word = right.to_ascii_lowercase();
        if matches!(&*word, "true" | "false" | "null") {
            return problem.suggest(format!("did you mean `{word}`?"));
        }
        problem.suggest(if right.contains(|character: char| !character.is_alphanumeric()) {
            format!("cast one side, for example `{left}:string`")
        } else {
            format!("did you mean the text `'{right}'`? Else cast one side, for example `{left}:string`")
        })
    }

    fn unify_two(&self, left: Value, right: Value) -> Result<(Expr, Expr), Problem> {
        let (exprs, _) = self.unify(vec![left, right])?;
        let [left, right]: [Expr; 2] = exprs.try_into().expect("as many as were given");
        Ok((left, right))
    }

    /// Gives values one type, that of the first which has one. Without any they stay as they are.
    pub(super) fn unify(&self, values: Vec<Value>) -> Result<(Vec<Expr>, Shape), Problem> {
        for value in &values {
            value.refuse_condition()?;
        }
        let of = |kind: Type| {
            values
                .iter()
                .filter(move |value| value.shape == Shape::Of(kind))
        };
        let first = values.iter().find_map(|value| match value.shape {
            Shape::Of(kind) => Some(kind),
            Shape::Null | Shape::Untyped | Shape::Condition => None,
        });
        let Some(mut wanted) = first else {
            let untyped = values.iter().any(|value| value.shape == Shape::Untyped);
            let shape = if untyped { Shape::Untyped } else { Shape::Null };
            return Ok((values.into_iter().map(|value| value.expr).collect(), shape));
        };
        // Severities meet text: literals are taken as severities, else the severities as their words.
        if of(Type::Severity).next().is_some() && of(Type::String).next().is_some() {
            let literals = of(Type::String).all(|value| value.string().is_some());
            wanted = if literals {
                Type::Severity
            } else {
                Type::String
            };
        }
        let exprs: Result<_, _> = values
            .into_iter()
            .map(|value| self.fit(value, wanted, ""))
            .collect();
        Ok((exprs?, Shape::Of(wanted)))
    }

    /// The value as one of this type. `user` is the function that wants it, if one does, for the message.
    pub(super) fn fit(&self, value: Value, wanted: Type, user: &str) -> Result<Expr, Problem> {
        value.refuse_condition()?;
        match value.shape {
            Shape::Null | Shape::Condition => Ok(value.expr),
            Shape::Of(kind) if kind == wanted => Ok(value.settled()),
            Shape::Of(Type::Severity) if wanted == Type::String => {
                Ok(Expr::Cast(Box::new(value.settled()), Type::String))
            }
            Shape::Untyped => self.read_as(value, wanted),
            Shape::Of(kind) => match value.string() {
                Some(word) if wanted == Type::Severity => {
                    severity_literal(word, value.span.clone())
                }
                _ => Err(self.mismatch(&value, kind, wanted, user)),
            },
        }
    }

    fn mismatch(&self, value: &Value, found: Type, wanted: Type, user: &str) -> Problem {
        let written = self.written(&value.span);
        let (wants, found_name) = (named(wanted), named(found));
        let message = if user.is_empty() {
            format!("expected {wants}, found {found_name}")
        } else {
            format!("`{user}` takes {wants}, found {found_name}")
        };
        let problem = Problem::new(message, value.span.clone());
        let suggestion = match (&value.expr, wanted) {
            (Expr::Literal(Literal::Number(_)), Type::String) => {
                format!("did you mean `'{written}'`?")
            }
            (Expr::Literal(Literal::String(text)), Type::Timestamp) => {
                format!("did you mean `@'{text}'`?")
            }
            (Expr::Literal(Literal::String(text)), Type::Number) if text.parse::<f64>().is_ok() => {
                format!("did you mean `{text}` without quotes? Else cast one side")
            }
            (Expr::Literal(Literal::String(text)), Type::Bool)
                if matches!(&**text, "true" | "false") =>
            {
                format!("did you mean `{text}` without quotes? Else cast one side")
            }
            _ => match cast_name(wanted).filter(|_| !cast_is_null(found, wanted)) {
                Some(name) => format!("cast it: `{written}:{name}`"),
                None => return problem,
            },
        };
        problem.suggest(suggestion)
    }

    fn read_as(&self, value: Value, wanted: Type) -> Result<Expr, Problem> {
        let written = self.written(&value.span);
        let severity = SEVERITIES
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(written));
        if let (Type::Severity, Some((word, _))) = (wanted, severity) {
            let message = format!("`{written}` is a field");
            return Err(
                Problem::new(message, value.span).suggest(format!("did you mean `{word}`?"))
            );
        }
        if value.is_whole_event() {
            return Err(
                Problem::new(format!("`{written}` is the whole event"), value.span)
                    .suggest("name a key, or search all of it with `$d ~~ 'text'`"),
            );
        }
        if wanted == Type::Interval {
            return Err(Problem::new("a field is never an interval", value.span)
                .suggest("compare numbers, or the difference of two timestamps"));
        }
        Ok(read(value.expr, wanted))
    }

    fn phrase(&mut self, left: &Node, right: &Node) -> Result<Expr, Problem> {
        let value = self.value(left)?;
        value.refuse_condition()?;
        let text = text_literal(right)?;
        let value = match value.shape {
            // A field's text is its own, a calculated value's that of its conversion.
            Shape::Of(Type::Timestamp | Type::Interval | Type::Severity) => {
                Expr::Cast(Box::new(value.settled()), Type::String)
            }
            Shape::Null
            | Shape::Untyped
            | Shape::Of(Type::Bool | Type::Number | Type::String)
            | Shape::Condition => value.expr,
        };
        Ok(Expr::Phrase(Box::new(value), text))
    }

    fn arithmetic(
        &mut self,
        operator: Arithmetic,
        left: &Node,
        right: &Node,
    ) -> Result<(Expr, Shape), Problem> {
        use Arithmetic::{Add, Subtract};
        use Type::{Interval, Number, Timestamp};
        let (left, right) = (self.value(left)?, self.value(right)?);
        let span = left.span.start..right.span.end;
        let time = |value: &Value| match value.shape {
            Shape::Of(kind @ (Timestamp | Interval)) => Some(kind),
            _ => None,
        };
        // A field beside an interval or a timestamp is a timestamp: it is never an interval.
        let with_field =
            |value: &Value| time(value).or((value.shape == Shape::Untyped).then_some(Timestamp));
        let (wanted, result) = match (operator, with_field(&left), with_field(&right)) {
            _ if time(&left).is_none() && time(&right).is_none() => ((Number, Number), Number),
            (Add, Some(Interval), Some(Timestamp)) => ((Interval, Timestamp), Timestamp),
            (Add | Subtract, Some(Timestamp), Some(Interval)) => ((Timestamp, Interval), Timestamp),
            (Add | Subtract, Some(Interval), Some(Interval)) => ((Interval, Interval), Interval),
            (Subtract, Some(Timestamp), Some(Timestamp)) => ((Timestamp, Timestamp), Interval),
            _ => {
                left.refuse_condition()?;
                right.refuse_condition()?;
                return Err(Problem::new("this is not calculated with times", span).suggest(
                    "there are timestamp ± interval, timestamp - timestamp, and interval ± interval",
                ));
            }
        };
        let is_string = |value: &Value| value.shape == Shape::Of(Type::String);
        if operator == Add && (is_string(&left) || is_string(&right)) {
            return Err(Problem::new("`+` adds numbers and times", span)
                .suggest("join strings with `concat(a, b)`"));
        }
        let left = self.fit(left, wanted.0, "")?;
        let right = self.fit(right, wanted.1, "")?;
        Ok((
            Expr::Arithmetic(operator, Box::new(left), Box::new(right)),
            Shape::Of(result),
        ))
    }

    fn negate(&mut self, operand: &Node) -> Result<(Expr, Shape), Problem> {
        let value = self.value(operand)?;
        let (zero, kind) = match value.shape {
            Shape::Of(Type::Interval) => (Literal::Interval(0), Type::Interval),
            _ => (Literal::Number("0".into()), Type::Number),
        };
        let expr = match self.fit(value, kind, "")? {
            Expr::Literal(Literal::Number(number)) => {
                Expr::Literal(Literal::Number(match number.strip_prefix('-') {
                    Some(positive) => positive.into(),
                    None => format!("-{number}").into(),
                }))
            }
            Expr::Literal(Literal::Interval(nanoseconds)) => {
                Expr::Literal(Literal::Interval(-nanoseconds))
            }
            other => Expr::Arithmetic(
                Arithmetic::Subtract,
                Box::new(Expr::Literal(zero)),
                Box::new(other),
            ),
        };
        Ok((expr, Shape::Of(kind)))
    }

    fn cast(&mut self, operand: &Node, name: &Name) -> Result<(Expr, Shape), Problem> {
        let wanted = match &*name.text {
            "string" => Type::String,
            "number" | "num" => Type::Number,
            "bool" => Type::Bool,
            "timestamp" => Type::Timestamp,
            other => {
                return Err(Problem::new(
                    format!("there is no cast to `{other}`"),
                    name.span.clone(),
                )
                .suggest("there are :string, :number, :bool and :timestamp"));
            }
        };
        let value = self.value(operand)?;
        value.refuse_condition()?;
        if value.is_whole_event() {
            return self
                .read_as(value, wanted)
                .map(|expr| (expr, Shape::Of(wanted)));
        }
        let expr = match value.shape {
            Shape::Of(kind) if kind == wanted => value.settled(),
            Shape::Of(kind) if cast_is_null(kind, wanted) => {
                let message = format!("{} has no value as {}", named(kind), named(wanted));
                return Err(Problem::new(message, name.span.clone()));
            }
            _ => Expr::Cast(Box::new(value.settled()), wanted),
        };
        Ok((expr, Shape::Of(wanted)))
    }

    /// A case is an `if` in the other branch of an `if`.
    fn case(&mut self, arms: &[(Node, Node)], otherwise: &Node) -> Result<(Expr, Shape), Problem> {
        let mut conditions = Vec::new();
        let mut values = Vec::new();
        for (condition, value) in arms {
            conditions.push(self.condition(condition)?);
            values.push(self.value(value)?);
        }
        values.push(self.value(otherwise)?);
        let (mut values, shape) = self.unify(values)?;
        let otherwise = values.pop().expect("the last was pushed above");
        let arms = conditions.into_iter().zip(values).rev();
        let expr = arms.fold(otherwise, |otherwise, (condition, value)| {
            Expr::Call(Function::If, vec![condition, value, otherwise])
        });
        Ok((expr, shape))
    }
}

fn literal_value(literal: &Literal) -> (Expr, Shape) {
    let shape = match literal {
        Literal::Null => Shape::Null,
        Literal::Bool(_) => Shape::Of(Type::Bool),
        Literal::Number(_) => Shape::Of(Type::Number),
        Literal::String(_) => Shape::Of(Type::String),
        Literal::Timestamp(_) => Shape::Of(Type::Timestamp),
        Literal::Interval(_) => Shape::Of(Type::Interval),
        Literal::Severity(_) => Shape::Of(Type::Severity),
    };
    (Expr::Literal(literal.clone()), shape)
}

/// The fields of an untyped value, read as this type. Untyped are fields, and choices among untyped values and null.
fn read(expr: Expr, wanted: Type) -> Expr {
    match expr {
        Expr::Field(field) => Expr::Read(field, wanted),
        Expr::Call(function, arguments) => {
            // The first argument of an `if` is its condition.
            let values = usize::from(function == Function::If);
            let typed = arguments.into_iter().enumerate().map(|(at, argument)| {
                if at < values {
                    argument
                } else {
                    read(argument, wanted)
                }
            });
            Expr::Call(function, typed.collect())
        }
        other => other,
    }
}

fn severity_literal(word: &str, span: Range<usize>) -> Result<Expr, Problem> {
    let known: Option<Severity> = SEVERITIES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(word))
        .map(|(_, severity)| *severity);
    known
        .map(|severity| Expr::Literal(Literal::Severity(severity)))
        .ok_or_else(|| {
            Problem::new(format!("`{word}` is no severity"), span)
                .suggest("severities are VERBOSE, DEBUG, INFO, WARNING, ERROR, CRITICAL")
        })
}

/// The text that `~` and `~~` search for.
fn text_literal(node: &Node) -> Result<Box<str>, Problem> {
    match &node.kind {
        Kind::Literal(Literal::String(text)) if !text.is_empty() => Ok(text.clone()),
        Kind::Literal(Literal::String(_)) => Err(Problem::new(
            "the text to search for is empty",
            node.span.clone(),
        )),
        _ => Err(Problem::new(
            "expected the text to search for, in single quotes",
            node.span.clone(),
        )),
    }
}

fn anywhere(left: &Node, right: &Node) -> Result<(Expr, Shape), Problem> {
    let whole = matches!(&left.kind, Kind::Keypath(Keypath { namespace: Some(Namespace::Data), keys }) if keys.is_empty());
    if !whole {
        return Err(
            Problem::new("`~~` searches the whole event", left.span.clone())
                .suggest("write `$d ~~ 'text'`, or `field ~ 'text'` to search one field"),
        );
    }
    let term = Term {
        text: text_literal(right)?,
        place: Place::Substring,
        ignore_case: true,
    };
    Ok((
        Expr::Anywhere {
            term,
            labels: false,
        },
        Shape::Condition,
    ))
}
