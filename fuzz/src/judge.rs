//! What is judged, by `make fuzz` and by `tests/fuzzed.rs` alike: whatever a message holds, what
//! the fast path makes of it is what the general parser does, to the last field and note; alone,
//! and between others, be these text or not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::record::{Decoder, Rule, Rules, Stream};

/// Under which rules a message is read; all that the fast path can see.
const RULES: [Rule; 4] =
    [Rule::Auto, Rule::Kind(Stream::Pin), Rule::Kind(Stream::Geo), Rule::Kind(Stream::User)];

/// 2018-03-04 05:06:07 UTC, microseconds: some timestamps of the corpus are before it, some after.
const ARRIVED_AT: i64 = 1_520_139_967_000_000;

/// What lies before a message and behind it.
const AROUND: [(&[u8], &[u8]); 3] =
    [(b"", b""), (b"{\"ind\":1}\n", b"\n\"9,"), (b"\xff\\", b"\xa90\"")];

thread_local! {
    static DECODERS: RefCell<(Decoder, Decoder)> = RefCell::new({
        let rules = Arc::new(Rules::default());
        (Decoder::new(rules.clone()), Decoder::general(rules))
    });
}

/// Panics where the two differ.
pub fn check(message: &[u8]) {
    DECODERS.with_borrow_mut(|(fast, general)| {
        for rule in RULES {
            let want = decoded(general, [b"", message, b""], rule);
            for (before, behind) in AROUND {
                let got = decoded(fast, [before, message, behind], rule);
                let text = String::from_utf8_lossy(message);
                assert!(got == want, "{rule:?} {text}\nfast    {got:?}\ngeneral {want:?}");
            }
        }
    });
}

/// What a decoder makes of a message: every record of it in full, and the notes.
fn decoded(
    decoder: &mut Decoder,
    [before, message, behind]: [&[u8]; 3],
    rule: Rule,
) -> (Vec<String>, BTreeMap<String, u64>) {
    let mut out = Vec::new();
    let block = [before, message, behind].concat();
    let place = before.len()..before.len() + message.len();
    decoder.messages(&block).decode(place, rule, ARRIVED_AT, true, |sub, decoded| {
        out.push(format!("{sub} {decoded:?}"));
    });
    (out, decoder.take_notes())
}
