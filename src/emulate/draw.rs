//! Which post is sent next, and how long the stock emulator sleeps before it.
//!
//! Promises: equal seeds draw equal posts; `stock` draws what the course's Python script draws.

use crate::source::demo::Dice;

use super::python::Python;

/// The stock script draws `random.randint(0, 11000)`: the last 153 rows never come.
const STOCK_LAST: u32 = 11_000;

/// How posts are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after the other, each once.
    Sequence,
    /// Any post, again and again, as often as it comes.
    Random,
    /// As the stock script: `random.seed(SEED)`, then a sleep and a row, again and again.
    Stock,
}

/// Where a post is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The n-th post.
    Nth(u64),
    /// The records of this index.
    Index(u64),
}

/// What was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The post.
    pub place: Place,
    /// What the stock script sleeps before it: 0 or 1 seconds.
    pub sleep_seconds: u32,
}

/// Draws without end, unless in sequence over posts that end.
#[derive(Debug)]
pub struct Draws {
    how: How,
    /// How many posts there are; none = endless.
    posts: Option<u64>,
}

#[derive(Debug)]
enum How {
    Sequence(u64),
    Random(Dice),
    Stock(Box<Python>),
}

impl Draws {
    /// Draws over so many posts; none = as many as asked for.
    pub fn new(order: Order, seed: u64, posts: Option<u64>) -> Self {
        let how = match order {
            Order::Sequence => How::Sequence(0),
            Order::Random => How::Random(Dice::new(seed)),
            Order::Stock => How::Stock(Box::new(Python::new(seed))),
        };
        Draws { how, posts }
    }
}

impl Iterator for Draws {
    type Item = Draw;

    fn next(&mut self) -> Option<Draw> {
        let (place, sleep_seconds) = match &mut self.how {
            How::Sequence(next) => {
                if self.posts.is_some_and(|posts| *next >= posts) {
                    return None;
                }
                *next += 1;
                (Place::Nth(*next - 1), 0)
            }
            // Endless posts are all different: the n-th of them is as random as any other.
            How::Random(dice) => match self.posts {
                Some(0) => return None,
                Some(posts) => (Place::Nth(dice.below(posts)), 0),
                None => (Place::Nth(dice.bits() >> 32), 0),
            },
            How::Stock(python) => {
                let sleep = python.below(2);
                (Place::Index(python.upto(STOCK_LAST).into()), sleep)
            }
        };
        Some(Draw { place, sleep_seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(order: Order, seed: u64, posts: Option<u64>) -> Vec<Place> {
        Draws::new(order, seed, posts).take(1000).map(|d| d.place).collect()
    }

    #[test]
    fn each_order_draws_as_it_says() {
        let nth = |range: std::ops::Range<u64>| range.map(Place::Nth).collect::<Vec<_>>();
        assert_eq!(places(Order::Sequence, 1, Some(7)), nth(0..7));
        assert_eq!(places(Order::Sequence, 2, None), nth(0..1000));
        let random = places(Order::Random, 1, Some(10));
        assert!(nth(0..10).iter().all(|p| random.contains(p)) && random.len() == 1000);
        assert_eq!(random, places(Order::Random, 1, Some(10)));
        assert_ne!(random, places(Order::Random, 2, Some(10)));
        assert_eq!(places(Order::Random, 1, Some(0)), []);
        let stock = places(Order::Stock, 100, Some(3));
        assert_eq!(stock[..3], [7528, 2863, 5730].map(Place::Index));
    }
}
