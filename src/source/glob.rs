//! Routing rules: the first of which everything matches holds. Globs over the names of
//! partitions and topics are settled once a partition; those over keys and headers are looked at
//! for each record, without allocating.

use dataflows::record::Rule;

use crate::config::Route;

/// A glob: `*` is any run of characters, slashes too, `?` is one character, `[a-z]` one of these,
/// all else is itself. It matches the whole of a text.
#[derive(Clone, Debug, Default)]
pub struct Glob(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Run,
    One,
    OneOf(Vec<(char, char)>),
    Same(char),
}

impl Glob {
    /// The glob that a text means; a bracket that is not closed is itself.
    pub fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let closed = rest.as_str().find(']').filter(|_| c == '[');
            pieces.push(match (c, closed) {
                ('*', _) => Piece::Run,
                ('?', _) => Piece::One,
                (_, Some(end)) => {
                    let set: Vec<char> = rest.as_str()[..end].chars().collect();
                    rest = rest.as_str()[end + 1..].chars();
                    Piece::OneOf(ranges(&set))
                }
                (c, None) => Piece::Same(c),
            });
        }
        Glob(pieces)
    }

    /// Whether it matches. Time is at most glob x text.
    pub fn matches(&self, text: &str) -> bool {
        let (mut g, mut rest) = (0, text.chars());
        // Where to go on when the latest star has to take one character more.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let mut next = rest.clone();
            let c = next.next();
            match (self.0.get(g), c) {
                (None, None) => return true,
                (Some(Piece::Run), _) => {
                    g += 1;
                    retry = Some((g, rest.clone()));
                    continue;
                }
                (Some(piece), Some(c)) if piece.takes(c) => {
                    (g, rest) = (g + 1, next);
                    continue;
                }
                _ => {}
            }
            let Some((after, mut taken)) = retry.take() else { return false };
            if taken.next().is_none() {
                return false;
            }
            (g, rest) = (after, taken.clone());
            retry = Some((after, taken));
        }
    }
}

impl Piece {
    fn takes(&self, c: char) -> bool {
        match self {
            Piece::Run => false,
            Piece::One => true,
            Piece::OneOf(ranges) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)),
            Piece::Same(same) => *same == c,
        }
    }
}

/// The ranges of what stands between brackets.
fn ranges(mut set: &[char]) -> Vec<(char, char)> {
    let mut out = Vec::new();
    while let [first, rest @ ..] = set {
        let last;
        (last, set) = match rest {
            ['-', last, rest @ ..] => (last, rest),
            rest => (first, rest),
        };
        out.push((*first, *last));
    }
    out
}

/// Whether a glob matches the whole of a name.
pub fn matches(glob: &str, name: &str) -> bool {
    Glob::new(glob).matches(name)
}

/// The routes of a source, in order.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The routes as configured.
    pub fn new(routes: &[Route]) -> Self {
        Routes(routes.to_vec())
    }

    /// The rule of a partition, if one is given; of sources whose rules look at partitions alone.
    pub fn rule(&self, name: &str) -> Option<Rule> {
        self.0.iter().find(|route| matches(&route.partition, name)).map(|route| route.rule)
    }

    /// What they say of the records of a topic's partition; `otherwise` where none holds.
    pub fn routing(&self, name: &str, topic: &str, otherwise: Rule) -> Routing {
        let mut routing = Routing { tests: Vec::new(), otherwise };
        let holds = |route: &&Route| {
            matches(&route.partition, name)
                && route.topic.as_ref().is_none_or(|glob| matches(glob, topic))
        };
        for route in self.0.iter().filter(holds) {
            if route.key.is_none() && route.headers.is_empty() {
                routing.otherwise = route.rule;
                break;
            }
            let header = |(name, glob): &(String, String)| (name.clone(), Glob::new(glob));
            routing.tests.push(Test {
                key: route.key.as_deref().map(Glob::new),
                headers: route.headers.iter().map(header).collect(),
                rule: route.rule,
            });
        }
        routing
    }
}

/// What the routes say of the records of one partition.
#[derive(Clone, Debug)]
pub struct Routing {
    tests: Vec<Test>,
    otherwise: Rule,
}

/// A rule over records.
#[derive(Clone, Debug)]
struct Test {
    key: Option<Glob>,
    headers: Vec<(String, Glob)>,
    rule: Rule,
}

impl Routing {
    /// Whether each record has to be looked at.
    pub fn by_record(&self) -> bool {
        !self.tests.is_empty()
    }

    /// The rule of records that no rule over records holds for.
    pub fn otherwise(&self) -> Rule {
        self.otherwise
    }

    /// The rule of a record by its key and what its headers hold. What is not there, and what is
    /// no UTF-8, matches no glob.
    pub fn of<'m>(&self, key: Option<&[u8]>, header: impl Fn(&str) -> Option<&'m [u8]>) -> Rule {
        let fits = |glob: &Glob, bytes: Option<&[u8]>| {
            let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
            text.is_some_and(|text| glob.matches(text))
        };
        let holds = |test: &&Test| {
            test.key.as_ref().is_none_or(|glob| fits(glob, key))
                && test.headers.iter().all(|(name, glob)| fits(glob, header(name)))
        };
        self.tests.iter().find(holds).map_or(self.otherwise, |test| test.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::record::Stream;

    #[test]
    fn globs() {
        let check = |glob: &str, name: &str, want: bool| {
            assert_eq!(matches(glob, name), want, "{glob} over {name}");
        };
        check("", "", true);
        check("*", "", true);
        check("*user*", "topics/0a1b.user/partition=0/x.json", true);
        check("*user*", "topics/0a1b.geo/partition=0/x.json", false);
        check("p?n", "pin", true);
        check("p?n", "pn", false);
        check("*.pin", "a.pin.pin", true);
        check("*.pin", "a.pin.geo", false);
        check("a*b*c", "aXXbYYbZZc", true);
        check("a*b*c", "aXXbYYbZZ", false);
        check("pin", "pins", false);
        check("t/[0-3]", "t/2", true);
        check("t/[0-3]", "t/4", false);
        check("t/[0-3x]*", "t/xy", true);
        check("t/[-3]", "t/-", true);
        check("t/[0", "t/[0", true);
        check("**?", "\u{e4}", true);
    }

    #[test]
    fn the_first_route_holds() {
        let pins = Rule::Kind(Stream::Pin);
        let routes = Routes::new(&[Route::of("*test*", Rule::Ignore), Route::of("*pin*", pins)]);
        assert_eq!(routes.rule("pin.test"), Some(Rule::Ignore));
        assert_eq!(routes.rule("pin.live"), Some(pins));
        assert_eq!(routes.rule("geo"), None);
    }

    #[test]
    fn records_are_looked_at_only_where_a_rule_asks_for_it() {
        let [pin, geo, user] = Stream::ALL.map(Rule::Kind);
        let of = |partition: &str, rule| Route::of(partition, rule);
        let routes = Routes::new(&[
            Route { topic: Some("shared".into()), key: Some("p-*".into()), ..of("*", pin) },
            Route { headers: vec![("kind".into(), "geo".into())], ..of("shared/[0-1]", geo) },
            of("shared/0", user),
            Route { key: Some("*".into()), ..of("shared/0", Rule::Ignore) },
        ]);
        let header =
            |value: &'static str| move |name: &str| (name == "kind").then_some(value.as_bytes());
        let zero = routes.routing("shared/0", "shared", Rule::Auto);
        assert!(zero.by_record());
        assert_eq!(zero.of(Some(b"p-1"), header("geo")), pin);
        assert_eq!(zero.of(Some(b"q"), header("geo")), geo);
        assert_eq!(zero.of(Some(b"q"), header("user")), user);
        assert_eq!(zero.of(None, |_| None), user);
        assert_eq!(zero.of(Some(b"p-\xff"), |_| None), user);
        let other = routes.routing("shared/7", "shared", Rule::Auto);
        assert_eq!(other.of(None, header("geo")), Rule::Auto);
        assert!(!routes.routing("other/7", "other", Rule::Auto).by_record());
    }
}
