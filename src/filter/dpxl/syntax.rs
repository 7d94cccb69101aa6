//! The grammar: tokens to a tree that knows no types yet.
//!
//! Owns: precedence, the forms of calls, casts and cases, and what is said of words and symbols of other languages.
//! Promises: no tree is deeper than [`DEPTH_MAX`], and no recursion on the way there; no list is longer than
//! [`LIST_ITEMS_MAX`]; a key path has a namespace or a key. Leaves to others: names, types and constants.
//!
//! ```text
//! rule    := [ '<v1>' ] or
//! or      := and ('||' and)*            and  := equal ('&&' equal)*
//! equal   := order (('=='|'!=') order)* order := sum (('<'|'<='|'>'|'>='|'~'|'~~'|'!~') sum)*
//! sum     := product (('+'|'-') product)*
//! product := unary (('*'|'/'|'%') unary)*
//! unary   := ('!'|'-') unary | postfix
//! postfix := primary ( '.' name [ '(' values ')' ] | '[' string ']' | ':' type )*
//! primary := literal | '@' string | '@' '(' string ')' | namespace | name | name '(' values ')' | '(' or ')'
//!          | '[' values ']' | 'case' '{' (or '->' or ',')+ '_' '->' or [','] '}'
//! ```

use std::ops::Range;

use super::super::time;
use super::super::tree::{Arithmetic, Compare, Literal};
use super::foreign::{COMMANDS, WORDS, mistaken};
use super::lexer::{self, Spanned, Token};
use super::nodes::{Keypath, Kind, Name, Node, Operator, SEVERITIES};
use super::{DEPTH_MAX, LIST_ITEMS_MAX, Problem};

/// The operator of a symbol and how tightly it binds.
fn operator_of(token: &Token) -> Option<(Operator, u8)> {
    let Token::Symbol(symbol) = token else {
        return None;
    };
    Some(match *symbol {
        "||" => (Operator::Any, 1),
        "&&" => (Operator::All, 2),
        "==" => (Operator::Compare(Compare::Equal), 3),
        "!=" => (Operator::Compare(Compare::NotEqual), 3),
        "<" => (Operator::Compare(Compare::Less), 4),
        "<=" => (Operator::Compare(Compare::LessEqual), 4),
        ">" => (Operator::Compare(Compare::Greater), 4),
        ">=" => (Operator::Compare(Compare::GreaterEqual), 4),
        "~" => (Operator::Phrase, 4),
        "!~" => (Operator::NoPhrase, 4),
        "~~" => (Operator::Anywhere, 4),
        "+" => (Operator::Arithmetic(Arithmetic::Add), 5),
        "-" => (Operator::Arithmetic(Arithmetic::Subtract), 5),
        "*" => (Operator::Arithmetic(Arithmetic::Multiply), 6),
        "/" => (Operator::Arithmetic(Arithmetic::Divide), 6),
        "%" => (Operator::Arithmetic(Arithmetic::Remainder), 6),
        _ => return None,
    })
}

/// Reads a whole rule.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut parser = Parser {
        text,
        tokens: lexer::tokens(text),
        at: 0,
        depth: 0,
    };
    parser.refuse_command()?;
    let node = parser.expression("a condition")?;
    match parser.token() {
        Token::End => Ok(node),
        _ => Err(parser.unexpected("an operator")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Never empty; [`Token::End`] or [`Token::Bad`] is its last and only there.
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn token(&self) -> &Token {
        &self.tokens[self.at].token
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].span.clone()
    }

    fn word(&self) -> &str {
        &self.text[self.span()]
    }

    /// The token behind this one; the last is its own.
    fn next(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].token
    }

    /// Whether one of these words is behind this token, in any case.
    fn next_is_one_of(&self, words: &[&str]) -> bool {
        let Some(next) = self.tokens.get(self.at + 1) else {
            return false;
        };
        let word = &self.text[next.span.clone()];
        words.iter().any(|known| known.eq_ignore_ascii_case(word))
    }

    /// Where the last token that was read ends.
    fn end(&self) -> usize {
        self.at
            .checked_sub(1)
            .map_or(0, |at| self.tokens[at].span.end)
    }

    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.token(), Token::Symbol(found) if *found == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &str, expected: &str) -> Result<(), Problem> {
        if self.take(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(expected))
        }
    }

    /// Reads what has to follow inside a bracket; when the text ends instead, says which bracket is open.
    fn close(&mut self, symbol: &str, expected: &str, opened: usize) -> Result<(), Problem> {
        let at_end = *self.token() == Token::End;
        self.expect(symbol, expected).map_err(|problem| {
            if !at_end {
                return problem;
            }
            let before = &self.text[..opened];
            let line = before.matches('\n').count() + 1;
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let column = before[line_start..].chars().count() + 1;
            let bracket = &self.text[opened..=opened];
            problem.suggest(format!(
                "`{bracket}` of line {line}, column {column} is not closed"
            ))
        })
    }

    /// That the current token is none of what may stand here.
    fn unexpected(&self, expected: &str) -> Problem {
        let word = self.word();
        let problem =
            |found: &str| Problem::new(format!("expected {expected}, found {found}"), self.span());
        let suggestion = match self.token() {
            Token::Bad(problem) => return problem.clone(),
            Token::End => return problem("the end of the rule"),
            Token::Symbol("|") if self.next_is_one_of(&COMMANDS) => {
                Some("a rule is one condition, without commands behind `|`")
            }
            Token::Symbol(symbol) => mistaken(symbol),
            Token::Name => WORDS
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(word))
                .map(|(_, suggestion)| *suggestion),
            Token::Namespace(_)
            | Token::String(_)
            | Token::Number(_)
            | Token::Interval(_)
            | Token::Regex(_) => None,
        };
        let problem = problem(&format!("`{word}`"));
        match suggestion {
            Some(suggestion) => problem.suggest(suggestion),
            None => problem,
        }
    }

    fn begins_value(token: &Token) -> bool {
        match token {
            Token::Symbol(symbol) => matches!(*symbol, "(" | "!"),
            Token::End | Token::Bad(_) => false,
            Token::Name
            | Token::Namespace(_)
            | Token::String(_)
            | Token::Number(_)
            | Token::Interval(_)
            | Token::Regex(_) => true,
        }
    }

    fn refuse_command(&self) -> Result<(), Problem> {
        let word = self.word();
        if *self.token() != Token::Name
            || !COMMANDS.contains(&word)
            || self.next_is_one_of(&WORDS.map(|(known, _)| known))
            || !Self::begins_value(self.next())
        {
            return Ok(());
        }
        let suggestion = match word {
            "filter" | "f" | "where" => format!("leave out `{word}`"),
            "block" => "write `!( … )` around what is to be blocked".to_owned(),
            _ => format!("`{word}` has no place in it"),
        };
        Err(Problem::new("a rule is one condition, not a command", self.span()).suggest(suggestion))
    }

    fn too_deep(span: Range<usize>) -> Problem {
        Problem::new(
            format!("the rule is nested deeper than {DEPTH_MAX} levels"),
            span,
        )
    }

    /// A node over nodes of this depth.
    fn node(&self, kind: Kind, start: usize, depth: usize) -> Result<Node, Problem> {
        let span = start..self.end();
        if depth >= DEPTH_MAX {
            return Err(Self::too_deep(start..start));
        }
        Ok(Node {
            kind,
            span,
            depth: depth + 1,
        })
    }

    /// A level of the parser's own recursion.
    fn deeper<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if self.depth == DEPTH_MAX {
            return Err(Self::too_deep(self.span()));
        }
        self.depth += 1;
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn expression(&mut self, expected: &str) -> Result<Node, Problem> {
        self.deeper(|parser| parser.binary(1, expected))
    }

    /// Operators that bind at least so tightly.
    fn binary(&mut self, tightness_min: u8, expected: &str) -> Result<Node, Problem> {
        let mut left = self.unary(expected)?;
        while let Some((operator, tightness)) = operator_of(self.token()) {
            if tightness < tightness_min {
                break;
            }
            self.advance();
            let right = self.binary(tightness + 1, "a value")?;
            left = self.join(operator, left, right)?;
        }
        Ok(left)
    }

    fn join(&self, operator: Operator, left: Node, right: Node) -> Result<Node, Problem> {
        self.refuse_dashed_key(operator, &left, &right)?;
        let start = left.span.start;
        let chain = matches!(
            (operator, &left.kind),
            (Operator::All, Kind::All(_)) | (Operator::Any, Kind::Any(_))
        );
        // A chain is one level, however long.
        let depth = right.depth.max(left.depth - usize::from(chain));
        let kind = match (operator, left) {
            (
                Operator::All,
                Node {
                    kind: Kind::All(mut list),
                    ..
                },
            ) => {
                list.push(right);
                Kind::All(list)
            }
            (
                Operator::Any,
                Node {
                    kind: Kind::Any(mut list),
                    ..
                },
            ) => {
                list.push(right);
                Kind::Any(list)
            }
            (Operator::All, left) => Kind::All(vec![left, right]),
            (Operator::Any, left) => Kind::Any(vec![left, right]),
            (_, left) => Kind::Binary(operator, Box::new(left), Box::new(right)),
        };
        self.node(kind, start, depth)
    }

    /// `$d.user-agent` reads as a subtraction that is null for every event, so it has to be written unmistakably.
    fn refuse_dashed_key(
        &self,
        operator: Operator,
        left: &Node,
        right: &Node,
    ) -> Result<(), Problem> {
        let (
            Kind::Keypath(path),
            Kind::Keypath(Keypath {
                namespace: None,
                keys,
            }),
        ) = (&left.kind, &right.kind)
        else {
            return Ok(());
        };
        let between = &self.text[left.span.end..right.span.start];
        if operator != Operator::Arithmetic(Arithmetic::Subtract) || between != "-" {
            return Ok(());
        }
        let first = path.keys.last().map_or("", |key| key);
        let span = left.span.start..right.span.end;
        Err(
            Problem::new("a key with a `-` or a subtraction?", span).suggest(format!(
                "a key is written `…['{first}-{}']`, a subtraction with spaces around its `-`",
                keys[0]
            )),
        )
    }
    fn unary(&mut self, expected: &str) -> Result<Node, Problem> {
        let start = self.span().start;
        let not = self.is("!");
        if !not && !self.is("-") {
            return self.postfix(expected);
        }
        self.advance();
        let operand = self.deeper(|parser| parser.unary("a value"))?;
        let depth = operand.depth;
        let operand = Box::new(operand);
        let kind = if not {
            Kind::Not(operand)
        } else {
            Kind::Negate(operand)
        };
        self.node(kind, start, depth)
    }

    fn postfix(&mut self, expected: &str) -> Result<Node, Problem> {
        let mut node = self.primary(expected)?;
        loop {
            let opened = self.span().start;
            node = if self.take(".") {
                self.member(node)?
            } else if self.take("[") {
                let Token::String(key) = self.token().clone() else {
                    return Err(self
                        .unexpected("a key in single quotes")
                        .suggest("arrays are not looked into; a key is written `['a/b']`"));
                };
                self.advance();
                self.close("]", "`]`", opened)?;
                self.key(node, key)?
            } else if self.take(":") {
                let name = self.name("a type")?;
                let (start, depth) = (node.span.start, node.depth);
                self.node(Kind::Cast(Box::new(node), name), start, depth)?
            } else {
                return Ok(node);
            };
        }
    }

    fn name(&mut self, expected: &str) -> Result<Name, Problem> {
        if *self.token() != Token::Name {
            return Err(self.unexpected(expected));
        }
        let name = Name {
            text: self.word().into(),
            span: self.span(),
        };
        self.advance();
        Ok(name)
    }

    /// What follows a dot: a method or a key.
    fn member(&mut self, object: Node) -> Result<Node, Problem> {
        if matches!(self.token(), Token::Number(_)) {
            return Err(self
                .unexpected("a key or a function")
                .suggest("arrays are not looked into; a key that is a number is written `['0']`"));
        }
        let name = self.name("a key or a function")?;
        if self.is("(") {
            let start = object.span.start;
            return self.call(name, start, vec![object]);
        }
        if !matches!(object.kind, Kind::Keypath(_)) {
            return Err(Problem::new(
                format!("expected a function, found the key `{}`", name.text),
                name.span,
            )
            .suggest("only a key path has keys; a function is followed by `(…)`"));
        }
        self.key(object, name.text)
    }

    fn key(&self, mut object: Node, key: Box<str>) -> Result<Node, Problem> {
        let Kind::Keypath(path) = &mut object.kind else {
            return Err(Problem::new("only a key path has keys", object.span));
        };
        if path.keys.len() == LIST_ITEMS_MAX {
            return Err(Problem::new(
                format!("more than {LIST_ITEMS_MAX} keys"),
                object.span,
            ));
        }
        path.keys.push(key);
        object.span.end = self.end();
        Ok(object)
    }

    /// Arguments in parentheses, behind those there are already.
    fn call(
        &mut self,
        name: Name,
        start: usize,
        mut arguments: Vec<Node>,
    ) -> Result<Node, Problem> {
        let opened = self.span().start;
        self.advance();
        if !self.take(")") {
            self.values(&mut arguments)?;
            self.close(")", "`,` or `)`", opened)?;
        }
        let depth = arguments.iter().map(|argument| argument.depth).max();
        self.node(Kind::Call(name, arguments), start, depth.unwrap_or(0))
    }

    /// At least one value, separated by commas.
    fn values(&mut self, values: &mut Vec<Node>) -> Result<(), Problem> {
        loop {
            if values.len() == LIST_ITEMS_MAX {
                return Err(Problem::new(
                    format!("more than {LIST_ITEMS_MAX} values"),
                    self.span(),
                ));
            }
            values.push(self.expression("a value")?);
            if !self.take(",") {
                return Ok(());
            }
        }
    }

    fn primary(&mut self, expected: &str) -> Result<Node, Problem> {
        let start = self.span().start;
        let kind = match self.token().clone() {
            Token::Name => return self.named(),
            Token::Namespace(namespace) => Kind::Keypath(Keypath {
                namespace: Some(namespace),
                keys: Vec::new(),
            }),
            Token::String(text) => Kind::Literal(Literal::String(text)),
            Token::Number(number) => Kind::Literal(Literal::Number(number)),
            Token::Interval(nanoseconds) => Kind::Literal(Literal::Interval(nanoseconds)),
            Token::Regex(pattern) => Kind::Regex(pattern),
            Token::Symbol("@") => return self.timestamp(),
            Token::Symbol("(") => {
                self.advance();
                let node = self.expression(expected)?;
                self.close(")", "`)` or an operator", start)?;
                return Ok(node);
            }
            Token::Symbol("[") => {
                self.advance();
                let mut values = Vec::new();
                self.values(&mut values)?;
                self.close("]", "`,` or `]`", start)?;
                let depth = values.iter().map(|value| value.depth).max().unwrap_or(0);
                return self.node(Kind::List(values), start, depth);
            }
            Token::Symbol(_) | Token::End | Token::Bad(_) => return Err(self.unexpected(expected)),
        };
        self.advance();
        self.node(kind, start, 0)
    }

    /// `@'…'` or `@('…')`.
    fn timestamp(&mut self) -> Result<Node, Problem> {
        let start = self.span().start;
        self.advance();
        let opened = self.span().start;
        let parenthesis = self.take("(");
        let Token::String(text) = self.token() else {
            return Err(self
                .unexpected("a timestamp in single quotes")
                .suggest("a timestamp is written `@'2024-01-01T00:00:00Z'`"));
        };
        let kind = if &**text == "now" {
            Kind::Now
        } else {
            let nanoseconds = time::parse(text).ok_or_else(|| {
                Problem::new(format!("`{}` is no timestamp", self.word()), self.span()).suggest(
                    "a timestamp is written `@'2024-01-01T00:00:00Z'`, `@'2024-01-01'` or `@'now'`",
                )
            })?;
            Kind::Literal(Literal::Timestamp(nanoseconds))
        };
        self.advance();
        if parenthesis {
            self.close(")", "`)`", opened)?;
        }
        self.node(kind, start, 0)
    }

    /// A word of the language, a function or the first key of a path.
    fn named(&mut self) -> Result<Node, Problem> {
        let name = self.name("a name")?;
        let (word, start) = (&*name.text, name.span.start);
        if self.is("(") && !word.eq_ignore_ascii_case("not") {
            return self.call(name, start, Vec::new());
        }
        if word.eq_ignore_ascii_case("not") && Self::begins_value(self.token()) {
            return Err(
                Problem::new(format!("expected a condition, found `{word}`"), name.span)
                    .suggest("did you mean `!`?"),
            );
        }
        if self.is("{") {
            return self.case(&name);
        }
        let kind = match word {
            "true" => Kind::Literal(Literal::Bool(true)),
            "false" => Kind::Literal(Literal::Bool(false)),
            "null" => Kind::Literal(Literal::Null),
            _ => match SEVERITIES.iter().find(|(severity, _)| *severity == word) {
                Some((_, severity)) if !self.is(".") && !self.is("[") => {
                    Kind::Literal(Literal::Severity(*severity))
                }
                _ => Kind::Keypath(Keypath {
                    namespace: None,
                    keys: vec![name.text],
                }),
            },
        };
        self.node(kind, start, 0)
    }

    fn case(&mut self, name: &Name) -> Result<Node, Problem> {
        if &*name.text != "case" {
            let problem = Problem::new(
                format!("`{} {{ … }}` is not supported in rules", name.text),
                name.span.clone(),
            );
            return Err(problem.suggest("write `case { condition -> value, …, _ -> value }`"));
        }
        let opened = self.span().start;
        self.advance();
        let (mut arms, mut depth) = (Vec::new(), 0);
        let otherwise = loop {
            let last = self.token() == &Token::Name
                && self.word() == "_"
                && *self.next() == Token::Symbol("->");
            if last {
                self.advance();
                self.advance();
                break self.expression("a value")?;
            }
            if arms.len() == DEPTH_MAX {
                return Err(Self::too_deep(self.span()));
            }
            if self.is("}") {
                return Err(self.unexpected("`_ -> value`, the value when no condition is true"));
            }
            let condition = self.expression("a condition")?;
            self.expect("->", "`->` or an operator")?;
            let value = self.expression("a value")?;
            depth = depth.max(condition.depth).max(value.depth);
            arms.push((condition, value));
            if !self.is("}") {
                self.close(",", "`,` or an operator", opened)?;
            }
        };
        let _trailing_comma = self.take(",");
        self.close("}", "`}`", opened)?;
        if arms.is_empty() {
            return Err(Problem::new(
                "a case without a condition",
                name.span.clone(),
            ));
        }
        // Each arm nests the next one.
        depth = depth.max(otherwise.depth) + arms.len() - 1;
        self.node(
            Kind::Case(arms, Box::new(otherwise)),
            name.span.start,
            depth,
        )
    }
}
