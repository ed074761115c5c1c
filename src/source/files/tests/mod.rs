//! Files as a source, driven as the engine drives it: discover, remember, open, read.

mod changes;
mod rotation;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dataflows::record::{Rule, Stream};
use tempfile::TempDir;

use crate::config::{self, Files, Route, SourceKind};
use crate::source::{Clock, Memos, Read, Reader, Setup, Source, SourceError, build_with};

/// Bytes of a message in these tests.
const MAX_MESSAGE: usize = 3 << 20;

/// What the engine and the store do with a source.
struct Run {
    source: Box<dyn Source>,
    readers: Vec<(String, Box<dyn Reader>)>,
    rules: BTreeMap<String, Rule>,
    memos: Memos,
    positions: BTreeMap<String, u64>,
    /// Partition, position, payload, arrival.
    rows: Vec<(String, u64, Vec<u8>, i64)>,
    /// Whether their arrival times are their own.
    given: Vec<bool>,
}

struct Place {
    dir: TempDir,
    now: Arc<AtomicI64>,
    files: Files,
    routes: Vec<Route>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let files = Files {
            paths: vec![dir.path().to_owned()],
            scan_interval: Duration::from_secs(1),
            max_unpacked_bytes: 1 << 30,
            arrival_field: None,
            input_layout: false,
        };
        Place { dir, now: Arc::new(AtomicI64::new(1_000)), files, routes: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    fn append(&self, name: &str, bytes: &str) {
        let mut file = File::options().append(true).open(self.path(name)).expect("a file");
        file.write_all(bytes.as_bytes()).expect("a file");
    }

    fn start(&self, bounded: bool, before: Option<&Run>) -> Result<Run, SourceError> {
        let mut run = self.started(bounded, before)?;
        run.go()?;
        Ok(run)
    }

    /// Nothing is discovered yet.
    fn started(&self, bounded: bool, before: Option<&Run>) -> Result<Run, SourceError> {
        let config = config::Source {
            name: "files".into(),
            kind: SourceKind::Files(self.files.clone()),
            routes: self.routes.clone(),
        };
        let now = self.now.clone();
        let clock: Clock = Arc::new(move || now.load(Ordering::Relaxed));
        let own = Arc::new([self.path("own"), self.path("not-there")]);
        let setup = Setup { bounded, until: None, clock, max_message: MAX_MESSAGE, own };
        let mut source = build_with(&config, setup)?;
        Ok(Run {
            memos: before.map(|b| b.memos.clone()).unwrap_or_default(),
            positions: before.map(|b| b.positions.clone()).unwrap_or_default(),
            readers: Vec::new(),
            rules: BTreeMap::new(),
            rows: Vec::new(),
            given: Vec::new(),
            source: {
                let (memos, positions) =
                    before.map(|b| (b.memos.clone(), b.positions.clone())).unwrap_or_default();
                let positions: Vec<_> = positions.into_iter().collect();
                source.restore(&memos, &positions)?;
                source
            },
        })
    }

    fn once(&self) -> Run {
        self.start(true, None).expect("readable")
    }

    /// The path as a partition's name.
    fn name(&self, name: &str) -> String {
        super::scan::text(&self.path(name))
    }
}

impl Run {
    /// Discovers, opens, and reads until there is nothing.
    fn go(&mut self) -> Result<usize, SourceError> {
        self.look()?;
        self.read()
    }

    /// Discovers and opens.
    fn look(&mut self) -> Result<(), SourceError> {
        let discovery = self.source.discover()?;
        self.memos.extend(discovery.memos);
        for found in discovery.found {
            let at = self.positions.get(&found.name).copied().unwrap_or(found.start);
            let partition = self.rules.len() as u32;
            let reader = self.source.open(&found.name, partition, at)?;
            self.rules.insert(found.name.clone(), found.rule);
            self.readers.push((found.name, reader));
        }
        Ok(())
    }

    /// Reads until there is nothing.
    fn read(&mut self) -> Result<usize, SourceError> {
        let before = self.rows.len();
        for (name, reader) in &mut self.readers {
            loop {
                match reader.read(100_000, 1_000)? {
                    Read::Pending(Duration::ZERO) => {}
                    Read::Batch(batch) => {
                        assert!(!batch.spans.is_empty() && batch.spans.len() <= 1_000);
                        for i in 0..batch.spans.len() {
                            let payload = batch.payload(i).to_vec();
                            self.given.push(batch.arrival_given(i));
                            self.rows.push((
                                name.clone(),
                                batch.position(i),
                                payload,
                                batch.arrival(i),
                            ));
                        }
                        self.positions.insert(name.clone(), batch.next);
                        assert!(reader.end().is_none_or(|end| end >= batch.next));
                    }
                    Read::Idle(_) | Read::Pending(_) | Read::End => break,
                }
            }
        }
        self.memos.extend(self.source.stop());
        Ok(self.rows.len() - before)
    }

    fn texts(&self) -> Vec<String> {
        self.rows.iter().map(|r| String::from_utf8_lossy(&r.2).into_owned()).collect()
    }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

fn numbered(n: usize) -> (Vec<String>, Vec<u8>) {
    let rows: Vec<String> =
        (0..n).map(|i| format!("{{\"ind\":{i},\"x\":\"{}\"}}", "y".repeat(i * 37 % 301))).collect();
    let bytes = (rows.join("\n") + "\n").into_bytes();
    (rows, bytes)
}

fn append_to(path: &Path, bytes: &[u8]) {
    File::options().append(true).open(path).expect("a file").write_all(bytes).expect("a file");
}

/// Every kind of file gives the same rows at the same positions, from any position.
#[test]
fn all_kinds_of_files_from_any_position() {
    let (rows, bytes) = numbered(5_000);
    let half = bytes.iter().rposition(|b| *b == b'\n').expect("lines") / 2;
    let two_members = [gz(&bytes[..half]), gz(&bytes[half..])].concat();
    let two_frames = [zst(&bytes[..half]), zst(&bytes[half..])].concat();
    let kinds: [(&str, Vec<u8>); 7] = [
        ("a.jsonl", bytes.clone()),
        ("a.json", bytes.clone()),
        ("a.ndjson", bytes.clone()),
        ("a.jsonl.gz", gz(&bytes)),
        ("a.gz", two_members),
        ("a.json.zst", zst(&bytes)),
        ("a.zst", two_frames),
    ];
    for (name, content) in kinds {
        let place = Place::new();
        place.put(name, content);
        let all = place.once();
        assert_eq!(all.texts(), rows, "{name}");
        for row in &all.rows {
            assert_eq!(&bytes[row.1 as usize..][..row.2.len()], &row.2[..], "{name}");
        }
        for from in [1, 17, 2_500, 4_999] {
            let mut halfway = place.once();
            halfway.positions.insert(place.name(name), halfway.rows[from].1);
            halfway.memos.values_mut().for_each(|m| {
                m.as_object_mut().map(|m| m.remove("read"));
            });
            let rest = place.start(true, Some(&halfway)).expect("the same files");
            assert_eq!(rest.rows, all.rows[from..], "{name} from {from}");
        }
        let nothing = place.start(true, Some(&all)).expect("the same files");
        assert!(nothing.rows.is_empty() && nothing.readers.is_empty(), "{name} is finished");
    }
}

#[test]
fn what_is_a_record() {
    let check = |name: &str, content: &str, bounded: bool, want: &[&str]| {
        for packed in [false, true] {
            let place = Place::new();
            if packed {
                place.put(&format!("{name}.gz"), gz(content.as_bytes()));
            } else {
                place.put(name, content);
            }
            let run = place.start(bounded, None).expect("readable");
            assert_eq!(run.texts(), want, "{name} packed {packed}: {content:?}");
        }
    };
    check("a.jsonl", "{}\r\n{\"a\":1}\r\n", true, &["{}", "{\"a\":1}"]);
    check("a.jsonl", "\n\n  \n{}\n\t\r\n\"\"\n", true, &["{}", "\"\""]);
    check("a.jsonl", "\u{feff}{}\n{}", true, &["{}", "{}"]);
    check("a.jsonl", "\u{feff}{}\n{\"a", false, &["{}"]);
    check("a.jsonl", "  ", true, &[]);
    check("a.json", "\n [\n {\"a\":1},\n {\"a\":2}\n]\n", true, &["[\n {\"a\":1},\n {\"a\":2}\n]"]);
    check("a.json", "[\n {\"a\":1}\n]", false, &["[\n {\"a\":1}\n]"]);
    check("a.json", "[{\"a\":1}]\n[{\"a\":2}]\n", true, &["[{\"a\":1}]", "[{\"a\":2}]"]);
    check("a.json", "[{\"a\":1}]", true, &["[{\"a\":1}]"]);
    check("a.json", "[\n {'a':1},\n", true, &["[\n {'a':1},"]);
    check("a.jsonl", "[\n1]\n", true, &["[", "1]"]);
}

#[test]
fn an_array_is_waited_for() {
    let place = Place::new();
    place.put("a.json", "[\n {\"a\":[1]");
    let once = place.start(true, None).expect("readable");
    assert!(once.rows.is_empty(), "a later run reads it");
    let mut run = place.start(false, Some(&once)).expect("readable");
    assert!(run.rows.is_empty());
    place.append("a.json", "}\n]");
    assert_eq!(run.go().expect("readable"), 1);
    place.append("a.json", "\n");
    assert_eq!(run.go().expect("readable"), 0);
    place.append("a.json", "{}\n");
    assert_eq!(run.go().expect("readable"), 1);
}

#[test]
fn a_long_line_is_cut_and_costs_its_neighbours_nothing() {
    let long = [b"{\"x\":\"".as_slice(), &vec![b'x'; 50 << 20], b"\"}"].concat();
    let fits = [b"{\"x\":\"".as_slice(), &vec![b'x'; 2 << 20], b"\"}"].concat();
    let bytes = [b"{}\n", long.as_slice(), b"\n", &fits, b"\r\n", b"{}\n", &long].concat();
    for (name, content) in
        [("a.jsonl", bytes.clone()), ("a.gz", gz(&bytes)), ("a.zst", zst(&bytes))]
    {
        let place = Place::new();
        place.put(name, content);
        let run = place.once();
        let lengths: Vec<usize> = run.rows.iter().map(|r| r.2.len()).collect();
        assert_eq!(lengths, [2, MAX_MESSAGE + 1, fits.len(), 2, MAX_MESSAGE + 1], "{name}");
        let at: Vec<u64> = run.rows.iter().map(|r| r.1).collect();
        let (l, f) = (long.len() as u64, fits.len() as u64);
        assert_eq!(at, [0, 3, 4 + l, 6 + l + f, 9 + l + f], "{name}");
        assert_eq!(run.positions.values().copied().collect::<Vec<_>>(), [bytes.len() as u64]);
    }
}

#[test]
fn what_is_read_and_what_rules_it() {
    let mut place = Place::new();
    let all = [
        "pin.jsonl",
        "user.jsonl.gz",
        "x/geo.jsonl",
        "topics/0a1b.pin/partition=0/0a1b.pin+0+0000000000.json",
        "topics/0a1b.user/partition=0/0a1b.user+0+0000000000.json",
        "notes.txt",
        ".hidden.jsonl",
    ];
    let content = |name: &str| {
        if name.ends_with("gz") { gz(b"{}\n") } else { b"{}\n".to_vec() }
    };
    for name in all {
        place.put(name, content(name));
    }
    let rules = |place: &Place| -> Vec<(String, Rule)> {
        let prefix = format!("{}/", place.dir.path().display());
        let run = place.once();
        assert_eq!(run.rows.len(), run.rules.len());
        run.rules.iter().map(|(n, r)| (n.replace(&prefix, ""), *r)).collect()
    };
    let kind = Rule::Kind;
    let auto = |name: &str| (name.to_owned(), Rule::Auto);
    assert_eq!(
        rules(&place),
        [
            ("pin.jsonl".into(), kind(Stream::Pin)),
            auto(all[3]),
            auto(all[4]),
            ("user.jsonl.gz".into(), kind(Stream::User)),
            ("x/geo.jsonl".into(), kind(Stream::Geo)),
        ]
    );
    place.routes =
        vec![Route::of("*.user/*", kind(Stream::User)), Route::of("*pin*", Rule::Ignore)];
    assert_eq!(
        rules(&place),
        [
            ("pin.jsonl".into(), Rule::Ignore),
            (all[3].into(), Rule::Ignore),
            (all[4].into(), kind(Stream::User)),
            ("user.jsonl.gz".into(), kind(Stream::User)),
            ("x/geo.jsonl".into(), kind(Stream::Geo)),
        ]
    );
    place.routes.clear();
    place.files.input_layout = true;
    assert_eq!(
        rules(&place),
        [("pin.jsonl".into(), kind(Stream::Pin)), ("user.jsonl.gz".into(), kind(Stream::User)),]
    );
    fs::remove_file(place.path("pin.jsonl")).expect("there");
    fs::remove_file(place.path("user.jsonl.gz")).expect("there");
    assert_eq!(
        rules(&place),
        [auto("notes.txt"), auto(all[3]), auto(all[4]), auto("x/geo.jsonl"),]
    );
    place.files.input_layout = false;
    place.files.paths = vec![place.path("notes.txt"), place.path("x"), place.path("x/geo.jsonl")];
    assert_eq!(rules(&place).len(), 2, "a file that is named is read; none is read twice");
}

/// Nobody was told of files with other names.
#[test]
fn what_is_passed_over_in_folders_is_known_and_said_when_it_becomes_more() {
    use super::scan::{self, Passed, Told};
    let place = Place::new();
    for name in ["a.log", "b.txt", "part-0", "x/c", ".hidden", "d.jsonl", "own/e"] {
        place.put(name, "1\n");
    }
    let own = [place.path("own")];
    let told = Told { source: "s", bounded: true, own: &own, is_known: &|_| false };
    let routes = crate::source::glob::Routes::default();
    let scan = |files| scan::scan(&told, files, &routes, &mut Vec::new()).expect("readable");
    let (seen, Passed { files, some }) = scan(&place.files);
    assert_eq!((seen.len(), files, some.len()), (1, 4, 3));
    let all = Files { input_layout: true, ..place.files.clone() };
    let (seen, passed) = scan(&all);
    assert_eq!((seen.len(), passed), (5, Passed::default()));
    let now = std::time::Instant::now();
    let (soon, later) = (now + Duration::from_secs(9), now + Duration::from_mins(11));
    for (before, files, at, want) in [
        (None, 0, now, false),
        (None, 4, now, true),
        (Some((4, now)), 4, later, false),
        (Some((4, now)), 5, soon, false),
        (Some((4, now)), 5, later, true),
    ] {
        assert_eq!(super::is_news(before, files, at), want, "{before:?} {files}");
    }
}

#[test]
fn arrival_times_from_a_field() {
    for packed in [false, true] {
        let mut place = Place::new();
        place.files.arrival_field = Some("at".into());
        let text = "{\"x\":1}\n{\"at\":5}\n{\"x\":2}\nnot json\n{\"at\":\"7\"}\n{\"x\":3}\n";
        let name = if packed { "a.gz" } else { "a.jsonl" };
        place.put(name, if packed { gz(text.as_bytes()) } else { text.into() });
        let all = place.once();
        let arrivals: Vec<i64> = all.rows.iter().map(|r| r.3).collect();
        let (five, seven) = (5_000_000, 7_000_000);
        assert_eq!(arrivals, [1_000, five, five, five, seven, seven]);
        // A row that has none of its own is not judged by another's.
        assert_eq!(all.given, [false, true, false, false, true, false]);
        assert_eq!(all.source.counters()["rows_without_arrival"], 4);
        for from in 1..6 {
            let mut halfway = place.once();
            halfway.positions.insert(place.name(name), halfway.rows[from].1);
            halfway.memos.values_mut().for_each(|m| {
                m.as_object_mut().map(|m| m.remove("read"));
            });
            let rest = place.start(true, Some(&halfway)).expect("the same");
            assert_eq!(rest.rows, all.rows[from..], "from {from} packed {packed}");
        }
    }
}
