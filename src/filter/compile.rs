//! From the trees of many rules to one program.
//!
//! Owns: the field table of all rules, the choice of a direct test for the common forms, and the order in which the
//! parts of a rule are tried. Promises: a program answers what its trees say; compiling does not fail. Leaves to
//! others: running it ([`eval`](super::eval)).
//!
//! Order: the operands of `All` and `Any` are independent of each other and have no effects, so they may be tried in
//! any order. Cheap and selective ones come first: labels, equality, other tests of one field, calculations, regular
//! expressions, and last the search of the whole line.

use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};

use super::line::number::Decimal;
use super::line::paths::{PathId, Paths, is_same};
use super::line::text::Search;
use super::literal::{LITERAL_BYTES_MIN, RequiredLiteral};
use super::tree::{
    Arithmetic, Compare, Expr, Field, Function, Label, Literal, Place, Source, Subnet, Term,
    TextTest, Type,
};

/// What becomes of an event that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Polarity {
    /// It is dropped. A match counts only when no object on the way of a data path of the rule holds the next key
    /// twice: another reader may take the last of equal keys, and an event that some reader would keep is kept.
    Drop,
    /// It is delivered.
    Deliver,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The rule matches when this is true.
    pub condition: Expr,
    /// What a match means.
    pub polarity: Polarity,
}

/// Rules compiled together: one field table, one code. Never changes but for what it learns of its own cost.
#[derive(Debug)]
pub struct Program {
    pub(super) paths: Paths,
    /// Paths of the label `meta`.
    pub(super) meta_paths: Paths,
    pub(super) fields: Vec<FieldPlan>,
    pub(super) rules: Vec<RulePlan>,
}

/// Index into [`Program::fields`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldId(pub(super) usize);

/// A field, with the slots of its sources.
#[derive(Debug)]
pub(super) struct FieldPlan {
    pub(super) name: Box<str>,
    pub(super) sources: Box<[SourcePlan]>,
    /// The only source, when that is a path of the line: the short way to most fields.
    pub(super) only: Option<PathId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourcePlan {
    Data(PathId),
    Label(Label),
    Meta(PathId),
    CrnService(PathId),
    Time,
}

/// A rule ready to run.
#[derive(Debug)]
pub(super) struct RulePlan {
    pub(super) condition: Node,
    /// Without it in the line, or a backslash, the condition is not true.
    pub(super) literal: Option<RequiredLiteral>,
    pub(super) polarity: Polarity,
    /// The data paths that the rule mentions, each once, if its matches have to be checked for equal keys.
    pub(super) checked: Vec<PathId>,
}

/// A condition.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Option<bool>),
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
    /// The field is, or is not, null.
    Null {
        field: FieldId,
        equal: bool,
    },
    /// The field is, or is not, this boolean.
    Bool {
        field: FieldId,
        equal: bool,
        value: bool,
    },
    /// The text is, or is not, one of these.
    Strings {
        from: TextFrom,
        equal: bool,
        strings: StringSet,
    },
    /// Compared with a number of the rule.
    Number {
        field: FieldId,
        /// [`FieldPlan::only`] of the field.
        only: Option<PathId>,
        cast: bool,
        operator: Compare,
        number: Decimal,
    },
    StartsWith(TextFrom, Box<[u8]>),
    EndsWith(TextFrom, Box<[u8]>),
    Contains(TextFrom, Box<Finder<'static>>),
    Matches(TextFrom, Box<Regex>),
    Exists(FieldId),
    Term(FieldId, Box<Search>),
    NumberTerm(FieldId, Compare, Decimal),
    Anywhere {
        search: Box<Search>,
        labels: bool,
    },
    Phrase(Operand, Box<Search>),
    InSubnet(Operand, Subnet),
    /// Any other test of strings; the last is a regular expression.
    TextTest(TextTest, Operand, Operand),
    MatchesValue(Operand, Box<Regex>),
    Compare(Compare, Operand, Operand),
    In(Operand, Box<[Operand]>),
    Truthy(Operand),
    /// A value that is a boolean.
    Value(Operand),
}

/// A field's text: of a string, and with `cast` of other scalars too.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextFrom {
    pub(super) field: FieldId,
    /// [`FieldPlan::only`] of the field.
    pub(super) only: Option<PathId>,
    pub(super) cast: bool,
}

/// A value.
#[derive(Debug)]
pub(super) enum Operand {
    Literal(Literal),
    Now,
    Field(FieldId),
    Read(FieldId, Type),
    Cast(Box<Operand>, Type),
    Arithmetic(Arithmetic, Box<(Operand, Operand)>),
    Call(Function, Box<[Operand]>),
    Condition(Box<Node>),
}

/// Strings to compare with; sorted when there are many.
#[derive(Debug)]
pub(super) struct StringSet(Box<[Box<[u8]>]>);

/// Up to here strings are compared one by one: most differ in length already.
const FEW_STRINGS: usize = 8;

impl StringSet {
    fn new(mut strings: Vec<Box<[u8]>>) -> Self {
        strings.sort_unstable();
        strings.dedup();
        Self(strings.into())
    }

    #[inline(always)]
    pub(super) fn contains(&self, text: &[u8]) -> bool {
        if self.0.len() <= FEW_STRINGS {
            self.0.iter().any(|string| is_same(string, text))
        } else {
            self.0
                .binary_search_by(|string| (**string).cmp(text))
                .is_ok()
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|string| &**string)
    }
}

/// Bytes a compiled regular expression may have, as for the parsers.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Program {
    /// Compiles rules together; their order gives them their numbers.
    #[must_use]
    pub fn compile(rules: Vec<Rule>) -> Self {
        let mut compiler = Compiler {
            paths: Paths::new(),
            meta_paths: Paths::new(),
            fields: Vec::new(),
            mentioned: Vec::new(),
        };
        let mut rules: Vec<RulePlan> = rules
            .into_iter()
            .map(|rule| {
                compiler.mentioned.clear();
                let condition = compiler.condition(rule.condition);
                RulePlan {
                    literal: condition
                        .required_literal(&compiler.fields)
                        .filter(|literal| literal.len() >= LITERAL_BYTES_MIN)
                        .map(RequiredLiteral::new),
                    condition,
                    polarity: rule.polarity,
                    checked: match rule.polarity {
                        Polarity::Drop => compiler.mentioned.clone(),
                        Polarity::Deliver => Vec::new(),
                    },
                }
            })
            .collect();
        let Compiler {
            paths,
            meta_paths,
            fields,
            ..
        } = compiler;
        // A walk for many paths goes far for some of them anyway.
        if paths.are_many() {
            for rule in &mut rules {
                rule.literal = None;
            }
        }
        Self {
            paths,
            meta_paths,
            fields,
            rules,
        }
    }

    /// Number of rules.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules.len()
    }
}

struct Compiler {
    paths: Paths,
    meta_paths: Paths,
    fields: Vec<FieldPlan>,
    /// Data paths of the rule at hand.
    mentioned: Vec<PathId>,
}

impl Compiler {
    fn condition(&mut self, expression: Expr) -> Node {
        match expression {
            Expr::Literal(Literal::Bool(value)) => Node::Constant(Some(value)),
            Expr::Literal(_) | Expr::Now => Node::Constant(None),
            Expr::All(operands) => {
                let mut nodes = Vec::new();
                self.all(operands, &mut nodes);
                one_or(self.ordered(nodes), Node::All)
            }
            Expr::Any(operands) => {
                let mut nodes = Vec::new();
                self.any(operands, &mut nodes);
                one_or(self.ordered(nodes), Node::Any)
            }
            Expr::Not(operand) => Node::Not(Box::new(self.condition(*operand))),
            Expr::Truthy(operand) => Node::Truthy(self.value(*operand)),
            Expr::Compare(operator, one, other) => self.comparison(operator, *one, *other),
            Expr::In(operand, list) => self.within(*operand, list),
            Expr::Text(test, text, part) => self.text_test(test, *text, *part),
            Expr::Phrase(operand, phrase) => {
                let operand = self.value(*operand);
                // The empty phrase is in every text.
                let term = Term {
                    text: phrase,
                    place: Place::Substring,
                    ignore_case: true,
                };
                Node::Phrase(operand, Box::new(Search::new(&term)))
            }
            Expr::Matches(operand, pattern) => self.matches(*operand, &pattern),
            Expr::InSubnet(operand, subnet) => Node::InSubnet(self.value(*operand), subnet),
            Expr::Exists(field) => Node::Exists(self.field(&field)),
            Expr::Term(field, term) => Node::Term(self.field(&field), Box::new(Search::new(&term))),
            Expr::NumberTerm(field, operator, number) => {
                Node::NumberTerm(self.field(&field), operator, Decimal::new(&number))
            }
            Expr::Anywhere { term, labels } => Node::Anywhere {
                search: Box::new(Search::new(&term)),
                labels,
            },
            value @ (Expr::Field(_)
            | Expr::Read(..)
            | Expr::Cast(..)
            | Expr::Arithmetic(..)
            | Expr::Call(..)) => Node::Value(self.value(value)),
        }
    }

    /// All in all is all.
    fn all(&mut self, operands: Vec<Expr>, nodes: &mut Vec<Node>) {
        for operand in operands {
            match operand {
                Expr::All(inner) => self.all(inner, nodes),
                operand => nodes.push(self.condition(operand)),
            }
        }
    }

    /// Any in any is any.
    fn any(&mut self, operands: Vec<Expr>, nodes: &mut Vec<Node>) {
        for operand in operands {
            match operand {
                Expr::Any(inner) => self.any(inner, nodes),
                operand => nodes.push(self.condition(operand)),
            }
        }
    }

    fn ordered(&self, mut nodes: Vec<Node>) -> Vec<Node> {
        nodes.sort_by_key(|node| node.cost(&self.fields));
        nodes
    }

    fn comparison(&mut self, operator: Compare, one: Expr, other: Expr) -> Node {
        let (operator, one, other) = match (&one, &other) {
            (Expr::Literal(_), Expr::Literal(_)) => (operator, one, other),
            (Expr::Literal(_), _) => (mirrored(operator), other, one),
            _ => (operator, one, other),
        };
        let equal = match operator {
            Compare::Equal => Some(true),
            Compare::NotEqual => Some(false),
            _ => None,
        };
        if let (Some(equal), Expr::Field(field), Expr::Literal(Literal::Null)) =
            (equal, &one, &other)
        {
            return Node::Null {
                field: self.field(field),
                equal,
            };
        }
        if let (
            Some(equal),
            Expr::Field(field) | Expr::Read(field, Type::Bool),
            Expr::Literal(Literal::Bool(value)),
        ) = (equal, &one, &other)
        {
            return Node::Bool {
                field: self.field(field),
                equal,
                value: *value,
            };
        }
        match (equal, other) {
            (Some(equal), Expr::Literal(Literal::String(text))) => match self.text_from(one) {
                Ok(from) => Node::Strings {
                    from,
                    equal,
                    strings: StringSet::new(vec![text.into_boxed_bytes()]),
                },
                Err(one) => Node::Compare(
                    operator,
                    self.value(one),
                    Operand::Literal(Literal::String(text)),
                ),
            },
            (_, Expr::Literal(Literal::Number(digits))) => match self.number_from(one) {
                Ok((field, cast)) => Node::Number {
                    field,
                    only: self.fields[field.0].only,
                    cast,
                    operator,
                    number: Decimal::new(&digits),
                },
                Err(one) => Node::Compare(
                    operator,
                    self.value(one),
                    Operand::Literal(Literal::Number(digits)),
                ),
            },
            (_, other) => Node::Compare(operator, self.value(one), self.value(other)),
        }
    }

    fn within(&mut self, operand: Expr, list: Vec<Expr>) -> Node {
        let all_strings = !list.is_empty()
            && list
                .iter()
                .all(|item| matches!(item, Expr::Literal(Literal::String(_))));
        let operand = if all_strings {
            match self.text_from(operand) {
                Ok(from) => {
                    let strings = list.into_iter().filter_map(|item| match item {
                        Expr::Literal(Literal::String(text)) => Some(text.into_boxed_bytes()),
                        _ => None,
                    });
                    return Node::Strings {
                        from,
                        equal: true,
                        strings: StringSet::new(strings.collect()),
                    };
                }
                Err(operand) => operand,
            }
        } else {
            operand
        };
        let operand = self.value(operand);
        Node::In(
            operand,
            list.into_iter().map(|item| self.value(item)).collect(),
        )
    }

    fn text_test(&mut self, test: TextTest, text: Expr, part: Expr) -> Node {
        match part {
            Expr::Literal(Literal::String(part)) => match self.text_from(text) {
                Ok(from) => {
                    let part = part.into_boxed_bytes();
                    match test {
                        TextTest::StartsWith => Node::StartsWith(from, part),
                        TextTest::EndsWith => Node::EndsWith(from, part),
                        TextTest::Contains => {
                            Node::Contains(from, Box::new(Finder::new(&part).into_owned()))
                        }
                    }
                }
                Err(text) => Node::TextTest(
                    test,
                    self.value(text),
                    Operand::Literal(Literal::String(part)),
                ),
            },
            part => Node::TextTest(test, self.value(text), self.value(part)),
        }
    }

    fn matches(&mut self, operand: Expr, pattern: &str) -> Node {
        let regex = RegexBuilder::new(pattern)
            .size_limit(REGEX_BYTES_MAX)
            .build();
        // The parser compiled it under the same limit; one that does not compile matches nothing.
        let Ok(regex) = regex else {
            return Node::Constant(Some(false));
        };
        let regex = Box::new(regex);
        match self.text_from(operand) {
            Ok(from) => Node::Matches(from, regex),
            Err(operand) => Node::MatchesValue(self.value(operand), regex),
        }
    }

    /// The field whose text an expression is; else the expression again.
    fn text_from(&mut self, expression: Expr) -> Result<TextFrom, Expr> {
        let (field, cast) = match expression {
            Expr::Field(field) | Expr::Read(field, Type::String) => (field, false),
            Expr::Cast(inner, Type::String) => match *inner {
                Expr::Field(field) => (field, true),
                inner => return Err(Expr::Cast(Box::new(inner), Type::String)),
            },
            other => return Err(other),
        };
        let field = self.field(&field);
        Ok(TextFrom {
            field,
            only: self.fields[field.0].only,
            cast,
        })
    }

    /// The field whose number an expression is, and whether it is converted; else the expression again.
    fn number_from(&mut self, expression: Expr) -> Result<(FieldId, bool), Expr> {
        let (field, cast) = match expression {
            Expr::Field(field) | Expr::Read(field, Type::Number) => (field, false),
            Expr::Cast(inner, Type::Number) => match *inner {
                Expr::Field(field) => (field, true),
                inner => return Err(Expr::Cast(Box::new(inner), Type::Number)),
            },
            other => return Err(other),
        };
        Ok((self.field(&field), cast))
    }

    fn value(&mut self, expression: Expr) -> Operand {
        match expression {
            Expr::Literal(literal) => Operand::Literal(literal),
            Expr::Now => Operand::Now,
            Expr::Field(field) => Operand::Field(self.field(&field)),
            Expr::Read(field, wanted) => Operand::Read(self.field(&field), wanted),
            Expr::Cast(inner, to) => Operand::Cast(Box::new(self.value(*inner)), to),
            Expr::Arithmetic(operator, one, other) => {
                let operands = (self.value(*one), self.value(*other));
                Operand::Arithmetic(operator, Box::new(operands))
            }
            Expr::Call(function, arguments) => {
                let arguments = arguments.into_iter().map(|argument| self.value(argument));
                Operand::Call(function, arguments.collect())
            }
            condition => Operand::Condition(Box::new(self.condition(condition))),
        }
    }

    /// The number of a field; fields with the same sources are the same.
    fn field(&mut self, field: &Field) -> FieldId {
        let sources: Box<[SourcePlan]> = field
            .sources
            .iter()
            .map(|source| match source {
                Source::Data(path) => SourcePlan::Data(self.data(path)),
                Source::CrnService(path) => SourcePlan::CrnService(self.data(path)),
                Source::Meta(path) => SourcePlan::Meta(self.meta_paths.add(path)),
                Source::Label(label) => SourcePlan::Label(*label),
                Source::Time => SourcePlan::Time,
            })
            .collect();
        let known = self.fields.iter().position(|plan| plan.sources == sources);
        FieldId(known.unwrap_or_else(|| {
            let only = match *sources {
                [SourcePlan::Data(path)] => Some(path),
                _ => None,
            };
            self.fields.push(FieldPlan {
                name: field.name.clone(),
                sources,
                only,
            });
            self.fields.len() - 1
        }))
    }

    fn data(&mut self, path: &[Box<str>]) -> PathId {
        let path = self.paths.add(path);
        if !self.mentioned.contains(&path) {
            self.mentioned.push(path);
        }
        path
    }
}

/// A single operand needs no node around it.
fn one_or(mut nodes: Vec<Node>, joined: impl FnOnce(Box<[Node]>) -> Node) -> Node {
    match nodes.len() {
        1 => nodes.remove(0),
        _ => joined(nodes.into()),
    }
}

/// The comparison with both sides exchanged.
fn mirrored(operator: Compare) -> Compare {
    match operator {
        Compare::Equal | Compare::NotEqual => operator,
        Compare::Less => Compare::Greater,
        Compare::LessEqual => Compare::GreaterEqual,
        Compare::Greater => Compare::Less,
        Compare::GreaterEqual => Compare::LessEqual,
    }
}

impl Node {
    /// Bytes that are in a line without escapes if the node is true of it: the longest such.
    fn required_literal(&self, fields: &[FieldPlan]) -> Option<&[u8]> {
        match self {
            Node::All(nodes) => nodes
                .iter()
                .filter_map(|node| node.required_literal(fields))
                .max_by_key(|literal| literal.len()),
            Node::Strings {
                from,
                equal: true,
                strings,
            } if from.only.is_some() => match &*strings.0 {
                [string] => Some(string),
                _ => None,
            },
            Node::StartsWith(from, part) | Node::EndsWith(from, part) if from.only.is_some() => {
                Some(part)
            }
            Node::Contains(from, part) if from.only.is_some() => Some(part.needle()),
            Node::Term(field, search) if fields[field.0].only.is_some() => search.exact(),
            _ => None,
        }
    }

    /// A guess at how soon the node should be tried: its cost, and within a class how rarely it is true.
    pub(super) fn cost(&self, fields: &[FieldPlan]) -> u32 {
        let of_field = |field: &FieldId, cost: u32| {
            let only_labels = fields[field.0]
                .sources
                .iter()
                .all(|source| matches!(source, SourcePlan::Label(_) | SourcePlan::Time));
            if only_labels { cost / 10 } else { cost }
        };
        let of = |node: &Node| node.cost(fields);
        match self {
            Node::Constant(_) => 0,
            Node::All(nodes) | Node::Any(nodes) => nodes
                .iter()
                .fold(0, |sum: u32, node| sum.saturating_add(of(node))),
            Node::Not(node) => of(node).saturating_add(1),
            Node::Strings {
                from,
                equal: true,
                strings,
            } => of_field(&from.field, 10 + u32::from(strings.0.len() > 1)),
            Node::Number {
                field,
                operator: Compare::Equal,
                ..
            } => of_field(field, 12),
            Node::StartsWith(from, _) | Node::EndsWith(from, _) => of_field(&from.field, 13),
            Node::Term(field, _) => of_field(field, 14),
            Node::Number { field, .. } | Node::NumberTerm(field, ..) => of_field(field, 15),
            Node::Contains(from, _) => of_field(&from.field, 16),
            Node::Strings { from, .. } => of_field(&from.field, 18),
            Node::Bool { field, .. } => of_field(field, 17),
            Node::Null { field, .. } | Node::Exists(field) => of_field(field, 19),
            Node::Truthy(_) | Node::Value(_) => 30,
            Node::Compare(..) | Node::TextTest(..) | Node::InSubnet(..) => 40,
            Node::In(_, list) => 40 + u32::try_from(list.len()).unwrap_or(u32::MAX / 2),
            Node::Matches(..) | Node::MatchesValue(..) => 100,
            Node::Phrase(..) => 120,
            Node::Anywhere { .. } => 1000,
        }
    }
}
