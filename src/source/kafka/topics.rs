//! Names: of partitions, of the streams that topics are called after, of the topics that are
//! meant.

use dataflows::record::{Rule, Stream};

use crate::config::Topics;
use crate::source::glob::{Routes, Routing};

/// The name of a partition: `topic/3`.
pub fn name(topic: &str, partition: i32) -> String {
    format!("{topic}/{partition}")
}

/// The topic and the number of a partition's name; none if it is not one.
pub fn parts(name: &str) -> Option<(&str, i32)> {
    let (topic, number) = name.rsplit_once('/')?;
    Some((topic, number.parse().ok()?))
}

/// What the records of a partition are: by the routes, else by what the topic is called
/// (`anything.pin`, or `pin` alone), else what their fields tell.
pub fn routing(routes: &Routes, name: &str) -> Routing {
    let topic = parts(name).map_or(name, |p| p.0);
    let stem = topic.rsplit('.').next().unwrap_or(topic);
    let called = Stream::from_name(stem).map(Rule::Kind);
    routes.routing(name, topic, called.unwrap_or(Rule::Auto))
}

/// Whether a topic is meant. Regular expressions do not mean the brokers' own topics.
pub fn meant(topics: &[Topics], topic: &str) -> bool {
    topics.iter().any(|one| match one {
        Topics::Named(name) => name == topic,
        Topics::Matching(regex) => !topic.starts_with("__") && regex.is_match(topic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;

    #[test]
    fn names_come_apart_again() {
        assert_eq!(parts(&name("a.pin", 12)), Some(("a.pin", 12)));
        assert_eq!(parts("a.pin"), None);
        assert_eq!(parts("a/b"), None);
    }

    #[test]
    fn a_topic_says_what_is_in_it_unless_a_route_does() {
        let none = Routes::default();
        let ruled = |routes: &Routes, name: &str| {
            let routing = routing(routes, name);
            assert!(!routing.by_record(), "{name}");
            routing.otherwise()
        };
        let check = |name: &str, want: Rule| assert_eq!(ruled(&none, name), want, "{name}");
        check("0a1b.pin/0", Rule::Kind(Stream::Pin));
        check("user/3", Rule::Kind(Stream::User));
        check("pins/0", Rule::Auto);
        check("geo.shared/0", Rule::Auto);
        let routes = Routes::new(&[Route::of("0a1b.pin/*", Rule::Ignore)]);
        assert_eq!(ruled(&routes, "0a1b.pin/7"), Rule::Ignore);
        assert_eq!(ruled(&routes, "0a1b.pins/7"), Rule::Auto);
    }

    #[test]
    fn a_regular_expression_never_means_the_brokers_topics() {
        let regex = regex_lite::Regex::new("^.*").expect("one");
        let topics = [Topics::Named("__mine".into()), Topics::Matching(regex)];
        assert!(meant(&topics, "a") && meant(&topics, "__mine"));
        assert!(!meant(&topics, "__consumer_offsets"));
    }
}
