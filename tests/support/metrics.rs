//! Declarations of metrics that several process tests run: between them they tell whether a record
//! is lost, doubled, or of another time. A test puts those it wants behind its settings.

/// Settings, shared declarations and further ones as one configuration.
pub fn declared(settings: &str, shared: &[&str], further: &str) -> String {
    format!("{settings}\n{}\n{further}", shared.concat())
}

/// Every pin once, whatever it says.
pub const ARRIVED: &str = r#"
[[metric]]
name = "arrived"
meaning = "pins that arrived, by category"
of = "arrivals"
by = ["category"]
measure = "count"
"#;

/// A window that slides.
pub const ARRIVED_LATELY: &str = r#"
[[metric]]
name = "arrived_lately"
meaning = "pins that arrived in the last hour, by country"
of = "arrivals+geo"
by = ["country"]
measure = "count"
windows = [{ size = "1h", every = "1min" }]
"#;

/// An ordered multiset.
pub const MEDIANS: &str = r#"
[[metric]]
name = "medians"
meaning = "median of followers by age group"
of = "pin+user"
by = ["age_group"]
measures = [{ median = "follower_count" }, "count"]
"#;

/// The greatest, with what comes with it.
pub const TOPS: &str = r#"
[[metric]]
name = "tops"
meaning = "the most followed poster of each country"
of = "posts"
by = ["country"]
measure = { argmax = "follower_count", returning = "poster_name" }
"#;

/// Rejections.
pub const REFUSED: &str = r#"
[[metric]]
name = "refused"
meaning = "rejections by reason"
of = "records"
where = "outcome = 'rejected'"
by = ["reason"]
measure = "count"
"#;
