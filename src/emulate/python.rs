//! CPython's random numbers, as far as the stock emulator draws them: `random.seed(int)`,
//! `random.randrange(n)`, `random.randint(a, b)`.
//!
//! Promises: equal to CPython 3.2 and later, draw for draw; the tests compare with a real one.

use rand_mt::Mt;

/// The generator behind Python's `random` module.
#[derive(Clone, Debug)]
pub struct Python(Mt);

impl Python {
    /// `random.seed(seed)`: the words of the number, the lowest first, and at least one.
    pub fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        let used = if words[1] == 0 { 1 } else { 2 };
        Python(Mt::new_with_key(words[..used].iter().copied()))
    }

    /// `random.randrange(n)`; 0 < n.
    pub fn below(&mut self, n: u32) -> u32 {
        debug_assert!(n > 0, "Python raises a ValueError for an empty range");
        // Python takes as many bits as n has, not n - 1, and draws again what is too large.
        let bits = 32 - n.leading_zeros();
        loop {
            let drawn = self.0.next_u32() >> (32 - bits);
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `random.randint(0, most)`.
    pub fn upto(&mut self, most: u32) -> u32 {
        self.below(most + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_seed_count() {
        // Of CPython 3.11: random.seed(s); [random.randrange(11001) for _ in range(5)]
        let drawn = |seed| {
            let mut python = Python::new(seed);
            [(); 5].map(|()| python.upto(11_000))
        };
        assert_eq!(drawn(0), [6311, 6890, 663, 4242, 8376]);
        assert_eq!(drawn(100), [2386, 7528, 7453, 2863, 6439]);
        assert_eq!(drawn(1 << 32), [1851, 5755, 6845, 273, 373]);
        assert_eq!(drawn(u64::MAX), [357, 4075, 5539, 10137, 3472]);
    }
}
