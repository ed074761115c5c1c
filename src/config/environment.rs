//! Settings from the environment: `PINFLOW_A__B=v` is the setting `a.b`.
//!
//! Promises: a variable with `__` is a setting, and one that there is not is an error, as in a
//! file. One without `__` is none: it is an error where it spells a setting all the same, and
//! warned of where it nearly is one of ours. Whatever else begins with `PINFLOW_` is left alone:
//! orchestrators make up such names for a service that is called pinflow (`PINFLOW_PORT`), and so
//! may whoever names a secret. Values are in no message.

use std::sync::Arc;

use super::keys::{self, KEYS};
use super::load::{Env, apply};
use super::problem::{Place, Problems, Text, nearest};
use super::tree::{Table, Value};

/// How all of them begin.
const PREFIX: &str = "PINFLOW_";

/// What is no setting and read all the same.
const OWN: [&str; 4] = ["PINFLOW_CONFIG", "PINFLOW_FAULT", "PINFLOW_LOG", "PINFLOW_TOKEN"];

/// The tables that are there once, so that their keys have one name each.
const TABLES: [&str; 8] = [
    "engine",
    "cleaning",
    "cleaning.wrappers",
    "cleaning.placeholders",
    "columns",
    "state",
    "dead_letters",
    "http",
];

/// Lays the settings of the environment over the tree.
pub fn lay(root: &mut Table, env: &Env, problems: &Problems) {
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if !rest.contains("__") {
            look_alike(root, name, problems);
            continue;
        }
        let keys: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if keys::known("", &keys[0]) || keys[0].is_empty() {
            let text = Text { name: "environment".into(), body: format!("{name}={value}") };
            apply(root, &Arc::new(text), &keys, name.len() + 1, false, problems);
        } else {
            problems.error(&place(name), format!("`{name}` is no setting"), meant(name, &keys));
        }
    }
}

/// Where a variable stands; without its value, which may be a secret.
fn place(name: &str) -> Place {
    let text = Text { name: "environment".into(), body: name.to_owned() };
    Place { text: Arc::new(text), span: 0..name.len() }
}

/// The variables of the settings that have one name each.
fn settings() -> impl Iterator<Item = String> {
    let fixed = KEYS.iter().filter(|k| TABLES.contains(&k.section));
    // Tables are no values, and a token does not stand in a variable of ours itself.
    let values = fixed.filter(|k| !k.example.starts_with('[') && k.name != "token");
    values.map(|k| {
        let path = format!("{}.{}", k.section, k.name);
        format!("{PREFIX}{}", path.replace('.', "__").to_uppercase())
    })
}

/// What was meant by a variable whose first part is no table.
fn meant(name: &str, keys: &[String]) -> String {
    // What all of them begin with makes none of them nearer.
    let known: Vec<String> = settings().collect();
    let bare = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
    if let Some(known) = nearest(&name[PREFIX.len()..], bare) {
        return format!("did you mean `{PREFIX}{known}`?");
    }
    let last = keys.last().map_or("", String::as_str);
    match (nearest(&keys[0], keys::names("")), keys::home(last)) {
        (_, Some(home)) => format!("`{last}` belongs to {home}"),
        (Some(table), None) => format!("did you mean `{PREFIX}{}__...`?", table.to_uppercase()),
        (None, None) => format!("settings are written {PREFIX}TABLE__KEY, as in docs/reference"),
    }
}

/// Looks at a variable that is no setting: does it only lack an underscore, or is it misspelt?
fn look_alike(root: &Table, name: &str, problems: &Problems) {
    if OWN.contains(&name) || secret(root).is_some_and(|n| n == name) {
        return;
    }
    let mut known: Vec<String> = settings().collect();
    let single = |known: &str| known.replace("__", "_") == name;
    if let Some(known) = known.iter().find(|known| single(known)) {
        let message = format!("`{name}` sets nothing: two underscores stand between table and key");
        problems.error(&place(name), message, format!("write `{known}`"));
        return;
    }
    known.extend(OWN.map(Into::into));
    let distance = |known: &String| {
        let plain = known.replace("__", "_");
        // Of a setting the key alone is what people try.
        let key = known.rsplit("__").next().unwrap_or(known);
        let whole = strsim::damerau_levenshtein(&plain, name);
        if name == format!("{PREFIX}{key}") { 0 } else { whole }
    };
    let near = known.iter().map(|k| (distance(k), k)).filter(|(d, _)| *d <= 2).min();
    if let Some((_, known)) = near {
        let message = format!("`{name}` is none of pinflow's variables and sets nothing");
        problems.warn(&place(name), message, format!("did you mean `{known}`?"));
    }
}

/// The variable that the token is taken from.
fn secret(root: &Table) -> Option<&str> {
    let Value::Table(http) = &root.get("http")?.node.value else { return None };
    let Value::Table(token) = &http.get("token")?.node.value else { return None };
    token.get("env")?.node.as_text()
}

#[cfg(test)]
mod tests {
    use super::super::{Loaded, load, problem::Problem};
    use super::*;

    fn with(name: &str) -> Result<Loaded, Vec<Problem>> {
        load(&[], &[], &[(name.to_owned(), "s3cret".to_owned())].into())
    }

    /// They were silently ignored.
    #[test]
    fn what_is_misspelt_is_said() {
        for (name, part) in [
            ("PINFLOW_SEVER__LISTEN", "`listen` belongs to [http]"),
            ("PINFLOW_ENGIN__WORKERS", "did you mean `PINFLOW_ENGINE__WORKERS`?"),
            ("PINFLOW_SOURCES__DEMO__X", "did you mean `PINFLOW_SOURCE__...`?"),
            ("PINFLOW_HTTP_LISTEN", "write `PINFLOW_HTTP__LISTEN`"),
            ("PINFLOW_STATE_CUT_BYTES", "write `PINFLOW_STATE__CUT_BYTES`"),
            ("PINFLOW_ENGINE__WRKERS", "did you mean `workers`?"),
        ] {
            let problems = with(name).expect_err(name);
            let said = problems[0].to_string();
            assert!(said.contains(part) && said.contains(name), "{said}");
        }
        for (name, part) in [
            ("PINFLOW_CONFGI", "PINFLOW_CONFIG"),
            ("PINFLOW_LISTEN", "PINFLOW_HTTP__LISTEN"),
            ("PINFLOW_STATE_DIRS", "PINFLOW_STATE__DIR"),
        ] {
            let warnings = with(name).expect(name).warnings;
            let said = warnings.first().map(ToString::to_string).unwrap_or_default();
            assert!(said.contains(part) && !said.contains("s3cret"), "{name}: {said}");
        }
        // What an orchestrator makes up for a service of this name, and our own.
        let made = ["PINFLOW_PORT", "PINFLOW_SERVICE_HOST", "PINFLOW_PORT_8765_TCP_ADDR"];
        for name in made.into_iter().chain(OWN) {
            let warnings = with(name).expect(name).warnings;
            assert!(warnings.is_empty(), "{name}: {warnings:?}");
        }
    }
}
