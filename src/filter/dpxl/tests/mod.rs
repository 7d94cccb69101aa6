//! Tests of DPXL: what is accepted and as which tree, what is refused with which words, and what holds for any text.

mod accepted;
mod properties;
mod refused;

use super::super::time::rfc3339;
use super::super::tree::{Arithmetic, Compare, Expr, Field, Literal, Source};

/// A tree in a form to write by hand: `field` is a field as it is, `field#Type` one read as a type.
fn show(expr: &Expr) -> String {
    match expr {
        Expr::Literal(literal) => show_literal(literal),
        Expr::Now => "now".to_owned(),
        Expr::Field(field) => show_field(field),
        Expr::Read(field, kind) => format!("{}#{kind:?}", show_field(field)),
        Expr::Cast(operand, kind) => format!("(cast {kind:?} {})", show(operand)),
        Expr::All(operands) => list("all", operands),
        Expr::Any(operands) => list("any", operands),
        Expr::Not(operand) => format!("(not {})", show(operand)),
        Expr::Truthy(operand) => format!("(truthy {})", show(operand)),
        Expr::Compare(compare, left, right) => {
            let symbol = match compare {
                Compare::Equal => "==",
                Compare::NotEqual => "!=",
                Compare::Less => "<",
                Compare::LessEqual => "<=",
                Compare::Greater => ">",
                Compare::GreaterEqual => ">=",
            };
            format!("({symbol} {} {})", show(left), show(right))
        }
        Expr::In(value, items) => list(&format!("in {}", show(value)), items),
        Expr::Text(test, text, part) => format!("({test:?} {} {})", show(text), show(part)),
        Expr::Phrase(value, text) => format!("(~ {} '{text}')", show(value)),
        Expr::Matches(value, pattern) => format!("(matches {} /{pattern}/)", show(value)),
        Expr::InSubnet(value, subnet) => {
            format!(
                "(subnet {} {}/{})",
                show(value),
                subnet.address,
                subnet.prefix_bits
            )
        }
        Expr::Arithmetic(arithmetic, left, right) => {
            let symbol = match arithmetic {
                Arithmetic::Add => "+",
                Arithmetic::Subtract => "-",
                Arithmetic::Multiply => "*",
                Arithmetic::Divide => "/",
                Arithmetic::Remainder => "%",
            };
            format!("({symbol} {} {})", show(left), show(right))
        }
        Expr::Call(function, arguments) => list(&format!("{function:?}"), arguments),
        Expr::Anywhere { term, labels } => format!(
            "(anywhere {:?} '{}' ignore_case={} labels={labels})",
            term.place, term.text, term.ignore_case
        ),
        Expr::Exists(_) | Expr::Term(..) | Expr::NumberTerm(..) => {
            panic!("a node of the other language: {expr:?}")
        }
    }
}

fn list(name: &str, operands: &[Expr]) -> String {
    let operands: Vec<String> = operands.iter().map(show).collect();
    format!("({name} {})", operands.join(" "))
}

fn show_literal(literal: &Literal) -> String {
    match literal {
        Literal::Null => "null".to_owned(),
        Literal::Bool(value) => value.to_string(),
        Literal::Number(number) => number.to_string(),
        Literal::String(text) => format!("'{text}'"),
        Literal::Timestamp(nanoseconds) => format!("@{}", rfc3339(*nanoseconds)),
        Literal::Interval(nanoseconds) => format!("{nanoseconds}ns"),
        Literal::Severity(severity) => format!("{severity:?}"),
    }
}

fn show_field(field: &Field) -> String {
    let sources: Vec<String> = field
        .sources
        .iter()
        .map(|source| match source {
            Source::Data(path) => format!(
                "$d{}",
                path.iter().map(|key| format!(".{key}")).collect::<String>()
            ),
            Source::Label(label) => format!("{label:?}"),
            Source::Meta(path) => format!("meta.{}", path.join(".")),
            Source::CrnService(path) => format!("crn({})", path.join(".")),
            Source::Time => "time".to_owned(),
        })
        .collect();
    sources.join("|")
}
