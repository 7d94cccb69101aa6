//! A program in words, for `weir rules explain`.
//!
//! Owns: the listing of a program's fields and steps. Leaves to others: measuring them.

use std::fmt::Write as _;

use super::compile::{FieldId, Node, Operand, Polarity, Program, SourcePlan, TextFrom};

impl Program {
    /// The fields with their slots, and the steps of each rule in the order they are tried, with their cost class.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut lines = Lines {
            program: self,
            out: String::new(),
        };
        for (slot, field) in self.fields.iter().enumerate() {
            let sources: Vec<String> = field
                .sources
                .iter()
                .map(|from| self.source(*from))
                .collect();
            lines.put(
                0,
                &format!("field {slot} {}: {}", field.name, sources.join(", else ")),
            );
        }
        for (number, rule) in self.rules.iter().enumerate() {
            let polarity = match rule.polarity {
                Polarity::Drop => "drops",
                Polarity::Deliver => "delivers",
            };
            lines.put(0, &format!("rule {number} {polarity} when"));
            lines.node(1, &rule.condition);
        }
        lines.out
    }

    fn source(&self, source: SourcePlan) -> String {
        match source {
            SourcePlan::Data(path) => format!("event {}", self.paths.keys(path).join(".")),
            SourcePlan::Meta(path) => format!("meta {}", self.meta_paths.keys(path).join(".")),
            SourcePlan::CrnService(path) => {
                format!("service of CRN {}", self.paths.keys(path).join("."))
            }
            SourcePlan::Label(label) => format!("label {label:?}").to_lowercase(),
            SourcePlan::Time => "event time, else receive time".to_owned(),
        }
    }
}

struct Lines<'a> {
    program: &'a Program,
    out: String,
}

impl Lines<'_> {
    fn put(&mut self, depth: usize, text: &str) {
        writeln!(self.out, "{:1$}{text}", "", depth * 2).expect("writing to a String cannot fail");
    }

    fn node(&mut self, depth: usize, node: &Node) {
        let (word, inner): (_, &[Node]) = match node {
            Node::All(nodes) => ("all of", nodes),
            Node::Any(nodes) => ("any of", nodes),
            Node::Not(inner) => ("not", std::slice::from_ref(inner)),
            leaf => {
                let class = cost_class(leaf.cost(&self.program.fields));
                let text = format!("{}  ({class})", self.leaf(leaf));
                self.put(depth, &text);
                return;
            }
        };
        self.put(depth, word);
        for node in inner {
            self.node(depth + 1, node);
        }
    }

    fn field(&self, field: FieldId) -> String {
        format!("{}#{}", self.program.fields[field.0].name, field.0)
    }

    fn text(&self, from: TextFrom) -> String {
        let cast = if from.cast { " as text" } else { "" };
        format!("{}{cast}", self.field(from.field))
    }

    fn leaf(&self, node: &Node) -> String {
        match node {
            Node::Constant(Some(value)) => value.to_string(),
            Node::Constant(None) => "null".to_owned(),
            Node::Bool {
                field,
                equal,
                value,
            } => {
                let is = if *equal { "is" } else { "is not" };
                format!("{} {is} {value}", self.field(*field))
            }
            Node::Null { field, equal } => {
                let is = if *equal { "is" } else { "is not" };
                format!("{} {is} null", self.field(*field))
            }
            Node::Strings {
                from,
                equal,
                strings,
            } => {
                let strings: Vec<String> = strings.iter().map(quoted).collect();
                let is = if *equal { "is" } else { "is not" };
                format!("{} {is} {}", self.text(*from), strings.join(" or "))
            }
            Node::Number {
                field,
                operator,
                number,
                ..
            }
            | Node::NumberTerm(field, operator, number) => {
                format!("{} {operator:?} {}", self.field(*field), number.text())
            }
            Node::StartsWith(from, part) => {
                format!("{} starts with {}", self.text(*from), quoted(part))
            }
            Node::EndsWith(from, part) => {
                format!("{} ends with {}", self.text(*from), quoted(part))
            }
            Node::Contains(from, part) => {
                format!("{} contains {}", self.text(*from), quoted(part.needle()))
            }
            Node::Matches(from, regex) => format!("{} matches /{regex}/", self.text(*from)),
            Node::Exists(field) => format!("{} exists", self.field(*field)),
            Node::Term(field, search) => format!("{} has {search}", self.field(*field)),
            Node::Anywhere { search, labels } => {
                let labels = if *labels { " or its labels" } else { "" };
                format!("the event{labels} has {search}")
            }
            other => self.leaf_of_values(other),
        }
    }

    fn leaf_of_values(&self, node: &Node) -> String {
        match node {
            Node::Phrase(operand, search) => format!("{} has {search}", self.operand(operand)),
            Node::InSubnet(operand, subnet) => format!(
                "{} is in {}/{}",
                self.operand(operand),
                subnet.address,
                subnet.prefix_bits
            ),
            Node::TextTest(test, text, part) => {
                format!("{} {test:?} {}", self.operand(text), self.operand(part))
            }
            Node::MatchesValue(operand, regex) => {
                format!("{} matches /{regex}/", self.operand(operand))
            }
            Node::Compare(operator, one, other) => {
                format!("{} {operator:?} {}", self.operand(one), self.operand(other))
            }
            Node::In(operand, list) => {
                format!(
                    "{} is one of {}",
                    self.operand(operand),
                    self.operands(list)
                )
            }
            Node::Truthy(operand) => format!("{} is there and not false", self.operand(operand)),
            Node::Value(operand) => format!("{} is true", self.operand(operand)),
            Node::All(nodes) => format!("all of {} conditions", nodes.len()),
            Node::Any(nodes) => format!("any of {} conditions", nodes.len()),
            Node::Not(node) => format!("not ({})", self.leaf(node)),
            other => format!("{other:?}"),
        }
    }

    fn operand(&self, operand: &Operand) -> String {
        match operand {
            Operand::Literal(literal) => format!("{literal:?}"),
            Operand::Now => "the receive time".to_owned(),
            Operand::Field(field) | Operand::Read(field, _) => self.field(*field),
            Operand::Cast(inner, to) => format!("{} as {to:?}", self.operand(inner)),
            Operand::Arithmetic(operator, operands) => format!(
                "({} {operator:?} {})",
                self.operand(&operands.0),
                self.operand(&operands.1)
            ),
            Operand::Call(function, arguments) => {
                format!("{function:?}({})", self.operands(arguments))
            }
            Operand::Condition(node) => format!("({})", self.leaf(node)),
        }
    }

    fn operands(&self, operands: &[Operand]) -> String {
        let operands: Vec<String> = operands
            .iter()
            .map(|operand| self.operand(operand))
            .collect();
        operands.join(", ")
    }
}

fn quoted(text: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(text))
}

fn cost_class(cost: u32) -> &'static str {
    match cost {
        0..10 => "free",
        10..30 => "a field",
        30..100 => "a calculation",
        100..1000 => "a search in a field",
        _ => "a search in the line",
    }
}
