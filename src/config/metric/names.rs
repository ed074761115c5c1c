//! Names in answers: what they may be, and what they are if nothing is said.

use std::collections::BTreeMap;

use dataflows::metrics::declare::{Expr, Key};

use super::measure::Placed;
use crate::config::problem::{Place, Problems};
use crate::config::section::Section;

/// Names that answers use for themselves.
pub const RESERVED: [&str; 6] = ["window", "start", "end", "limit", "format", "positions"];

/// At most so many characters: names are parts of file names and of series.
const LENGTH: usize = 100;

/// Notes a name that is none.
pub fn check(problems: &Problems, place: &Place, name: &str) {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good || name.len() > LENGTH {
        let hint = "names begin with a letter and go on with letters, digits and `_`, at most 100";
        problems.error(place, format!("`{name}` cannot be a name"), hint);
    } else if RESERVED.contains(&name) {
        problems.error(place, format!("`{name}` is used by answers themselves"), "choose another");
    }
}

/// The name that a key of the section gives, checked.
pub fn given(s: &Section<'_>, key: &str) -> Option<String> {
    let name = s.text(key)?;
    check(s.problems, &s.get(key)?.place, name);
    Some(name.to_string())
}

/// The default name of an expression's column: `length(title)` is `length_title`.
pub fn of(expr: Expr) -> String {
    expr.name().replace('(', "_").replace(')', "")
}

/// Notes columns of one name.
pub fn unique(problems: &Problems, keys: &[(Key, Place)], measures: &[Placed]) {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    let keys = keys.iter().map(|(k, place)| (k.name.as_str(), place));
    let values = measures.iter().flat_map(|m| {
        let names = m.measure.returned.iter().chain([&m.measure.name]);
        names.map(|name| (name.as_str(), &m.place))
    });
    for (name, place) in keys.chain(values) {
        if let Some(other) = seen.insert(name, place) {
            let message = format!("two columns of this metric are called `{name}`");
            let hint = format!("the other comes from {other}; give one a `name`");
            problems.error(place, message, hint);
        }
    }
}
