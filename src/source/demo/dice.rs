//! Randomness as a function: what falls depends on a key and on nothing before it.

/// Mixes a key into well-spread bits (the finalizer of splitmix64).
pub fn mix(key: u64) -> u64 {
    let x = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One key out of two.
pub fn key(a: u64, b: u64) -> u64 {
    mix(a ^ mix(b.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// The throws for one thing: the same key gives the same throws.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a key.
    pub fn new(key: u64) -> Self {
        Dice(key)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 <= throw < n; n > 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// Whether one of `n` in 65 536 came.
    pub fn chance(&mut self, n: u64) -> bool {
        self.bits() >> 48 < n
    }

    /// 0 <= throw < 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of a list that is not empty.
    pub fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// Place `i` of a shuffle of 0..n under a key: a bijection in constant expected time, by walking
/// a bijection of the next power of two until it lands inside.
pub fn shuffled(key: u64, i: u64, n: u64) -> u64 {
    debug_assert!(i < n, "the place lies in the shuffle");
    if n <= 1 {
        return 0;
    }
    let bits = 64 - (n - 1).leading_zeros();
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let half = bits.div_ceil(2);
    let mut x = i;
    loop {
        // Each step is a bijection of the masked words: odd factors and shifts to the right.
        x = (x ^ key) & mask;
        x = x.wrapping_mul((key >> 17) | 1) & mask;
        x ^= x >> half;
        x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
        x ^= x >> half;
        x = x.wrapping_mul((key >> 31) | 1) & mask;
        x ^= x >> half;
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_a_bijection() {
        for n in [1, 2, 3, 7, 64, 100, 1000, 4097] {
            for seed in 0..5 {
                let mut seen: Vec<u64> = (0..n).map(|i| shuffled(mix(seed), i, n)).collect();
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..n), "n {n} seed {seed}");
            }
        }
    }

    #[test]
    fn equal_keys_equal_throws() {
        let (mut a, mut b) = (Dice::new(7), Dice::new(7));
        assert!((0..100).all(|_| a.bits() == b.bits()));
        assert!((0..1000).all(|_| a.below(13) < 13 && (0.0..1.0).contains(&b.unit())));
        let hits = (0..65_536).filter(|_| a.chance(655)).count();
        assert!((500..800).contains(&hits), "{hits} of 655 expected");
    }
}
