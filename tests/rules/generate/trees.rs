//! Random rules: well-typed trees of every node and every function.
//!
//! Owns: the shape of a tree. Operands have the types their nodes name, as a parser makes sure.

use weir::filter::tree::{Arithmetic, Compare, Expr, Function, Literal, TextTest, Type};
use weir::filter::{Polarity, Rule};

use super::vocabulary::{Vocabulary, pattern, subnet};
use crate::random::Random;

const TYPES: [Type; 6] = [
    Type::Bool,
    Type::Number,
    Type::String,
    Type::Timestamp,
    Type::Interval,
    Type::Severity,
];

const COMPARISONS: [Compare; 6] = [
    Compare::Equal,
    Compare::NotEqual,
    Compare::Less,
    Compare::LessEqual,
    Compare::Greater,
    Compare::GreaterEqual,
];

/// A rule for the event whose words these are.
pub(crate) fn rule(random: &mut Random, words: &Vocabulary) -> Rule {
    let depth = random.pick(&[1, 2, 2, 3, 3, 4, 5]);
    Rule {
        condition: Trees { random, words }.condition(depth),
        polarity: if random.percent(50) {
            Polarity::Drop
        } else {
            Polarity::Deliver
        },
    }
}

struct Trees<'g> {
    random: &'g mut Random,
    words: &'g Vocabulary,
}

impl Trees<'_> {
    fn condition(&mut self, depth: usize) -> Expr {
        if depth > 1 && self.random.percent(55) {
            return match self.random.index(5) {
                0 | 1 => Expr::All(self.conditions(depth)),
                2 | 3 => Expr::Any(self.conditions(depth)),
                _ => Expr::Not(Box::new(self.condition(depth - 1))),
            };
        }
        match self.random.index(24) {
            0..=5 => self.comparison(depth),
            6 => Expr::Truthy(Box::new(self.any_value(depth))),
            7 => {
                let of = self.random.pick(&TYPES);
                let operand = Box::new(self.operand(of, depth));
                let items = self.random.pick(&[0, 1, 2, 2, 3, 4, 5, 9, 30]);
                let list = (0..items).map(|_| self.operand(of, 1)).collect();
                Expr::In(operand, list)
            }
            8 | 9 => {
                let test = self.random.pick(&[
                    TextTest::Contains,
                    TextTest::StartsWith,
                    TextTest::EndsWith,
                ]);
                let searched = Box::new(self.operand(Type::String, depth));
                Expr::Text(test, searched, Box::new(self.operand(Type::String, 1)))
            }
            10 => {
                let operand = if self.random.percent(60) {
                    Expr::Field(self.words.field(self.random))
                } else {
                    self.any_value(depth)
                };
                Expr::Phrase(Box::new(operand), self.words.string(self.random).into())
            }
            11 => {
                let operand = Box::new(self.operand(Type::String, depth));
                Expr::Matches(operand, pattern(self.random).into())
            }
            12 => {
                let operand = Box::new(self.operand(Type::String, depth));
                Expr::InSubnet(operand, subnet(self.random))
            }
            13 => Expr::Exists(self.words.field(self.random)),
            14..=17 => {
                let field = self.words.text_field(self.random);
                Expr::Term(field, self.words.term(self.random))
            }
            18 | 19 => {
                let field = self.words.text_field(self.random);
                let how = self.random.pick(&COMPARISONS);
                Expr::NumberTerm(field, how, self.words.number(self.random))
            }
            20..=22 => Expr::Anywhere {
                term: self.words.term(self.random),
                labels: self.random.percent(50),
            },
            _ => self.value(Type::Bool, depth),
        }
    }

    fn conditions(&mut self, depth: usize) -> Vec<Expr> {
        let count = self.random.pick(&[0, 1, 2, 2, 2, 3, 3, 4]);
        (0..count).map(|_| self.condition(depth - 1)).collect()
    }

    fn comparison(&mut self, depth: usize) -> Expr {
        let how = self.random.pick(&COMPARISONS);
        let of = self.random.pick(&TYPES);
        let left = self.operand(of, depth);
        let right = if self.random.percent(5) {
            self.any_value(depth)
        } else {
            self.operand(of, depth)
        };
        if self.random.percent(20) {
            return Expr::Compare(how, Box::new(right), Box::new(left));
        }
        Expr::Compare(how, Box::new(left), Box::new(right))
    }

    /// An operand where a value of this type belongs; at times a field of whatever type it has.
    fn operand(&mut self, of: Type, depth: usize) -> Expr {
        if self.random.percent(15) {
            return Expr::Field(self.words.field(self.random));
        }
        self.value(of, depth)
    }

    /// A value of any type.
    fn any_value(&mut self, depth: usize) -> Expr {
        let of = self.random.pick(&TYPES);
        self.operand(of, depth)
    }

    /// A value of this type.
    fn value(&mut self, of: Type, depth: usize) -> Expr {
        let deeper = depth > 1;
        match self.random.index(if deeper { 12 } else { 7 }) {
            0..=2 => Expr::Literal(self.words.literal(self.random, of)),
            3..=5 => Expr::Read(self.words.field(self.random), of),
            6 => Expr::Cast(Box::new(Expr::Field(self.words.field(self.random))), of),
            7 => Expr::Cast(Box::new(self.any_value(depth - 1)), of),
            8 => {
                let condition = self.condition(depth - 1);
                let mut arguments = vec![condition, self.value(of, depth - 1)];
                if self.random.percent(70) {
                    arguments.push(self.value(of, depth - 1));
                }
                Expr::Call(Function::If, arguments)
            }
            9 => {
                let count = self.random.between(1, 3);
                let arguments = (0..count).map(|_| self.operand(of, depth - 1)).collect();
                Expr::Call(Function::FirstNonNull, arguments)
            }
            _ => self.calculated(of, depth - 1),
        }
    }

    /// A value of this type that is not just read.
    fn calculated(&mut self, of: Type, depth: usize) -> Expr {
        match of {
            Type::Bool => match self.random.index(2) {
                0 => self.condition(depth),
                _ => self.call(Function::IsUuid, &[Type::String], depth),
            },
            Type::Number => self.number(depth),
            Type::String => self.text(depth),
            Type::Timestamp => match self.random.index(4) {
                0 => Expr::Now,
                1 => self.call(Function::FromUnixTime, &[Type::Number], depth),
                2 => self.arithmetic(Arithmetic::Add, Type::Interval, Type::Timestamp, depth),
                _ => {
                    let operator = self.random.pick(&[Arithmetic::Add, Arithmetic::Subtract]);
                    self.arithmetic(operator, Type::Timestamp, Type::Interval, depth)
                }
            },
            Type::Interval => match self.random.index(2) {
                0 => self.arithmetic(
                    Arithmetic::Subtract,
                    Type::Timestamp,
                    Type::Timestamp,
                    depth,
                ),
                _ => {
                    let operator = self.random.pick(&[Arithmetic::Add, Arithmetic::Subtract]);
                    self.arithmetic(operator, Type::Interval, Type::Interval, depth)
                }
            },
            Type::Severity => Expr::Cast(Box::new(self.value(Type::Number, depth)), of),
        }
    }

    fn arithmetic(&mut self, operator: Arithmetic, left: Type, right: Type, depth: usize) -> Expr {
        let left = Box::new(self.value(left, depth));
        Expr::Arithmetic(operator, left, Box::new(self.value(right, depth)))
    }

    fn number(&mut self, depth: usize) -> Expr {
        use Function::{
            Abs, Ceil, Codepoint, Floor, FromBase, IndexOf, Length, Ln, Log, Log2, Max, Min, Mod,
            Power, Round, Sqrt, ToUnixTime,
        };
        const N: Type = Type::Number;
        const S: Type = Type::String;
        if self.random.percent(30) {
            let operator = self.random.pick(&[
                Arithmetic::Add,
                Arithmetic::Subtract,
                Arithmetic::Multiply,
                Arithmetic::Divide,
                Arithmetic::Remainder,
            ]);
            return self.arithmetic(operator, N, N, depth);
        }
        let (function, arguments): (Function, &[Type]) = self.random.pick(&[
            (Length, [S].as_slice()),
            (IndexOf, &[S, S]),
            (Codepoint, &[S]),
            (Abs, &[N]),
            (Ceil, &[N]),
            (Floor, &[N]),
            (Round, &[N]),
            (Round, &[N, N]),
            (Sqrt, &[N]),
            (Power, &[N, N]),
            (Ln, &[N]),
            (Log, &[N, N]),
            (Log2, &[N]),
            (Mod, &[N, N]),
            (Max, &[N]),
            (Max, &[N, N, N]),
            (Min, &[N, N]),
            (FromBase, &[S, N]),
            (ToUnixTime, &[Type::Timestamp]),
        ]);
        self.call(function, arguments, depth)
    }

    fn text(&mut self, depth: usize) -> Expr {
        use Function::{
            Chr, Concat, DecodeBase64, EncodeBase64, IpPrefix, PadLeft, PadRight, SplitParts,
            Substr, ToBase, ToLowerCase, ToUpperCase, Trim, TrimEnd, TrimStart, UrlDecode,
            UrlEncode,
        };
        const N: Type = Type::Number;
        const S: Type = Type::String;
        let (function, arguments): (Function, &[Type]) = self.random.pick(&[
            (Concat, [S].as_slice()),
            (Concat, &[S, S, S]),
            (ToLowerCase, &[S]),
            (ToUpperCase, &[S]),
            (Trim, &[S]),
            (TrimStart, &[S]),
            (TrimEnd, &[S]),
            (Substr, &[S, N]),
            (Substr, &[S, N, N]),
            (SplitParts, &[S, S, N]),
            (PadLeft, &[S, N, S]),
            (PadRight, &[S, N, S]),
            (Chr, &[N]),
            (UrlEncode, &[S]),
            (UrlDecode, &[S]),
            (EncodeBase64, &[S]),
            (DecodeBase64, &[S]),
            (IpPrefix, &[S, N]),
            (ToBase, &[N, N]),
        ]);
        self.call(function, arguments, depth)
    }

    fn call(&mut self, function: Function, types: &[Type], depth: usize) -> Expr {
        let mut arguments = Vec::new();
        for of in types {
            // Small numbers are what most of these want.
            arguments.push(if *of == Type::Number && self.random.percent(40) {
                let small = self
                    .random
                    .pick(&["0", "1", "2", "2.7", "-1", "8", "16", "36", "5"]);
                Expr::Literal(Literal::Number(small.into()))
            } else {
                self.operand(*of, depth)
            });
        }
        Expr::Call(function, arguments)
    }
}
