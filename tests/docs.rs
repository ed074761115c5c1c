//! The documentation and the binary say the same: every relative link leads somewhere, every
//! command and flag of ours that is named exists, and records are cleaned as the page says.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dataflows::record::{Decoded, Decoder, Origin, Rule, Rules, table};

/// The Markdown files of the repository.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<_> = ["", "docs", "docs/how-to", "docs/explanation", "docs/reference"]
        .iter()
        .chain(&["grafana"])
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    pages.sort();
    assert!(pages.len() > 15, "only {} pages", pages.len());
    pages
}

/// The anchors of a page: its headings as they are linked to.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let pictures = text.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.chain(pictures).filter(|l| !l.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let there = match anchor {
                "" => target.exists(),
                anchor => std::fs::read_to_string(&target)
                    .is_ok_and(|text| anchors(&text).contains(anchor)),
            };
            if !there {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pinflow")).args(words).arg("--help").output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// The flags that a help text names.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|w| w.starts_with("--") && w.len() > 2).map(str::to_owned).collect()
}

/// The commands with their flags, as the binary tells.
fn commands() -> BTreeMap<String, BTreeSet<String>> {
    let text = help(&[]);
    let list = text.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.map(|name| (name.to_owned(), flags(&help(&[name])))).collect()
}

/// The code of a page: lines between fences, and what stands in backticks elsewhere.
fn code(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut code = Vec::new();
    for line in text.lines() {
        match line.trim_start().starts_with("```") {
            true => fenced = !fenced,
            false if fenced => code.push(line),
            false => code.extend(line.split('`').skip(1).step_by(2)),
        }
    }
    code
}

/// What the binary is called with, if a piece of code is a call of it.
fn call(code: &str) -> Option<&str> {
    let code = code.trim_start_matches("$ ");
    let (program, rest) = code.split_once(' ')?;
    if program.contains('=') {
        return call(rest);
    }
    let end = rest.find(['|', ';', '#', '&', '>']).unwrap_or(rest.len());
    (program == "pinflow" || program.ends_with("/pinflow")).then_some(&rest[..end])
}

#[test]
fn commands_and_flags_exist() {
    let commands = commands();
    assert!(commands.contains_key("run") && commands["run"].contains("--once"));
    let every: BTreeSet<_> = commands.values().flatten().cloned().collect();
    let (mut checked, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap().replace("\\\n", " ");
        for call in code(&text).into_iter().filter_map(call) {
            checked += 1;
            let name = call.split_whitespace().next().unwrap_or_default();
            let known = match commands.get(name) {
                Some(known) => known,
                None if name.starts_with('-') || name.chars().all(char::is_uppercase) => &every,
                None => {
                    wrong.push(format!("{}: no command: pinflow {call}", page.display()));
                    continue;
                }
            };
            for flag in flags(call).difference(known) {
                wrong.push(format!("{}: no flag {flag}: pinflow {call}", page.display()));
            }
        }
    }
    assert!(checked > 40, "only {checked} calls were found");
    assert!(wrong.is_empty(), "said and not there:\n{}", wrong.join("\n"));
}

/// The examples of the page on cleaning.
#[test]
fn records_are_cleaned_as_the_page_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/cleaning.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, examples) = page.split_once("## Examples").unwrap();
    let mut decoder = Decoder::new(Arc::new(Rules::default()));
    let mut checked = 0;
    for line in examples.lines().filter(|line| line.contains('`')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [kind, came, want] = cells[..] else { panic!("{line}") };
        let (came, want) = (came.trim_matches('`'), want.trim_matches('`'));
        let told = match kind {
            "pin" => r#""index":1,"unique_id":"u","category":"c""#,
            "geo" => r#""ind":1,"timestamp":null,"country":"c""#,
            _ => r#""ind":1,"first_name":null,"date_joined":null"#,
        };
        // Of a doubled key the last counts.
        let record = format!("{{{told},{came}}}");
        let mut lines = Vec::new();
        decoder.decode(record.as_bytes(), Rule::Auto, 0, false, |_, decoded| {
            let Decoded::Record(record) = decoded else { panic!("{line}: {decoded:?}") };
            assert_eq!(record.fields.stream().name(), kind);
            let origin = Origin { arrived_at: 0, partition: 0, position: 0, sub: 0 };
            table::write_json(record, &origin, "s", "p", &mut lines);
        });
        let cleaned = String::from_utf8(lines).unwrap();
        assert!(cleaned.contains(want), "{line}\n{cleaned}");
        checked += 1;
    }
    assert!(checked > 20, "only {checked} examples");
}
