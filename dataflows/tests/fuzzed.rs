//! The fast path of decoding against its judge: every message of the fuzzer's corpus (real rows,
//! malformed payloads, and what reached a new branch), then mutations of them. `make fuzz` goes on
//! for as long as one likes, guided by coverage.
//!
//! `PINFLOW_FUZZ_CASES` says how many mutations, `PINFLOW_FUZZ_SEED` which.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

#[path = "../../fuzz/src/judge.rs"]
mod judge;

/// What the corpus and the words of the fuzzer's dictionary hold.
fn corpus() -> Vec<Vec<u8>> {
    let text = include_str!("../../fuzz/corpus.b64");
    text.lines().map(|line| STANDARD.decode(line).expect("a line is base64")).collect()
}

/// The words of a dictionary as libFuzzer reads it: `"..."`, with `\"`, `\\`.
fn words() -> Vec<Vec<u8>> {
    let text = include_str!("../../fuzz/decode.dict");
    let word = |line: &str| {
        let inside = line.strip_prefix('"')?.strip_suffix('"')?;
        Some(inside.replace("\\\"", "\"").replace("\\\\", "\\").into_bytes())
    };
    text.lines().filter_map(word).collect()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Small seeded random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }
}

/// Changes a message a little: a byte, a word, a piece of it or of another.
fn mutate(message: &mut Vec<u8>, random: &mut Random, words: &[Vec<u8>], other: &[u8]) {
    let at = random.below(message.len() + 1);
    let end = (at + 1 + random.below(16)).min(message.len());
    let telling = br#""\{}[]:, -+.eEuntf0129/"#;
    match random.below(8) {
        _ if message.is_empty() => message.push(random.below(256) as u8),
        0 if at < message.len() => message[at] = random.below(256) as u8,
        1 if at < message.len() => message[at] = telling[random.below(telling.len())],
        2 => message.insert(at, telling[random.below(telling.len())]),
        3 => drop(message.drain(at.min(end)..end)),
        4 => {
            let word = &words[random.below(words.len())];
            message.splice(at..at, word.iter().copied());
        }
        5 => {
            let piece = message[at.min(end)..end].to_vec();
            let to = random.below(message.len() + 1);
            message.splice(to..to, piece);
        }
        6 => message.truncate(at),
        _ => {
            message.truncate(at);
            message.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
    }
}

#[test]
fn the_corpus_and_its_mutations_are_judged_alike() {
    let (corpus, words) = (corpus(), words());
    assert!(corpus.len() > 500 && words.len() > 30, "{} {}", corpus.len(), words.len());
    corpus.iter().for_each(|message| judge::check(message));
    let (cases, seed) = (number("PINFLOW_FUZZ_CASES", 40_000), number("PINFLOW_FUZZ_SEED", 1));
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..cases {
        let mut message = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            let other = &corpus[random.below(corpus.len())];
            mutate(&mut message, &mut random, &words, other);
        }
        judge::check(&message);
    }
}
