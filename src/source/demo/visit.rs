//! Which index a stream visits when: the three streams visit the same indexes at about the same
//! time, each in its own local disorder, again and again.
//!
//! Time here is counted in ticks, one per record of a stream. Day and night are those of a clock
//! that runs right at the default rate (100 ticks a second), so that what is visited depends on
//! numbers alone.

use super::dice::{Dice, key, mix, shuffled};
use super::world::World;

/// Records of one stream are shuffled within blocks of this many ticks.
const BLOCK: u64 = 64;
/// A re-sent row is at most so many ticks old.
const RESEND: u64 = 4096;
/// Ticks of an hour of the demo's day.
const HOUR: u64 = 360_000;
/// Ticks for which a category is in fashion.
const FASHION: u64 = 6_000;

/// A visit: an index, and which edition of its row is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// 0 <= index < the size of the closed set.
    pub index: u64,
    /// How often its row has been amended.
    pub edition: u64,
}

/// The tick at which a stream sends its record `n`.
pub fn tick(seed: u64, stream: usize, n: u64) -> u64 {
    let block = n / BLOCK;
    let shuffle = key(seed ^ (stream as u64 + 1), block);
    block * BLOCK + shuffled(shuffle, n % BLOCK, BLOCK)
}

/// What is visited at a tick. 4 % of ticks re-send a recent row, 1 % amend one for a while.
pub fn visit(world: &World, stream: usize, tick: u64) -> Visit {
    let mut dice = Dice::new(key(world.seed ^ 0x7469_636b, tick));
    let (again, amends) = (dice.chance(3277), dice.chance(13_107));
    if !again || tick == 0 {
        return base(world, stream, tick);
    }
    let visit = base(world, stream, tick - 1 - dice.below(tick.min(RESEND)));
    // Amendments of a recent row count from far above those that come with the passes.
    Visit { edition: visit.edition + if amends { 1 << 32 } else { 0 }, ..visit }
}

/// What is visited at a tick that is no repetition: of up to three candidates the first that
/// suits the hour and the fashion.
fn base(world: &World, stream: usize, tick: u64) -> Visit {
    let (pass, place) = (tick / world.indexes, tick % world.indexes);
    let mut dice = Dice::new(key(world.seed ^ 0x6d6f_6f64, tick));
    let mut index = 0;
    for candidate in 0..3u64 {
        let shuffle = key(world.seed ^ (candidate + 11), pass);
        index = shuffled(shuffle, place, world.indexes);
        if dice.bits() >> 56 < appeal(world, index, tick) {
            break;
        }
    }
    // Every eighth pass amends an index, each in a pass of its own, each stream for itself.
    let phase = key(world.seed ^ (stream as u64 + 21), index) % 8;
    Visit { index, edition: (pass + phase) / 8 }
}

/// How well an index suits a tick, of 256: people post by day, each category has its hours, and
/// something is always in fashion.
fn appeal(world: &World, index: u64, tick: u64) -> u64 {
    let traits = world.traits(index);
    let hour = (tick / HOUR) % 24;
    let local = (hour + world.countries[traits.country].hours) % 24;
    let awake = [40, 28, 22, 22, 28, 50, 90, 120, 130, 130, 130, 135];
    let later = [140, 140, 135, 135, 140, 150, 165, 180, 190, 180, 140, 80];
    let by_day = if local < 12 { awake[local as usize] } else { later[local as usize - 12] };
    let peak = mix(traits.category as u64 + 77) % 24;
    let away = (local + 24 - peak) % 24;
    let hours = 40u64.saturating_sub(away.min(24 - away) * 6);
    let fashion = key(world.seed ^ 0x6661_6473, tick / FASHION) % world.categories.len() as u64;
    let bonus = if fashion == traits.category as u64 { 110 } else { 0 };
    (by_day + hours + bonus).min(256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tick_is_sent_once_and_nearly_in_order() {
        for stream in 0..3 {
            let mut ticks: Vec<u64> = (0..640).map(|n| tick(5, stream, n)).collect();
            let near = ticks.iter().enumerate().all(|(n, t)| t.abs_diff(n as u64) < BLOCK);
            assert!(near);
            ticks.sort_unstable();
            assert!(ticks.iter().copied().eq(0..640));
        }
        assert_ne!(tick(5, 0, 3), tick(5, 1, 3));
    }

    #[test]
    fn the_set_is_closed_nearly_all_of_it_is_visited_and_rows_are_amended() {
        let world = World::new(3, 500);
        let mut seen = vec![0u32; 500];
        let mut amended = 0;
        for t in 0..5_000 {
            let v = visit(&world, 0, t);
            seen[v.index as usize] += 1;
            amended += u32::from(v.edition > 0);
            assert_eq!(v.index, visit(&world, 2, t).index);
        }
        assert!(seen.iter().filter(|n| **n > 0).count() > 480);
        assert!(amended > 1_000 && amended < 4_900, "{amended}");
    }
}
