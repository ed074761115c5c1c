//! What happens to files while they are read, and between runs: growth, rotation, damage.

use super::*;

#[test]
fn growing_files_are_read_on() {
    let place = Place::new();
    place.put("b.jsonl", "{\"n\":1}\n{\"n\"");
    let mut run = place.start(false, None).expect("readable");
    assert_eq!(run.texts(), ["{\"n\":1}"]);
    assert_eq!(run.go().expect("ok"), 0);
    place.append("b.jsonl", ":2}");
    assert_eq!(run.go().expect("ok"), 0, "a line waits for its end");
    place.append("b.jsonl", "\n{\"n\":3}\n");
    assert_eq!(run.go().expect("ok"), 2);
    // A new file of a later scan has that scan's moment.
    place.now.store(5_000, Ordering::Relaxed);
    place.put("a/c.jsonl", "{\"n\":4}\n");
    assert_eq!(run.go().expect("ok"), 1);
    let arrivals: Vec<i64> = run.rows.iter().map(|r| r.3).collect();
    assert_eq!(arrivals, [1_000, 1_000, 1_000, 5_000]);
    // After a restart they arrive when they did before.
    place.append("a/c.jsonl", "{\"n\":5}\n");
    place.now.store(2_000, Ordering::Relaxed);
    place.put("a/d.jsonl", "{\"n\":7}\n");
    let more = place.start(false, Some(&run)).expect("the same");
    assert_eq!(
        more.rows.iter().map(|r| r.3).collect::<Vec<_>>(),
        [5_000, 5_000],
        "and a clock that goes back changes nothing"
    );
    // Long still: the file is closed, and a scan tells that it has grown.
    place.now.store(i64::MAX, Ordering::Relaxed);
    assert_eq!(run.go().expect("ok"), 2);
    assert_eq!(run.go().expect("ok"), 0);
    place.append("b.jsonl", "{\"n\":6}\n");
    assert_eq!(run.go().expect("ok"), 1);
}

/// Nobody was told.
#[test]
fn a_folder_that_goes_is_told_until_it_is_back() {
    let mut place = Place::new();
    place.put("in/a.jsonl", "{\"n\":1}\n");
    place.files.paths = vec![place.path("in"), place.path("log.jsonl")];
    let mut run = place.start(false, None).expect("a path may come later");
    let missing = run.source.trouble().expect("one is not there");
    assert!(missing.contains("log.jsonl") && !missing.contains("more"), "{missing}");
    place.put("log.jsonl", "");
    fs::rename(place.path("in"), place.path("away")).expect("rename");
    assert_eq!(run.go().expect("status"), 0);
    let missing = run.source.trouble().expect("it has gone");
    assert!(missing.contains(place.path("in").to_str().expect("text")), "{missing}");
    fs::remove_file(place.path("log.jsonl")).expect("there");
    run.go().expect("status");
    assert!(run.source.trouble().is_some_and(|t| t.ends_with("and 1 more like it")));
    place.append("away/a.jsonl", "{\"n\":2}\n");
    place.put("log.jsonl", "{\"n\":3}\n");
    fs::rename(place.path("away"), place.path("in")).expect("rename");
    assert_eq!(run.go().expect("ok"), 2);
    assert_eq!(run.source.trouble(), None);
    assert_eq!(run.positions.len(), 2);
    // A bounded run needs its paths.
    fs::remove_file(place.path("log.jsonl")).expect("there");
    assert!(matches!(place.start(true, None), Err(SourceError::Unavailable { .. })));
}

/// A file of which nothing was left was taken for one that had not begun, and the run ended well.
#[test]
fn an_emptied_file_is_refused_and_followed_for_what_comes() {
    for name in ["log.jsonl", "log.jsonl.gz"] {
        let packed = |rows: &str| {
            if name.ends_with("gz") { gz(rows.as_bytes()) } else { rows.as_bytes().to_vec() }
        };
        let place = Place::new();
        place.put(name, packed("1\n2\n"));
        place.put("other.jsonl", "5\n");
        let first = place.start(false, None).expect("readable");
        place.put(name, "");
        for other in ["5\n6\n", "5\n"] {
            place.put("other.jsonl", other);
            let refused = place.start(true, Some(&first));
            assert!(matches!(refused, Err(SourceError::Changed { .. })), "{name}");
        }
        let mut second = place.start(false, Some(&first)).expect("readable");
        assert_eq!(second.texts(), Vec::<String>::new());
        assert_eq!(second.source.counters()["files_changed"], 0);
        place.put(name, packed("3\n"));
        second.go().expect("readable");
        assert_eq!(second.texts(), ["3"], "{name}");
        assert_eq!(second.source.counters()["files_changed"], 1);
        // One that never held anything is no other.
        place.put("new.jsonl", "");
        assert!(place.start(true, Some(&second)).is_ok());
    }
}

/// Their lag was not known after a restart, and they were about to start for ever.
#[test]
fn files_without_anything_left_are_told_once_after_a_restart() {
    let place = Place::new();
    for name in ["emptied.jsonl", "gone.jsonl", "more.jsonl", "read.jsonl"] {
        place.put(name, "1\n");
    }
    let run = place.start(false, None).expect("readable");
    place.put("emptied.jsonl", "");
    fs::remove_file(place.path("gone.jsonl")).expect("there");
    place.append("more.jsonl", "2\n");
    place.now.store(i64::MAX, Ordering::Relaxed);
    let mut source = place.started(false, Some(&run)).expect("the same").source;
    let first = source.discover().expect("readable");
    let found: Vec<String> = first.found.into_iter().map(|found| found.name).collect();
    assert_eq!(found, [place.name("more.jsonl")]);
    let mut still = first.still;
    still.sort_unstable();
    // Whether anything is left of one that is not there nobody knows.
    assert_eq!(still, ["emptied.jsonl", "read.jsonl"].map(|name| place.name(name)));
    place.append("read.jsonl", "2\n");
    let second = source.discover().expect("readable");
    assert_eq!((second.found.len(), second.still.len()), (1, 0));
}

/// One folder that cannot be read hid those behind it, and another one was named.
#[test]
fn a_folder_that_cannot_be_read_keeps_nobody_from_the_others() {
    let place = Place::new();
    for name in ["a", "c", "d", "e"] {
        place.put(&format!("in/{name}/x.jsonl"), "1\n");
    }
    // Root may read all there is, but no path of more than 4096 bytes.
    let name = "b".repeat(250);
    let mut within = File::open(place.path("in")).expect("there");
    for _ in 0..17 {
        rustix::fs::mkdirat(&within, &name, rustix::fs::Mode::RWXU).expect("a folder");
        let flags = rustix::fs::OFlags::DIRECTORY;
        within = rustix::fs::openat(&within, &name, flags, rustix::fs::Mode::empty())
            .expect("a folder")
            .into();
    }
    let run = place.start(false, None).expect("the others are");
    assert_eq!(run.rows.len(), 4);
    let deep = format!("reading {}/{name}/{name}", place.path("in").display());
    assert!(run.source.trouble().is_some_and(|t| t.starts_with(&deep)));
    let Err(refused) = place.start(true, None) else { panic!("a bounded run reads all") };
    assert!(refused.to_string().contains(&format!("{name}/{name}/{name}: ")), "{refused}");
}

#[test]
fn what_we_write_ourselves_is_not_read() {
    let mut place = Place::new();
    place.put("in/a.jsonl", "1\n");
    place.put("own/b.jsonl", "2\n");
    place.put("in/own/c.jsonl", "3\n");
    // What other states write is left out, too, but where it is named; of files that are only
    // called the same it is not known.
    place.put("rows/.pinflow-sink.json", "");
    place.put("rows/pin-000000.jsonl", "4\n");
    place.put("like/manifest.json", "{\"format\":1}\n");
    let options = crate::store::Options::new(<_>::default());
    let (mut store, _) = crate::store::Store::open(&place.path("state"), options).expect("new");
    store.commit(&crate::store::Cut::default()).expect("there is room");
    place.put("state/dead-letters-000001.jsonl", "5\n");
    let mut texts = place.once().texts();
    texts.sort_unstable();
    assert_eq!(texts, ["1", "3", "{\"format\":1}"]);
    place.files.paths.push(place.path("rows"));
    assert!(place.once().texts().contains(&"4".to_owned()));
}

#[test]
fn a_shortened_file_is_another_while_it_is_followed() {
    let place = Place::new();
    place.put("a.jsonl", "{\"n\":1}\n{\"n\":2}\n");
    let mut run = place.start(false, None).expect("ok");
    place.put("a.jsonl", "{\"n\":1}\n");
    // The reader may see it first, or the scan.
    run.go().expect("ok");
    run.go().expect("ok");
    assert_eq!(run.texts(), ["{\"n\":1}", "{\"n\":2}", "{\"n\":1}"]);
    assert_eq!(run.source.counters()["files_changed"], 1);
}

#[test]
fn a_last_line_without_end_is_read_when_bounded_and_then_must_not_grow() {
    for packed in [false, true] {
        let place = Place::new();
        let name = if packed { "a.jsonl.gz" } else { "a.jsonl" };
        let put = |content: &str| {
            let bytes = content.as_bytes().to_vec();
            // Written over, not replaced: a longer file with the same head.
            place.put(name, if packed { gz(&bytes) } else { bytes });
        };
        put("{\"n\":1}\n{\"n\":2}");
        let run = place.once();
        assert_eq!(run.texts(), ["{\"n\":1}", "{\"n\":2}"]);
        assert!(place.start(true, Some(&run)).expect("finished").rows.is_empty());
        if packed {
            append_to(&place.path(name), &gz(b",3]\n"));
        } else {
            place.append(name, ",3]\n");
        }
        for bounded in [true, false] {
            let grown = place.start(bounded, Some(&run));
            assert!(matches!(grown, Err(SourceError::Changed { .. })), "packed {packed}");
        }
    }
}

/// It was refused, and the daemon ended, although the file had only grown.
#[test]
fn a_last_line_may_get_its_end_with_what_follows_it() {
    for (name, behind) in [("a.jsonl", "\n"), ("a.jsonl", " \r\n"), ("a.jsonl.gz", "\n")] {
        for bounded in [true, false] {
            let place = Place::new();
            let packed = name.ends_with("gz");
            place.put(name, if packed { gz(b"1\n2") } else { b"1\n2".to_vec() });
            let run = place.once();
            assert_eq!(run.texts(), ["1", "2"]);
            let rest = format!("{behind}3\n4\n");
            let rest = if packed { gz(rest.as_bytes()) } else { rest.into_bytes() };
            append_to(&place.path(name), &rest);
            let run = place.start(bounded, Some(&run)).expect("it has only grown");
            assert_eq!(run.texts(), ["3", "4"], "{name} {behind:?} {bounded}");
        }
    }
}

/// It was behind for as long as nothing came, which was called stalled.
#[test]
fn a_line_that_waits_for_its_end_is_not_to_be_read_yet() {
    let place = Place::new();
    place.put("a.jsonl", "1\n2");
    let mut run = place.start(false, None).expect("readable");
    let end = |run: &Run| run.readers[0].1.end();
    assert_eq!((run.texts(), end(&run)), (vec!["1".into()], Some(2)));
    place.append("a.jsonl", "3");
    assert_eq!((run.go().expect("readable"), end(&run)), (0, Some(2)));
    place.append("a.jsonl", "\n4\n");
    assert_eq!((run.go().expect("readable"), end(&run)), (2, Some(7)));
    assert_eq!(run.texts(), ["1", "23", "4"]);
    // In a bounded run it is a line.
    place.append("a.jsonl", "5");
    assert_eq!(place.once().texts(), ["1", "23", "4", "5"]);
}

/// It was taken as it was, a rejected half, and when it had come to its end all later runs failed.
#[test]
fn a_bounded_run_leaves_a_line_that_is_being_written() {
    let place = Place::new();
    place.put("a.jsonl", "{\"n\":1}\n{\"n\":");
    let mut run = place.once();
    assert_eq!(run.texts(), ["{\"n\":1}"]);
    for (more, texts, unfinished) in
        [("", &[][..], 1), ("2}", &["{\"n\":2}"], 0), ("\n[", &[], 1), ("3]\n", &["[3]"], 0)]
    {
        place.append("a.jsonl", more);
        run = place.start(true, Some(&run)).expect("it has only grown");
        assert_eq!(run.texts(), texts);
        assert_eq!(run.source.counters()["files_unfinished"], unfinished);
    }
    // What is no beginning of JSON is a line, and so is all that a whole compressed file holds.
    for (name, content) in [("b.jsonl", b"e30".to_vec()), ("b.jsonl.gz", gz(b"{\"n\":"))] {
        let place = Place::new();
        place.put(name, content);
        assert_eq!(place.once().rows.len(), 1, "{name}");
    }
}

/// The last line of a file to which nothing more comes was never read, and nobody was told.
#[test]
fn the_last_line_of_a_whole_compressed_file_is_read_without_its_end() {
    for (name, pack) in [("a.gz", gz as fn(&[u8]) -> Vec<u8>), ("a.zst", zst)] {
        let place = Place::new();
        place.put(name, pack(b"{\"n\":1}\n{\"n\":2}"));
        let mut run = place.start(false, None).expect("readable");
        assert_eq!(run.texts(), ["{\"n\":1}", "{\"n\":2}"], "{name}");
        assert_eq!((run.go().expect("readable"), run.readers[0].1.end()), (0, Some(15)));
        for bounded in [true, false] {
            assert!(place.start(bounded, Some(&run)).expect("the same").rows.is_empty(), "{name}");
        }
        // If more is put behind it nevertheless, its place is known.
        append_to(&place.path(name), &pack(b"\n{\"n\":3}\n{\"n\""));
        run = place.start(false, Some(&run)).expect("it has only grown");
        assert_eq!(run.rows.iter().map(|row| row.1).collect::<Vec<_>>(), [16], "{name}");
        assert_eq!(run.source.counters()["files_unfinished"], 1);
        append_to(&place.path(name), &pack(b":4}"));
        run.go().expect("readable");
        let again = place.start(true, Some(&run)).expect("the same");
        assert_eq!((run.rows.last().map(|row| row.1), again.rows.len()), (Some(24), 0), "{name}");
        // What is no JSON text may go on.
        append_to(&place.path(name), &pack(b"\n{\"n\":5}\neyJhIjox"));
        run = place.start(false, Some(&run)).expect("it has only grown");
        assert_eq!(run.texts(), ["{\"n\":5}"], "{name}");
        append_to(&place.path(name), &pack(b"Nn0=\n"));
        run.go().expect("readable");
        assert_eq!(run.texts().last().map(String::as_str), Some("eyJhIjoxNn0="), "{name}");
    }
}

/// Nothing told of it: there was no lag, as it may still be written.
#[test]
fn a_line_that_has_long_lacked_its_end_is_counted_once() {
    let place = Place::new();
    place.put("a.jsonl", "1\n{\"n");
    place.put("b.jsonl", "1\n");
    let mut run = place.start(false, None).expect("readable");
    let unfinished = |run: &Run| run.source.counters()["files_unfinished"];
    assert_eq!(unfinished(&run), 0, "it was written a moment ago");
    place.now.store(4_000_000_000_000_000, Ordering::Relaxed);
    for more in ["", "", "\n{"] {
        place.append("a.jsonl", more);
        run.go().expect("readable");
        place.now.fetch_add(3_600_000_000, Ordering::Relaxed);
        run.go().expect("readable");
        assert_eq!(unfinished(&run), if more.is_empty() { 1 } else { 2 });
    }
    assert_eq!(unfinished(&place.start(false, Some(&run)).expect("readable")), 1);
}

#[test]
fn a_compressed_file_that_is_cut_off_is_unfinished() {
    let (rows, bytes) = numbered(3_000);
    for (name, content) in [("a.jsonl.gz", gz(&bytes)), ("a.jsonl.zst", zst(&bytes))] {
        let place = Place::new();
        for cut in [5, content.len() / 2, content.len() - 1] {
            place.put(name, &content[..cut]);
            let mut run = place.started(true, None).expect("ok");
            // No more can come: it was only a warning.
            let refused = run.go().expect_err("an end that is missing");
            assert!(matches!(refused, SourceError::Refused { .. }), "{refused}");
            assert!(refused.to_string().contains("its end is missing"), "{refused}");
            assert_eq!(run.go().expect("said once"), 0);
            assert!(cut < 100 || run.rows.len() > 100, "what was there is read");
            assert_eq!(run.texts(), rows[..run.rows.len()], "{name} cut at {cut}");
            assert_eq!(run.source.counters()["files_unfinished"], 1);
            assert_eq!(run.source.counters()["files_refused"], 1);
        }
        // Followed, it is read on when the rest has come; the head is that of the first sight.
        place.put(name, &content[..content.len() / 2]);
        let mut run = place.start(false, None).expect("ok");
        append_to(&place.path(name), &content[content.len() / 2..]);
        run.go().expect("ok");
        assert_eq!(run.texts(), rows, "{name}");
        // And one more member.
        append_to(
            &place.path(name),
            &if name.ends_with("gz") { gz(b"{}\n") } else { zst(b"{}\n") },
        );
        assert_eq!(run.go().expect("ok"), 1);
        assert_eq!(run.rows.last().map(|r| r.1), Some(bytes.len() as u64));
    }
}

#[test]
fn bombs_and_damage_are_refused_and_neighbours_are_not() {
    let mut place = Place::new();
    place.files.max_unpacked_bytes = 1 << 20;
    let bomb = vec![b'\n'; 64 << 20];
    let (_, bytes) = numbered(3_000);
    let mut damaged = gz(&bytes);
    let middle = damaged.len() / 2;
    damaged[middle..middle + 20].fill(0xff);
    // All lines are there, and the sum behind them is wrong; junk behind a whole one.
    let mut sum = gz(&bytes);
    let at = sum.len() - 6;
    sum[at] ^= 1;
    let junk = [gz(&bytes), b"junk".to_vec()].concat();
    for (name, content, lines) in [
        ("a.gz", gz(&bomb), 0..=0),
        ("a.zst", zst(&bomb), 0..=0),
        ("a.jsonl.gz", damaged, 1_000..=2_000),
        ("sum.gz", sum, 3_000..=3_000),
        ("junk.gz", junk, 3_000..=3_000),
        ("b.gz", bytes.clone(), 0..=0),
    ] {
        place.put(name, content);
        place.put("z.jsonl", "{}\n");
        let config = config::Source {
            name: "files".into(),
            kind: SourceKind::Files(place.files.clone()),
            routes: Vec::new(),
        };
        let mut source = crate::source::build(&config, true, Arc::new(|| 0)).expect("ok");
        let found = source.discover().expect("ok").found;
        assert_eq!(found.len(), 2, "{name}");
        let (mut refused, mut read) = (0, 0);
        for f in found {
            let mut reader = source.open(&f.name, 0, 0).expect("ok");
            loop {
                match reader.read(1 << 20, 1 << 20) {
                    Ok(Read::Batch(batch)) => {
                        let first = refused == 0 || f.name.ends_with("z.jsonl");
                        assert!(first, "{name}: what was decoded comes first");
                        read += batch.spans.len();
                    }
                    Ok(Read::End) => break,
                    Ok(Read::Idle(wait) | Read::Pending(wait)) => assert!(wait.is_zero()),
                    Err(SourceError::Refused { what }) => {
                        assert!(what.contains(name), "{what}");
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert_eq!((refused, source.counters()["files_refused"]), (1, 1), "{name}");
        // And that of the neighbour.
        assert!(lines.contains(&(read - 1)), "{name}: {read} lines");
        fs::remove_file(place.path(name)).expect("there");
    }
}

#[test]
fn what_is_not_there_is_an_error_only_when_bounded() {
    let mut place = Place::new();
    place.files.paths = vec![place.path("later")];
    let missing = place.start(true, None);
    assert!(matches!(missing, Err(SourceError::Unavailable { .. })));
    let mut run = place.start(false, None).expect("it may come");
    place.put("later/a.jsonl", "");
    assert_eq!(run.go().expect("ok"), 0);
    place.append("later/a.jsonl", "{}\n");
    assert_eq!(run.go().expect("ok"), 1);
}

#[test]
fn many_files_need_few_descriptors() {
    let place = Place::new();
    for i in 0..600 {
        place.put(&format!("{i:04}.jsonl"), format!("{{\"n\":{i}}}\n"));
    }
    let mut run = place.start(false, None).expect("ok");
    assert_eq!(run.rows.len(), 600);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    assert!(open < 450, "{open} descriptors are open");
    (0..600).for_each(|i| place.append(&format!("{i:04}.jsonl"), "{}\n"));
    assert_eq!(run.go().expect("ok"), 600);
}

/// A file comes in pieces cut anywhere, and the daemon is killed anywhere: the rows are those of
/// the whole file, once each, at their places.
#[test]
fn pieces_and_restarts_anywhere() {
    let (rows, plain) = numbered(1_500);
    let plain = String::from_utf8(plain).expect("ASCII").replace("5\"}\n", "5\"}\r\n\n \n");
    for (name, content) in [
        ("a.jsonl", plain.clone().into_bytes()),
        ("a.json", plain.clone().into_bytes()),
        ("a.gz", gz(plain.as_bytes())),
        ("a.json.zst", zst(plain.as_bytes())),
    ] {
        for seed in 0..6u64 {
            let mut state = seed;
            let mut below = |n: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed * 2 + 1);
                (state >> 33) as usize % n
            };
            let place = Place::new();
            place.put(name, b"");
            let mut run = place.start(false, None).expect("ok");
            let mut got = Vec::new();
            let mut at = 0;
            while at < content.len() {
                let piece = below(content.len() / 12 + 1).min(content.len() - at).max(1);
                append_to(&place.path(name), &content[at..at + piece]);
                at += piece;
                run.go().expect("ok");
                got.append(&mut run.rows);
                if below(4) == 0 {
                    run =
                        place.start(below(2) == 0 && at == content.len(), Some(&run)).expect("ok");
                    got.append(&mut run.rows);
                }
            }
            let texts: Vec<&[u8]> = got.iter().map(|r| &r.2[..]).collect();
            let want: Vec<&[u8]> = rows.iter().map(String::as_bytes).collect();
            assert!(texts == want, "{name} seed {seed}: {} of {}", texts.len(), want.len());
            let placed = |r: &(String, u64, Vec<u8>, i64)| {
                plain.as_bytes()[r.1 as usize..].starts_with(&r.2)
            };
            assert!(got.iter().all(placed), "{name} seed {seed}");
        }
    }
}
