//! What is wrong with a configuration, and where: every problem carries the text it was found
//! in, so that it can be shown with its line and a caret.
//!
//! Promises: no value of a key that holds a secret is shown.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::mask;

/// A text that settings were read from: a file, an environment variable, a command line flag.
#[derive(Debug, PartialEq, Eq)]
pub struct Text {
    /// What it is called in messages.
    pub name: String,
    /// The whole text.
    pub body: String,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub text: Arc<Text>,
    /// The piece, in bytes.
    pub span: Range<usize>,
}

impl Place {
    /// The line and the column (in characters) of its first character, both from 1.
    pub fn line_column(&self) -> (usize, usize) {
        let before = &self.text.body[..self.floor(self.span.start)];
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// The same text, another piece of it.
    pub fn at(&self, span: Range<usize>) -> Place {
        Place { text: Arc::clone(&self.text), span }
    }

    /// The greatest character boundary that is not behind `at`.
    fn floor(&self, at: usize) -> usize {
        let at = at.min(self.text.body.len());
        (0..=at).rev().find(|i| self.text.body.is_char_boundary(*i)).unwrap_or(0)
    }

    /// The line it begins on, and where in it the piece lies, in characters; long lines are cut
    /// to what is around the piece, and secrets are starred.
    fn excerpt(&self) -> (String, usize, usize) {
        const WIDTH: usize = 100;
        let body = &self.text.body;
        let start = self.floor(self.span.start);
        let begin = body[..start].rfind('\n').map_or(0, |i| i + 1);
        let end = body[start..].find('\n').map_or(body.len(), |i| start + i);
        let secrets = mask::hidden(body);
        let starred = |(i, c): (usize, char)| {
            let secret = secrets.iter().any(|span| span.contains(&(begin + i)));
            if secret { '*' } else { c }
        };
        let line: Vec<char> = body[begin..end].char_indices().map(starred).collect();
        let column = body[begin..start].chars().count();
        let stop = self.floor(self.span.end.min(end).max(start));
        let width = body[start..stop].chars().count().max(1);
        let from = if column > WIDTH { column - WIDTH / 2 } else { 0 };
        let shown = line.iter().skip(from).take(WIDTH);
        let shown = shown.map(|c| if c.is_control() { ' ' } else { *c }).collect();
        (shown, column - from, width.min(WIDTH - (column - from).min(WIDTH - 1)))
    }
}

/// `file:line:column`, or the flag or variable.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.text.name)
    }
}

/// Something wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; none where there is no text (a file that cannot be read).
    pub place: Option<Place>,
    /// What was seen, and why it cannot be.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a place.
    pub fn general(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Problem { place: None, message: message.into(), hint: Some(hint.into()) }
    }

    /// For machines: `{file, line, column, message, hint}`.
    pub fn to_json(&self) -> serde_json::Value {
        let at = self.place.as_ref().map(Place::line_column);
        serde_json::json!({
            "file": self.place.as_ref().map(|p| &p.text.name),
            "line": at.map(|a| a.0),
            "column": at.map(|a| a.1),
            "message": self.message,
            "hint": self.hint,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            None => write!(f, "{}", self.message)?,
            Some(place) => {
                writeln!(f, "{place}: {}", self.message)?;
                let (line, _) = place.line_column();
                let (shown, column, width) = place.excerpt();
                writeln!(f, "{line:>5} | {shown}")?;
                write!(f, "      | {}{}", " ".repeat(column), "^".repeat(width))?;
            }
        }
        match &self.hint {
            Some(hint) => write!(f, "\n      = {hint}"),
            None => Ok(()),
        }
    }
}

/// Where problems are gathered while reading goes on.
#[derive(Debug, Default)]
pub struct Problems {
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Problems {
    /// Notes something wrong.
    pub fn error(&self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        let (message, hint) = (message.into(), hint.into());
        let hint = (!hint.is_empty()).then_some(hint);
        self.errors.borrow_mut().push(Problem { place: Some(place.clone()), message, hint });
    }

    /// Notes something wrong that has no place.
    pub fn add(&self, problem: Problem) {
        self.errors.borrow_mut().push(problem);
    }

    /// Notes something that is allowed and probably not meant.
    pub fn warn(&self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        let (message, hint) = (message.into(), Some(hint.into()));
        self.warnings.borrow_mut().push(Problem { place: Some(place.clone()), message, hint });
    }

    /// How many errors there are so far.
    pub fn count(&self) -> usize {
        self.errors.borrow().len()
    }

    /// Errors and warnings, each in the order of their places.
    pub fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |list: RefCell<Vec<Problem>>| {
            let mut list = list.into_inner();
            let order = |p: &Problem| {
                p.place.as_ref().map(|p| (p.text.name.clone(), p.span.start, p.span.end))
            };
            list.sort_by_key(order);
            list.dedup();
            list
        };
        (sorted(self.errors), sorted(self.warnings))
    }
}

/// The known name that is nearest to what was written, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let score = |k: &str| {
        let contains = k.len() > 2 && (lower.contains(k) || k.contains(&lower)) && lower.len() > 2;
        let jaro = strsim::jaro_winkler(&lower, &k.to_lowercase());
        let edits = strsim::damerau_levenshtein(&lower, &k.to_lowercase());
        let close = edits <= 1 + k.chars().count() / 4;
        (close || jaro > 0.85 || contains).then_some(jaro - edits as f64 / 100.0)
    };
    let best = |a: &(&str, f64), b: &(&str, f64)| a.1.total_cmp(&b.1);
    known.into_iter().filter_map(|k| Some((k, score(k)?))).max_by(best).map(|(k, _)| k)
}

/// `a`, `b` or `c`.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|n| format!("`{n}`")).collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// A hint of what was meant: the nearest of the known names, else all of them.
pub fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, known.iter().copied()) {
        Some(k) => format!("did you mean `{k}`?"),
        None if known.is_empty() => "there is none to choose from".to_owned(),
        None => format!("possible: {}", one_of(known)),
    }
}
