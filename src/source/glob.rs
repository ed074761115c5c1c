//! Routing rules over partition names: the first whose glob matches holds.

use dataflows::record::Rule;

use crate::config::Route;

/// The routes of a source, in order.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<(String, Rule)>);

impl Routes {
    /// The routes as configured.
    pub fn new(routes: &[Route]) -> Self {
        Routes(routes.iter().map(|r| (r.partition.clone(), r.rule)).collect())
    }

    /// The rule of a partition, if one is given.
    pub fn rule(&self, name: &str) -> Option<Rule> {
        self.0.iter().find(|(glob, _)| matches(glob, name)).map(|(_, rule)| *rule)
    }
}

/// Whether a glob matches the whole of a name: `*` is any run of characters, slashes too, `?` is
/// one character, all else is itself. Time is at most glob x name.
pub fn matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut g, mut n) = (0, 0);
    // Where to go on when the latest star has to take one character more.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some('*') => {
                retry = Some((g + 1, n));
                g += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                g += 1;
                n += 1;
            }
            _ => match retry {
                Some((after, taken)) => {
                    (g, n) = (after, taken + 1);
                    retry = Some((after, taken + 1));
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == '*')
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
    }

    #[test]
    fn the_first_route_holds() {
        let route = |partition: &str, rule| Route { partition: partition.into(), rule };
        let routes =
            Routes::new(&[route("*test*", Rule::Ignore), route("*pin*", Rule::Kind(Stream::Pin))]);
        assert_eq!(routes.rule("pin.test"), Some(Rule::Ignore));
        assert_eq!(routes.rule("pin.live"), Some(Rule::Kind(Stream::Pin)));
        assert_eq!(routes.rule("geo"), None);
    }
}
