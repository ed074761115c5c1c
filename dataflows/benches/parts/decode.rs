//! Decoding: from a message's bytes to cleaned fields.

use std::sync::Arc;

use dataflows::record::{Decoder, Rule, Rules, Stream};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

use super::rows::{Random, line};

/// Messages a round.
const N: u64 = 1000;

#[divan::bench(args = [0, 1, 2])]
fn stream(bencher: Bencher<'_, '_>, stream: usize) {
    let mut random = Random::new(7);
    let lines: Vec<String> = (0..N).map(|i| line(stream, i, &mut random)).collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    let mut decoder = Decoder::new(Arc::new(Rules::default()));
    let rule = Rule::Kind(Stream::ALL[stream]);
    bencher.counter(ItemsCount::new(N)).counter(BytesCount::new(bytes)).bench_local(|| {
        for line in &lines {
            decoder.decode(line.as_bytes(), rule, 0, true, |_, decoded| {
                divan::black_box(&decoded);
            });
        }
    });
}
