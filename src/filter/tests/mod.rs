//! Tests of the engine through its public face; the parts have their own beside them.

mod parts;
mod rules;
mod walks;

use super::tree::{Expr, Field, Literal, Source};
use crate::event::{InputId, Labels};
use crate::os::simd::Level;

/// Every level of this CPU, and the portable way.
fn levels() -> Vec<Option<Level>> {
    Level::available()
        .into_iter()
        .map(Some)
        .chain([None])
        .collect()
}

fn path(keys: &[&str]) -> Box<[Box<str>]> {
    keys.iter().map(|key| Box::from(*key)).collect()
}

fn field(keys: &[&str]) -> Field {
    Field {
        name: keys.join(".").into(),
        sources: Box::new([Source::Data(path(keys))]),
    }
}

fn text(value: &str) -> Box<Expr> {
    Box::new(Expr::Literal(Literal::String(value.into())))
}

fn number(value: &str) -> Box<Expr> {
    Box::new(Expr::Literal(Literal::Number(value.into())))
}

fn at(keys: &[&str]) -> Box<Expr> {
    Box::new(Expr::Field(field(keys)))
}

fn no_labels() -> Labels {
    Labels::of_input(InputId(0))
}
