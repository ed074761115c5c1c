//! The columns of the three cleaned tables: their names, streams, types and order.

use serde::{Deserialize, Serialize};

/// One of the three streams. The order is the order in which `auto` looks for telling fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// What was posted.
    Pin,
    /// Where and when.
    Geo,
    /// Who.
    User,
}

impl Stream {
    /// All three, in order.
    pub const ALL: [Stream; 3] = [Stream::Pin, Stream::Geo, Stream::User];

    /// `pin`, `geo` or `user`.
    pub fn name(self) -> &'static str {
        ["pin", "geo", "user"][self as usize]
    }

    /// Its bit in a set of streams.
    pub fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The stream of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Text, interned where it is grouped by.
    Text,
    /// A 64-bit integer.
    Int,
    /// Degrees in units of 1e-7.
    Fixed7,
    /// Microseconds since 1970-01-01 UTC.
    Time,
    /// A text's presence or a condition: 0 or 1.
    Bool,
}

macro_rules! columns {
    ($($variant:ident $name:literal $stream:ident $ty:ident,)*) => {
        /// A cleaned column that is kept for metrics. `coordinates` is its two parts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Column { $($variant,)* }

        impl Column {
            /// Every column, in the order of the cleaned tables.
            pub const ALL: &'static [Column] = &[$(Column::$variant,)*];

            /// The name in tables, declarations and answers.
            pub fn name(self) -> &'static str {
                match self { $(Column::$variant => $name,)* }
            }

            /// The stream that carries it.
            pub fn stream(self) -> Stream {
                match self { $(Column::$variant => Stream::$stream,)* }
            }

            /// The type of its values.
            pub fn ty(self) -> Type {
                match self { $(Column::$variant => Type::$ty,)* }
            }
        }
    };
}

columns! {
    UniqueId "unique_id" Pin Text,
    Title "title" Pin Text,
    Description "description" Pin Text,
    FollowerCount "follower_count" Pin Int,
    PosterName "poster_name" Pin Text,
    TagList "tag_list" Pin Text,
    IsImageOrVideo "is_image_or_video" Pin Text,
    ImageSrc "image_src" Pin Text,
    Downloaded "downloaded" Pin Int,
    SaveLocation "save_location" Pin Text,
    Category "category" Pin Text,
    Country "country" Geo Text,
    Latitude "latitude" Geo Fixed7,
    Longitude "longitude" Geo Fixed7,
    Timestamp "timestamp" Geo Time,
    UserName "user_name" User Text,
    Age "age" User Int,
    DateJoined "date_joined" User Time,
}

impl Column {
    /// The column of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.name() == name)
    }

    /// The columns of one stream, in order.
    pub fn of(stream: Stream) -> impl Iterator<Item = Column> {
        Self::ALL.iter().copied().filter(move |c| c.stream() == stream)
    }

    /// This column's bit in a [`ColumnSet`].
    pub fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of columns, as bits of [`Column::bit`].
pub type ColumnSet = u32;
