//! Calls of functions: the arguments checked and typed against the table.
//!
//! Owns: how many arguments a function takes and of which types, its patterns and networks, and what is said of a
//! function that rules do not have. Leaves to others: the table itself (`functions`) and the meaning of the functions.

use core::net::IpAddr;

use regex::RegexBuilder;

use super::super::tree::{Expr, Function, Literal, Subnet, Type};
use super::functions::{self, Meaning};
use super::nearest::nearest;
use super::nodes::{Kind, Name, Node};
use super::typing::{Shape, Typing};
use super::{Problem, REGEX_BYTES_MAX, REGEX_DEPTH_MAX};

impl Typing<'_> {
    /// A call, or a method with its object as the first argument.
    pub(super) fn call(
        &mut self,
        name: &Name,
        arguments: &[Node],
    ) -> Result<(Expr, Shape), Problem> {
        let Some(entry) = functions::find(&name.text) else {
            return Err(unknown(name));
        };
        if let Meaning::Refused(instead) = entry.meaning {
            let message = format!("function `{}` is not supported in rules", name.text);
            return Err(Problem::new(message, name.span.clone()).suggest(instead));
        }
        expect_count(name, arguments.len(), entry.meaning.counts())?;
        let user = &*name.text;
        match (&entry.meaning, arguments) {
            (Meaning::Call(function, parameters, _, result), _) => {
                let last = parameters[parameters.len() - 1];
                let types = parameters.iter().copied().chain(std::iter::repeat(last));
                let arguments: Result<_, _> = arguments
                    .iter()
                    .zip(types)
                    .map(|(node, kind)| self.argument(node, kind, user))
                    .collect();
                Ok((Expr::Call(*function, arguments?), Shape::Of(*result)))
            }
            (Meaning::If, [condition, values @ ..]) => {
                let condition = self.condition(condition)?;
                let (mut values, shape) = self.one_type(values)?;
                values.insert(0, condition);
                Ok((Expr::Call(Function::If, values), shape))
            }
            (Meaning::FirstNonNull, _) => {
                let (values, shape) = self.one_type(arguments)?;
                Ok((Expr::Call(Function::FirstNonNull, values), shape))
            }
            (Meaning::Now, _) => Ok((Expr::Now, Shape::Of(Type::Timestamp))),
            (Meaning::Constant(number), _) => Ok((
                Expr::Literal(Literal::Number((*number).into())),
                Shape::Of(Type::Number),
            )),
            (test, [value, rest @ ..]) => {
                let condition = self.test(test, value, rest, user)?;
                Ok((condition, Shape::Condition))
            }
            (_, []) => unreachable!("a function without arguments is handled above"),
        }
    }

    /// A function that is a condition on its first argument.
    fn test(
        &mut self,
        test: &Meaning,
        value: &Node,
        rest: &[Node],
        user: &str,
    ) -> Result<Expr, Problem> {
        match (test, rest) {
            (Meaning::In, _) => self.one_of(value, rest),
            (Meaning::InArray, [list]) => match &list.kind {
                Kind::List(items) => self.one_of(value, items),
                _ => Err(Problem::new("expected a list", list.span.clone())
                    .suggest("write `inArray(field, ['a', 'b'])`")),
            },
            (Meaning::Text(test), [part]) => {
                let text = self.argument(value, Type::String, user)?;
                let part = self.argument(part, Type::String, user)?;
                Ok(Expr::Text(*test, Box::new(text), Box::new(part)))
            }
            (Meaning::Matches, [regex]) => {
                let text = self.argument(value, Type::String, user)?;
                Ok(Expr::Matches(Box::new(text), pattern(regex)?))
            }
            (Meaning::InSubnet, [network]) => {
                let address = self.argument(value, Type::String, user)?;
                Ok(Expr::InSubnet(Box::new(address), subnet(network)?))
            }
            _ => unreachable!("the arguments were counted, and other functions are handled above"),
        }
    }

    fn argument(&mut self, node: &Node, wanted: Type, user: &str) -> Result<Expr, Problem> {
        let value = self.value(node)?;
        self.fit(value, wanted, user)
    }

    fn one_type(&mut self, nodes: &[Node]) -> Result<(Vec<Expr>, Shape), Problem> {
        let values: Result<_, _> = nodes.iter().map(|node| self.value(node)).collect();
        self.unify(values?)
    }

    fn one_of(&mut self, value: &Node, items: &[Node]) -> Result<Expr, Problem> {
        let span = value.span.clone();
        let mut values = vec![self.value(value)?];
        for item in items {
            values.push(self.value(item)?);
        }
        let (mut exprs, shape) = self.unify(values)?;
        if shape == Shape::Untyped && exprs.iter().filter(|expr| !is_null(expr)).count() > 1 {
            return Err(Problem::new("the type of the values is unknown", span)
                .suggest("cast the first, for example `field:string`"));
        }
        let value = exprs.remove(0);
        Ok(Expr::In(Box::new(value), exprs))
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(Literal::Null))
}

fn unknown(name: &Name) -> Problem {
    let problem = Problem::new(
        format!("unknown function `{}`", name.text),
        name.span.clone(),
    );
    let names = functions::FUNCTIONS.iter().map(|entry| entry.name);
    match nearest(&name.text, names) {
        Some(near) => problem.suggest(format!("did you mean `{near}`?")),
        None => problem,
    }
}

fn expect_count(name: &Name, count: usize, (least, most): (usize, usize)) -> Result<(), Problem> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let takes = match (least, most) {
        (_, usize::MAX) => format!("at least {least} {}", plural(least)),
        (0, 0) => "no arguments".to_owned(),
        _ if least == most => format!("{least} {}", plural(least)),
        _ => format!("{least} or {most} arguments"),
    };
    let message = format!("`{}` takes {takes}, found {count}", name.text);
    Err(Problem::new(message, name.span.clone()).suggest(format!(
        "in `x.{}( … )`, the `x` is the first argument",
        name.text
    )))
}

/// A pattern that compiles within the limits.
fn pattern(node: &Node) -> Result<Box<str>, Problem> {
    let (Kind::Regex(pattern) | Kind::Literal(Literal::String(pattern))) = &node.kind else {
        return Err(
            Problem::new("expected a regular expression", node.span.clone())
                .suggest("it is written between slashes: `/^prod-/`"),
        );
    };
    if pattern.is_empty() {
        return Err(Problem::new(
            "the regular expression is empty",
            node.span.clone(),
        ));
    }
    RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .nest_limit(REGEX_DEPTH_MAX)
        .build()
        .map_err(|error| {
            let reason = match &error {
                regex::Error::CompiledTooBig(bytes) => {
                    format!("compiled, the regular expression is larger than {bytes} bytes")
                }
                other => {
                    // Of a syntax error, the pattern is shown first, then a caret, then what is wrong.
                    let shown = other.to_string();
                    let reason = shown.lines().find_map(|line| line.strip_prefix("error: "));
                    format!(
                        "the regular expression does not compile: {}",
                        reason.unwrap_or("it is no pattern")
                    )
                }
            };
            Problem::new(reason, node.span.clone())
        })?;
    Ok(pattern.clone())
}

/// A network in CIDR form, or one address.
fn subnet(node: &Node) -> Result<Subnet, Problem> {
    let problem = || {
        Problem::new("expected a network in single quotes", node.span.clone())
            .suggest("it is written `'10.0.0.0/8'`, `'2001:db8::/32'` or as one address")
    };
    let Kind::Literal(Literal::String(text)) = &node.kind else {
        return Err(problem());
    };
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (&**text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| problem())?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = match bits {
        None => bits_max,
        Some(bits) => bits
            .parse()
            .ok()
            .filter(|bits| *bits <= bits_max && !text.contains('+'))
            .ok_or_else(problem)?,
    };
    // Addresses of events count as IPv4 when they are mapped, so a mapped network has to as well.
    Ok(match (address.to_canonical(), address) {
        (IpAddr::V4(mapped), IpAddr::V6(_)) if prefix_bits >= 96 => Subnet {
            address: IpAddr::V4(mapped),
            prefix_bits: prefix_bits - 96,
        },
        _ => Subnet {
            address,
            prefix_bits,
        },
    })
}
