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
    let (mut block, mut lines) = (String::new(), Vec::new());
    for index in 0..N {
        let start = block.len();
        block.push_str(&line(stream, index, &mut random));
        lines.push(start..block.len());
        block.push('\n');
    }
    let bytes: usize = lines.iter().map(ExactSizeIterator::len).sum();
    let mut decoder = Decoder::new(Arc::new(Rules::default()));
    let rule = Rule::Kind(Stream::ALL[stream]);
    bencher.counter(ItemsCount::new(N)).counter(BytesCount::new(bytes)).bench_local(|| {
        let mut messages = decoder.messages(block.as_bytes());
        for line in &lines {
            messages.decode(line.clone(), rule, 0, true, |_, decoded| {
                divan::black_box(&decoded);
            });
        }
    });
}
