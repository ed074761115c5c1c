//! Dead letters: what is kept, in which form, and how letters leave.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use dataflows::record::Reason;
use dataflows::sealed::Reject;

use super::super::dead::{DeadLetters, Letter, Letters, stretch};
use super::super::disk::Mode;
use super::super::scripted::ScriptedDisk;
use super::super::*;

const DIR: &str = "/state";

fn partitions() -> Vec<Partition> {
    let name = |n: &str| Partition { source: "s".into(), name: n.into() };
    vec![name("a"), name("b")]
}

fn reject(partition: u32, position: u64, sub: u32, payload: &[u8]) -> Reject {
    let (arrived_at, reason) = (1_500_000, Reason::NotJson);
    Reject { partition, position, sub, arrived_at, reason, payload: payload.to_vec(), rule: None }
}

fn open(disk: &ScriptedDisk, mark: Option<&serde_json::Value>) -> DeadLetters {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.create_dir(Path::new(DIR)).unwrap();
    let (letters, damage) = DeadLetters::open(disk, Path::new(DIR), mark, 10).unwrap();
    assert_eq!(damage, Vec::<String>::new());
    letters
}

fn list(letters: &DeadLetters) -> Vec<Letter> {
    letters.list().unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_letter_is_text_if_it_can_be() {
    let disk = ScriptedDisk::new();
    let mut letters = open(&disk, None);
    let rejects =
        vec![reject(1, 5, 0, b"\xff\x00"), reject(0, 9, 0, b"{\"a\""), reject(0, 9, 1, b"")];
    letters.append(&partitions(), rejects).unwrap();
    letters.sync().unwrap();
    let file = disk.read(&Path::new(DIR).join("dead-letters-0.jsonl")).unwrap();
    let lines: Vec<&str> = std::str::from_utf8(&file).unwrap().lines().collect();
    let line = |partition: &str, position: u64, sub: u32, payload: &str| {
        format!(
            "{{\"source\":\"s\",\"partition\":\"{partition}\",\
             \"position\":{position},\"sub\":{sub},\
             \"arrived_at\":\"1970-01-01T00:00:01.500000Z\",\"reason\":\"not_json\",\
             {payload},\"truncated\":false}}"
        )
    };
    let expected = [
        line("a", 9, 0, r#""payload":"{\"a\"""#),
        line("a", 9, 1, r#""payload":"""#),
        line("b", 5, 0, r#""payload_base64":"/wA=""#),
    ];
    assert_eq!(lines, expected);
    let all = list(&letters);
    assert_eq!(all[2].bytes().unwrap(), b"\xff\x00");
    assert_eq!(all[2].arrived_at_micros(), Some(1_500_000));
}

#[test]
fn of_each_partition_the_first_bytes_are_kept() {
    let payloads = ["1234", "5678", "x\u{e4}y", "", "z"];
    // However the letters are dealt out to epochs.
    for size in 1..=5 {
        let mut letters = open(&ScriptedDisk::new(), None);
        let rejects: Vec<Reject> =
            payloads.iter().zip(0..).map(|(p, at)| reject(0, at, 0, p.as_bytes())).collect();
        for epoch in rejects.chunks(size) {
            letters.append(&partitions(), epoch.to_vec()).unwrap();
            letters.append(&partitions(), vec![reject(1, epoch[0].position, 0, b"q")]).unwrap();
        }
        letters.sync().unwrap();
        let of_a = |letter: &Letter| letter.partition == "a";
        let kept: Vec<(Option<String>, bool)> = list(&letters)
            .into_iter()
            .filter(of_a)
            .map(|letter| (letter.payload, letter.truncated))
            .collect();
        let text = |t: &str| Some(t.to_owned());
        // Two bytes are left for the third, and its second character takes two itself.
        assert_eq!(kept, [(text("1234"), false), (text("5678"), false), (text("x"), true)]);
        let kept = letters.kept()[&0];
        assert_eq!((kept.letters, kept.bytes, kept.dropped), (3, 10, 2));
    }
}

#[test]
fn what_lies_behind_the_mark_is_cut_off() {
    let disk = ScriptedDisk::new();
    let mut letters = open(&disk, None);
    letters.append(&partitions(), vec![reject(0, 1, 0, b"a")]).unwrap();
    let mark = letters.sync().unwrap();
    letters.append(&partitions(), vec![reject(0, 2, 0, b"b")]).unwrap();
    letters.sync().unwrap();
    let mut letters = open(&disk.kill(), Some(&mark));
    assert_eq!(list(&letters).len(), 1);
    letters.append(&partitions(), vec![reject(0, 2, 0, b"b")]).unwrap();
    letters.sync().unwrap();
    assert_eq!(list(&letters).len(), 2);
    assert_eq!(letters.kept()[&0].letters, 2);
    assert_eq!(list(&open(&disk.kill(), None)).len(), 0);
}

#[test]
fn replayed_letters_leave_with_the_cut() {
    let disk = ScriptedDisk::new();
    let mut letters = open(&disk, None);
    let rejects = (0..4).map(|at| reject(0, at, 0, b"ab")).collect();
    letters.append(&partitions(), rejects).unwrap();
    let before = letters.sync().unwrap();
    let gone: HashSet<_> = list(&letters).iter().take(2).map(Letter::id).collect();
    letters.remove(&partitions(), &gone).unwrap();
    letters.append(&partitions(), vec![reject(1, 7, 0, b"new")]).unwrap();
    let after = letters.sync().unwrap();
    // Cut off before the cut: all are back. After it: they are gone.
    let was = open(&disk.kill(), Some(&before));
    assert_eq!(list(&was).iter().map(|l| l.position).collect::<Vec<_>>(), [0, 1, 2, 3]);
    letters.after_cut();
    let now = open(&disk, Some(&after));
    assert_eq!(list(&now).iter().map(|l| l.position).collect::<Vec<_>>(), [2, 3, 7]);
    assert_eq!((now.kept()[&0].letters, now.kept()[&0].bytes), (2, 4));
    let files = disk.files();
    assert_eq!(files.len(), 1, "{files:?}");
    let read = Letters::of(&disk, Path::new(DIR), Some(&after)).unwrap();
    assert_eq!(read.count(), 3);
}

/// An older state, as from a backup, took the letters that were left with it when it went.
#[test]
fn letters_of_a_later_state_are_put_aside() {
    let disk = ScriptedDisk::new();
    let mut letters = open(&disk, None);
    letters.append(&partitions(), vec![reject(0, 1, 0, b"a"), reject(0, 2, 0, b"b")]).unwrap();
    let before = letters.sync().unwrap();
    let gone = HashSet::from([list(&letters)[0].id()]);
    letters.remove(&partitions(), &gone).unwrap();
    letters.sync().unwrap();
    letters.after_cut();
    let later = disk.read(&Path::new(DIR).join("dead-letters-1.jsonl")).expect("the rest");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (letters, damage) = DeadLetters::open(shared, Path::new(DIR), Some(&before), 10).unwrap();
    assert!(damage.len() == 2 && damage[0].contains("is later than the state"), "{damage:?}");
    assert_eq!(list(&letters).len(), 0);
    let aside = disk.read(&Path::new(DIR).join("dead-letters-1.jsonl.later0")).expect("aside");
    assert_eq!(aside, later);
}

#[test]
fn a_shortened_file_is_said() {
    let disk = ScriptedDisk::new();
    let mut letters = open(&disk, None);
    letters.append(&partitions(), vec![reject(0, 1, 0, b"a"), reject(0, 2, 0, b"b")]).unwrap();
    let mark = letters.sync().unwrap();
    let file = Path::new(DIR).join("dead-letters-0.jsonl");
    disk.damage(&file, |mut bytes| {
        bytes.truncate(bytes.len() - 3);
        Some(bytes)
    });
    let shared: Arc<dyn Disk> = Arc::new(disk);
    let (letters, damage) = DeadLetters::open(shared, Path::new(DIR), Some(&mark), 10).unwrap();
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(list(&letters).len(), 1);
}

/// The list ended at the first damaged line.
#[test]
fn damaged_lines_cost_only_themselves() {
    let disk = ScriptedDisk::new();
    let mut letters = open(&disk, None);
    let rejects = (0..5).map(|at| reject(0, at, 0, b"a")).collect();
    letters.append(&partitions(), rejects).unwrap();
    let mark = letters.sync().unwrap();
    let file = Path::new(DIR).join("dead-letters-0.jsonl");
    let read = |disk: &ScriptedDisk| {
        let read = Letters::of(disk, Path::new(DIR), Some(&mark)).unwrap();
        let (good, bad): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
        let positions: Vec<u64> = good.into_iter().flatten().map(|l| l.position).collect();
        let said: Vec<StoreError> = bad.into_iter().filter_map(Result::err).collect();
        assert!(said.iter().all(|e| e.exit_code() == 65), "{said:?}");
        (positions, said.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(read(&disk), (vec![0, 1, 2, 3, 4], vec![]));
    // The brace that opens the second and the fourth line.
    let damaged = disk.copy();
    damaged.damage(&file, |mut bytes| {
        let line = bytes.len() / 5;
        (bytes[line], bytes[3 * line]) = (b'x', b'x');
        Some(bytes)
    });
    let (positions, said) = read(&damaged);
    assert_eq!(positions, [0, 2, 4]);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("line 2 is no letter") && said[1].contains("line 4"), "{said:?}");
    // A letter that can be read and is another one.
    let changed = disk.copy();
    changed.damage(&file, |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        Some(text.replace("\"position\":3", "\"position\":8").into_bytes())
    });
    let (positions, said) = read(&changed);
    assert_eq!(positions, [0, 1, 2, 8, 4]);
    assert!(said.len() == 1 && said[0].contains("does not hold what was written"), "{said:?}");
    let short = disk.copy();
    short.damage(&file, |mut bytes| {
        bytes.truncate(bytes.len() / 5 * 2);
        Some(bytes)
    });
    let (positions, said) = read(&short);
    assert_eq!(positions, [0, 1]);
    assert!(said.len() == 1 && said[0].contains("the letters behind are lost"), "{said:?}");
}

/// What was sent stays so wherever its letters come to stand, and none of the others is.
#[test]
fn how_far_letters_were_sent_follows_them() {
    let disk = ScriptedDisk::new();
    let mut letters = open(&disk, None);
    let rejects: Vec<Reject> = (0..4).map(|at| reject(0, at, 0, b"x")).collect();
    letters.append(&partitions(), rejects).unwrap();
    letters.sync().unwrap();
    let (dir, shared) = (Path::new(DIR), Arc::new(disk.clone()) as Arc<dyn Disk>);
    let read = |letters: &DeadLetters, at: u64, most: usize| -> Vec<(u64, u64)> {
        let lines = stretch(&*shared, dir, letters.extent(), at, most).unwrap();
        lines.into_iter().map(|(letter, end)| (letter.unwrap().position, end)).collect()
    };
    let all = read(&letters, 0, usize::MAX);
    assert_eq!(all.iter().map(|l| l.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(all[3].1, letters.extent().len);
    assert_eq!(read(&letters, all[1].1, usize::MAX), all[2..]);
    assert_eq!(read(&letters, 0, 1)[0], all[0], "one at least");
    assert_eq!(read(&letters, all[3].1, 1), []);
    // Three were sent; the second and the last are read again, and leave.
    assert!(letters.note_sent("s>t", all[2].1) && !letters.note_sent("s>t", all[2].1));
    let gone: HashSet<_> = list(&letters)
        .into_iter()
        .filter(|l| [1, 3].contains(&l.position))
        .map(|l| l.id())
        .collect();
    letters.remove(&partitions(), &gone).unwrap();
    letters.append(&partitions(), vec![reject(1, 9, 0, b"y")]).unwrap();
    let mark = letters.sync().unwrap();
    let rest = read(&letters, letters.sent("s>t"), usize::MAX);
    assert_eq!(rest.iter().map(|l| l.0).collect::<Vec<_>>(), [9], "only the new one is unsent");
    drop(letters);
    let letters = open(&disk, Some(&mark));
    assert_eq!(read(&letters, letters.sent("s>t"), usize::MAX), rest);
    assert_eq!(letters.sent("s>other"), 0);
    // Letters that nobody can read are passed over.
    let path = dir.join("dead-letters-1.jsonl");
    let mut file = shared.open(&path, Mode::Write).unwrap();
    file.write_at(b"no", 0).unwrap();
    let lines = stretch(&*shared, dir, letters.extent(), 0, usize::MAX).unwrap();
    assert_eq!(lines.iter().map(|l| l.0.is_some()).collect::<Vec<_>>(), [false, true, true]);
}
