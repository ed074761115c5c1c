//! `where`: simple comparisons joined by `and`, parsed with the place of every word.
//!
//! ```text
//! conditions = condition { "and" condition }
//! condition  = column ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) constant
//!            | column "is" [ "not" ] "null"
//! constant   = integer | decimal | 'text' | "text"      ('' within '...' is one ')
//! ```

use std::ops::Range;

use dataflows::metrics::declare::{Condition, Constant, Expr, Fact, Meta, Op};
use dataflows::record::{Column, Defect, Reason, Stream, Type};

use super::scope::Scope;
use crate::config::problem::meant;
use crate::config::section::Section;
use crate::config::tree::Node;
use crate::config::units;

/// The conditions of the key `where`, a text or an array of texts.
pub fn conditions(s: &Section<'_>, scope: &Scope<'_>) -> Vec<Condition> {
    let mut all = Vec::new();
    for node in s.list("where", true).unwrap_or(&[]) {
        match node.as_text() {
            Some(text) => all.extend(parse(text, node, scope)),
            None => s.wrong("where", node, "a text"),
        }
    }
    all
}

/// What a word of a condition is.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Op(String),
    Number(String),
    Text(String),
    Bad(&'static str),
}

fn parse(text: &str, node: &Node, scope: &Scope<'_>) -> Vec<Condition> {
    let mut found = Vec::new();
    let mut parser = Parser { text, node, scope, tokens: tokens(text), at: 0 };
    loop {
        match parser.condition() {
            Ok(Some(condition)) => found.push(condition),
            Ok(None) => {}
            Err(()) if parser.goes_on() => continue,
            Err(()) => return found,
        }
        match parser.next() {
            None => return found,
            Some((Token::Word(w), _)) if w.eq_ignore_ascii_case("and") => {}
            Some((token, span)) => {
                let hint = match &token {
                    Token::Word(w) if w.eq_ignore_ascii_case("or") => {
                        "conditions are joined by `and` alone; for `or` declare two measures, \
                         each with its own `where`"
                    }
                    _ => "between conditions stands `and`",
                };
                parser.fail(span, format!("{} is not expected here", shown(&token)), hint);
                return found;
            }
        }
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(t) | Token::Op(t) | Token::Number(t) => format!("`{t}`"),
        Token::Text(t) => format!("'{t}'"),
        Token::Bad(why) => (*why).to_string(),
    }
}

/// Splits a condition into words with their places.
fn tokens(text: &str) -> Vec<(Token, Range<usize>)> {
    let bytes = text.as_bytes();
    let mut list = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let until = |from: usize, part: fn(u8) -> bool| {
            from + bytes[from..].iter().take_while(|b| part(**b)).count()
        };
        let token = match bytes[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'=' | b'!' | b'<' | b'>' => {
                at = until(at, |b| b"=!<>".contains(&b));
                Token::Op(text[start..at].into())
            }
            quote @ (b'\'' | b'"') => {
                let (token, end) = quoted(text, at, quote as char);
                at = end;
                token
            }
            b if b.is_ascii_digit() || b == b'-' || b == b'+' => {
                at = until(at + 1, |b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_');
                Token::Number(text[start..at].into())
            }
            b if b.is_ascii_alphabetic() || b == b'_' => {
                at = until(at, |b| b.is_ascii_alphanumeric() || b == b'_');
                // `length(title)` is one word.
                let close = text[at..].find(')').filter(|_| bytes.get(at) == Some(&b'('));
                at += close.map_or(0, |c| c + 1);
                Token::Word(text[start..at].into())
            }
            _ => {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                Token::Bad("this character")
            }
        };
        list.push((token, start..at));
    }
    list
}

/// A quoted text that begins at `at`; a doubled quote within it is one.
fn quoted(text: &str, at: usize, quote: char) -> (Token, usize) {
    let mut value = String::new();
    let mut chars = text[at + 1..].char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        if c != quote {
            value.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            value.push(quote);
            chars.next();
        } else {
            return (Token::Text(value), at + 1 + i + 1);
        }
    }
    (Token::Bad("a text that is not closed"), text.len())
}

struct Parser<'a> {
    text: &'a str,
    node: &'a Node,
    scope: &'a Scope<'a>,
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<(Token, Range<usize>)> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn fail(&self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        self.scope.problems.error(&self.node.within(span), message, hint);
    }

    /// The next word, which must be there.
    fn want(&mut self, what: &str) -> Result<(Token, Range<usize>), ()> {
        if let Some(token) = self.next() {
            return Ok(token);
        }
        let end = self.text.len();
        let hint = "for example where = \"post_year >= 2018 and category is not null\"";
        self.fail(end.saturating_sub(1)..end, format!("the condition ends before {what}"), hint);
        Err(())
    }

    /// Passes over what cannot be read, up to an `and` behind which a condition begins for sure:
    /// whatever else is said of the rest would be for want of what stands before it.
    fn goes_on(&mut self) -> bool {
        use Token::{Op, Word};
        while let Some((token, _)) = self.next() {
            let and = matches!(token, Word(w) if w.eq_ignore_ascii_case("and"));
            let ahead = self.tokens.get(self.at).zip(self.tokens.get(self.at + 1));
            if and && matches!(ahead, Some(((Word(_), _), (Op(_), _)))) {
                return true;
            }
        }
        false
    }

    /// One condition; `Ok(None)` where it reads well and means nothing.
    fn condition(&mut self) -> Result<Option<Condition>, ()> {
        let (token, name_span) = self.want("a column")?;
        let Token::Word(name) = token else {
            let hint = "a condition begins with a column: post_year >= 2018";
            self.fail(name_span, format!("{} is not a column", shown(&token)), hint);
            return Err(());
        };
        let expr = self.scope.expr(&name, &self.node.within(name_span));
        let (token, span) = self.want("a comparison")?;
        let op = match &token {
            Token::Word(w) if w.eq_ignore_ascii_case("is") => return self.is_null(expr),
            Token::Op(op) => op.as_str(),
            _ => "",
        };
        let op = match op {
            "=" => Op::Eq,
            "!=" => Op::Ne,
            "<" => Op::Lt,
            "<=" => Op::Le,
            ">" => Op::Gt,
            ">=" => Op::Ge,
            _ => {
                let hint = match &token {
                    Token::Op(op) if op == "==" => "write `=`",
                    Token::Op(op) if op == "<>" => "write `!=`",
                    Token::Op(op) if op == "=>" => "write `>=`",
                    Token::Op(op) if op == "=<" => "write `<=`",
                    Token::Word(w) if w.eq_ignore_ascii_case("between") => {
                        "write two comparisons: post_year >= 2018 and post_year <= 2022"
                    }
                    _ => "known are =, !=, <, <=, >, >=, `is null` and `is not null`",
                };
                self.fail(span, format!("{} is not a comparison", shown(&token)), hint);
                return Err(());
            }
        };
        let (token, span) = self.want("a constant")?;
        if let Token::Bad(why) = token {
            self.fail(span, format!("{why} is not a constant"), "texts stand in quotes: 'art'");
            return Err(());
        }
        let Some(expr) = expr else { return Ok(None) };
        let constant = self.constant(expr, token, span);
        Ok(constant.map(|c| Condition::Compare(expr, op, c)))
    }

    fn is_null(&mut self, expr: Option<Expr>) -> Result<Option<Condition>, ()> {
        let (mut token, mut span) = self.want("`null`")?;
        let is = |t: &Token, word| matches!(t, Token::Word(w) if w.eq_ignore_ascii_case(word));
        let not = is(&token, "not");
        if not {
            (token, span) = self.want("`null`")?;
        }
        if !is(&token, "null") {
            self.fail(span, format!("{} is not `null`", shown(&token)), "write `is null`");
            return Err(());
        }
        Ok(expr.map(|e| Condition::IsNull(e, !not)))
    }

    /// The constant in the units of the expression.
    fn constant(&self, expr: Expr, token: Token, span: Range<usize>) -> Option<Constant> {
        let name = expr.name();
        let (value, hint) = match (expr.ty(), &token) {
            (Type::Text, Token::Text(text)) => {
                self.check_text(expr, text, span.clone());
                return Some(Constant::Text(text.clone()));
            }
            (Type::Text, _) => (None, "texts stand in quotes: 'art'"),
            (Type::Int | Type::Bool, Token::Number(n)) => {
                (n.replace('_', "").parse().ok(), "it is compared with an integer")
            }
            (Type::Fixed7, Token::Number(n)) => {
                (units::decimal(n, 7), "degrees have at most 7 digits behind the point")
            }
            (Type::Time, Token::Text(t)) => {
                (units::time(t), "times look like '2018-03-04 05:06:07' or '2018-03-04'")
            }
            (Type::Time, _) => (None, "times stand in quotes: '2018-03-04 05:06:07'"),
            _ => (None, "it is compared with a number, without quotes"),
        };
        if value.is_none() {
            let is_null = matches!(&token, Token::Word(w) if w.eq_ignore_ascii_case("null"));
            let hint = if is_null { "write `is null` or `is not null`" } else { hint };
            let message = format!("`{name}` cannot be compared with {}", shown(&token));
            self.fail(span, message, hint);
        }
        value.map(Constant::Int)
    }

    /// Texts that a column can never be are mistakes.
    fn check_text(&self, expr: Expr, text: &str, span: Range<usize>) {
        let known: Vec<&str> = match (expr, self.scope.fact) {
            (Expr::AgeGroup, _) => self.scope.age_groups.iter().map(|g| g.label.as_str()).collect(),
            (Expr::Meta(Meta::Stream), _) => Stream::ALL.iter().map(|s| s.name()).collect(),
            (Expr::Meta(Meta::Outcome), _) => vec!["kept", "rejected", "ignored"],
            (Expr::Meta(Meta::State), _) => vec!["value", "null", "placeholder", "defect"],
            (Expr::Meta(Meta::Column), _) => Column::ALL.iter().map(|c| c.name()).collect(),
            (Expr::Meta(Meta::Reason), Fact::Records) => {
                Reason::ALL.iter().map(|r| r.name()).collect()
            }
            (Expr::Meta(Meta::Reason), _) => Defect::ALL.iter().map(|d| d.name()).collect(),
            _ => return,
        };
        if !known.contains(&text) {
            let message = format!("`{}` is never '{text}'", expr.name());
            self.fail(span, message, meant(text, known));
        }
    }
}
