//! The world that the demo tells of: countries, categories, and what is fixed about an index.
//!
//! Promises: an index keeps its country, category, poster and user in every edition, unless an
//! amendment says otherwise; all of it follows from the seed.

use super::dice::{Dice, key};

/// Slots of the tables that turn even throws into weighted ones.
const SLOTS: usize = 1 << 13;

/// A country: where it lies and how much is posted from it.
#[derive(Debug)]
pub struct Country {
    /// As on the wire.
    pub name: &'static str,
    /// Centre, in units of 1e-4 degree.
    pub lat: i64,
    /// Centre, in units of 1e-4 degree.
    pub lon: i64,
    /// How far places lie from the centre, in units of 1e-4 degree.
    pub spread: i64,
    /// Hours its clock is ahead of UTC, 0..23.
    pub hours: u64,
    weight: u64,
}

/// A category and what its posts are about.
#[derive(Debug)]
pub struct Category {
    /// As on the wire.
    pub name: &'static str,
    /// Things that titles and tags name.
    pub topics: Vec<&'static str>,
    weight: u64,
}

/// What is fixed about an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Place in [`World::countries`].
    pub country: usize,
    /// Place in [`World::categories`].
    pub category: usize,
}

/// The tables of one demo.
#[derive(Debug)]
pub struct World {
    /// The seed.
    pub seed: u64,
    /// Size of the closed set of indexes, at least 1.
    pub indexes: u64,
    /// All 243.
    pub countries: Vec<Country>,
    /// All 13.
    pub categories: Vec<Category>,
    by_country: Vec<u16>,
    by_category: Vec<u16>,
}

impl World {
    /// The world of a seed over a closed set of indexes.
    pub fn new(seed: u64, indexes: u64) -> Self {
        let countries = countries();
        let categories = categories();
        let by_country = slots(countries.iter().map(|c| c.weight));
        let by_category = slots(categories.iter().map(|c| c.weight));
        World { seed, indexes: indexes.max(1), countries, categories, by_country, by_category }
    }

    /// What is fixed about an index.
    pub fn traits(&self, index: u64) -> Traits {
        let mut dice = Dice::new(key(self.seed ^ 0x7472_6169, index));
        let country = self.country(&mut dice);
        Traits { country, category: self.category(&mut dice, country) }
    }

    /// A country by weight.
    pub fn country(&self, dice: &mut Dice) -> usize {
        self.by_country[dice.below(SLOTS as u64) as usize] as usize
    }

    /// A category: a country likes one best, the rest go by weight.
    pub fn category(&self, dice: &mut Dice, country: usize) -> usize {
        if dice.chance(9_830) {
            return key(self.seed ^ 0x6c69_6b65, country as u64) as usize % self.categories.len();
        }
        self.by_category[dice.below(SLOTS as u64) as usize] as usize
    }

    /// The poster of an index: few posters have many posts.
    pub fn poster(&self, index: u64) -> u64 {
        let u = Dice::new(key(self.seed ^ 0x706f_7374, index)).unit();
        ((self.indexes / 20).max(100) as f64 * u * u * u) as u64
    }

    /// The user of an index: a person has two rows on average, a few have many.
    pub fn user(&self, index: u64) -> u64 {
        let u = Dice::new(key(self.seed ^ 0x7573_6572, index)).unit();
        ((self.indexes / 2).max(1) as f64 * u * u) as u64
    }
}

/// Deals slots by weight, at least one each.
fn slots(weights: impl Iterator<Item = u64>) -> Vec<u16> {
    let weights: Vec<u64> = weights.collect();
    let spare = SLOTS - weights.len();
    let sum: u64 = weights.iter().sum();
    let mut slots = Vec::with_capacity(SLOTS);
    let mut passed = 0;
    for (i, weight) in weights.iter().enumerate() {
        passed += weight;
        let upto = i + 1 + (spare as u64 * passed / sum) as usize;
        slots.resize(upto, i as u16);
    }
    slots
}

fn countries() -> Vec<Country> {
    let degrees = |text: &str| -> i64 {
        (text.parse::<f64>().expect("the table holds degrees") * 1e4).round() as i64
    };
    let row = |line: &'static str| {
        let cells: Vec<&'static str> = line.split('\t').collect();
        let lon = degrees(cells[2]);
        Country {
            name: cells[0],
            lat: degrees(cells[1]),
            lon,
            spread: degrees(cells[3]),
            hours: (24 + (lon + 75_000).div_euclid(150_000)) as u64 % 24,
            weight: cells[4].parse().expect("the table holds weights"),
        }
    };
    include_str!("countries.tsv").lines().map(row).collect()
}

fn categories() -> Vec<Category> {
    let row = |line: &'static str| {
        let cells: Vec<&'static str> = line.split('\t').collect();
        Category {
            name: cells[0],
            topics: cells[2].split('|').collect(),
            weight: cells[1].parse().expect("the table holds weights"),
        }
    };
    include_str!("categories.tsv").lines().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_and_category_has_its_place() {
        let world = World::new(1, 1000);
        assert_eq!((world.countries.len(), world.categories.len()), (243, 13));
        for (i, c) in world.countries.iter().enumerate() {
            assert!(c.lat.abs() + c.spread < 900_000 && c.lon.abs() <= 1_800_000, "{}", c.name);
            assert!(world.by_country.contains(&(i as u16)), "{}", c.name);
        }
        assert_eq!(world.by_country.len(), SLOTS);
        assert!(world.categories.iter().all(|c| c.topics.len() >= 8));
        assert_ne!(World::new(2, 1000).traits(5), World::new(3, 1000).traits(6));
    }

    #[test]
    fn posts_are_skewed_to_few_countries_and_posters() {
        let world = World::new(1, 10_000);
        let us = world.countries.iter().position(|c| c.name == "United States of America");
        let share = (0..10_000).filter(|i| Some(world.traits(*i).country) == us).count();
        assert!((1_000..2_000).contains(&share), "{share}");
        let head = (0..10_000).filter(|i| world.poster(*i) < 5).count();
        assert!(head > 1_000 && head < 4_000, "{head}");
    }
}
