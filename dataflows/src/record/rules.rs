//! What decides a record's fate besides its bytes: limits, wrappers, placeholders, patterns.
//! All of it is part of the state's fingerprint.

use serde::{Deserialize, Serialize};

use super::column::Stream;

/// What the routing rules say of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// The fields tell.
    Auto,
    /// Records of this stream.
    Kind(Stream),
    /// Other people's records.
    Ignore,
}

impl Rule {
    /// What it is called in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Auto => "auto",
            Rule::Kind(stream) => stream.name(),
            Rule::Ignore => "ignore",
        }
    }

    /// The rule of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Rule::Auto),
            "ignore" => Some(Rule::Ignore),
            stream => Stream::from_name(stream).map(Rule::Kind),
        }
    }
}

/// Which wrappers are taken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools)] // five switches, as the user writes them
pub struct Wrappers {
    /// `{"value": {...}}`, alone or in an array.
    pub value: bool,
    /// `{"index": {...pin...}}`.
    pub index: bool,
    /// JSON text inside a JSON string.
    pub text: bool,
    /// base64 of one of the others, once or twice, bare or inside a JSON string.
    pub base64: bool,
    /// KPL-aggregated Kinesis records.
    pub kpl: bool,
}

impl Default for Wrappers {
    fn default() -> Self {
        Wrappers { value: true, index: true, text: true, base64: true, kpl: true }
    }
}

/// The cleaning rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// A larger message is `too_large`; bytes.
    pub max_record_bytes: usize,
    /// A deeper nesting is `too_deep`; at most 127.
    pub max_depth: usize,
    /// Wrappers taken off.
    pub wrappers: Wrappers,
    /// Texts of `title` that mean null.
    pub title: Vec<String>,
    /// Texts of `description` that mean null.
    pub description: Vec<String>,
    /// Texts of `poster_name` and `follower_count` that mean null.
    pub user_info: Vec<String>,
    /// Texts of `tag_list` that mean null.
    pub tag_list: Vec<String>,
    /// Texts of `image_src` that mean null.
    pub image_src: Vec<String>,
    /// What `save_location` is stripped of at its head.
    pub save_location_prefix: String,
    /// Further `chrono` patterns for timestamps, tried in order after the usual forms.
    pub timestamp_patterns: Vec<String>,
    /// How far a geo timestamp may lie beyond the arrival time; microseconds.
    pub max_future_micros: i64,
}

impl Default for Rules {
    fn default() -> Self {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Rules {
            max_record_bytes: 1 << 20,
            max_depth: 64,
            wrappers: Wrappers::default(),
            title: texts(&["No Title Data Available"]),
            description: texts(&[
                "No description available",
                "No description available Story format",
            ]),
            user_info: texts(&["User Info Error"]),
            tag_list: texts(&["N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e"]),
            image_src: texts(&["Image src error."]),
            save_location_prefix: "Local save in ".into(),
            timestamp_patterns: Vec::new(),
            max_future_micros: 5 * 60 * 1_000_000,
        }
    }
}
