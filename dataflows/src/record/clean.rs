//! Cleaning: from the values on the wire to the columns of the cleaned tables.
//!
//! Promises: total. A value that cannot be its column's becomes a defect of that column and
//! costs nothing else. Text comes out byte for byte as it came.

use std::borrow::Cow;

use super::notes::Notes;
use super::number::{Number, degrees, digits, followers, integer};
use super::rules::Rules;
use super::wire::{Raw, Slot, Wire};
use super::{Cell, Defect, Fields, Geo, Moment, Pin, Reason, Stream, Text, User};
use crate::time::text::{parse, parse_with};

/// What cleaning needs besides the record.
pub(super) struct Context<'r> {
    pub(super) rules: &'r Rules,
    /// Microseconds since 1970-01-01 UTC.
    pub(super) arrived_at: i64,
    /// Whether the broker or the record gave the arrival time, so that `future` can be told.
    pub(super) arrival_given: bool,
}

/// The index: the first of the three keys that is not null.
pub(super) fn index(wire: &Wire<'_>) -> Result<u64, Reason> {
    for slot in [Slot::Index, Slot::Ind, Slot::Idx] {
        let number = match wire.get(slot) {
            Raw::Null => continue,
            Raw::Number(json) => integer(json),
            Raw::Text(Some(text)) => digits(&text),
            Raw::Text(None) | Raw::Other => Number::Not,
        };
        return match number {
            Number::Value(index) => Ok(index as u64),
            Number::Outside | Number::Not => Err(Reason::BadIndex),
        };
    }
    Err(Reason::MissingIndex)
}

impl Context<'_> {
    /// The cleaned fields of a record of one stream. `name` is where `user_name` is put together.
    #[inline]
    pub(super) fn fields<'n, 'a: 'n>(
        &self,
        stream: Stream,
        wire: &Wire<'a>,
        name: &'n mut String,
        notes: &mut Notes,
    ) -> Fields<'n> {
        match stream {
            Stream::Pin => Fields::Pin(self.pin(wire)),
            Stream::Geo => Fields::Geo(self.geo(wire)),
            Stream::User => Fields::User(self.user(wire, name, notes)),
        }
    }

    #[inline]
    fn pin<'a>(&self, wire: &Wire<'a>) -> Pin<'a> {
        let rules = self.rules;
        let kept = |slot, placeholders: &[String]| text(wire.get(slot), placeholders);
        Pin {
            unique_id: kept(Slot::UniqueId, &[]),
            title: kept(Slot::Title, &rules.title),
            description: kept(Slot::Description, &rules.description),
            follower_count: count(wire.get(Slot::FollowerCount), &rules.user_info),
            poster_name: kept(Slot::PosterName, &rules.user_info),
            tag_list: kept(Slot::TagList, &rules.tag_list),
            is_image_or_video: kept(Slot::IsImageOrVideo, &[]),
            image_src: kept(Slot::ImageSrc, &rules.image_src),
            downloaded: whole(wire.get(Slot::Downloaded), 1),
            save_location: location(wire.get(Slot::SaveLocation), &rules.save_location_prefix),
            category: kept(Slot::Category, &[]),
        }
    }

    #[inline]
    fn geo<'a>(&self, wire: &Wire<'a>) -> Geo<'a> {
        let timestamp = match self.time(wire.get(Slot::Timestamp)) {
            Cell::Value(there) if self.arrival_given && self.is_future(there) => {
                Cell::Defect(Defect::Future)
            }
            cell => cell,
        };
        Geo {
            country: text(wire.get(Slot::Country), &[]),
            latitude: angle(wire.get(Slot::Latitude), 90),
            longitude: angle(wire.get(Slot::Longitude), 180),
            timestamp,
        }
    }

    #[inline]
    fn user<'n, 'a: 'n>(
        &self,
        wire: &Wire<'a>,
        name: &'n mut String,
        notes: &mut Notes,
    ) -> User<'n> {
        let first = text(wire.get(Slot::FirstName), &[]);
        let last = text(wire.get(Slot::LastName), &[]);
        User {
            user_name: user_name(first, last, name, notes),
            age: whole(wire.get(Slot::Age), 150),
            date_joined: self.time(wire.get(Slot::DateJoined)),
        }
    }

    fn is_future(&self, there: Moment) -> bool {
        let latest = self.arrived_at.saturating_add(self.rules.max_future_micros);
        there.micros > latest || (there.micros == latest && !there.nanos.is_multiple_of(1000))
    }

    fn time(&self, raw: Raw<'_>) -> Cell<Moment> {
        let text = match raw {
            Raw::Null => return Cell::Null,
            Raw::Text(Some(text)) if is_blank(&text) => return Cell::Null,
            Raw::Text(Some(text)) => text,
            Raw::Text(None) | Raw::Number(_) | Raw::Other => {
                return Cell::Defect(Defect::BadTimestamp);
            }
        };
        let patterns = &self.rules.timestamp_patterns;
        parse(&text)
            .or_else(|| patterns.iter().find_map(|p| parse_with(&text, p)))
            .map_or(Cell::Defect(Defect::BadTimestamp), Cell::Value)
    }
}

/// Nothing but Unicode White_Space.
#[inline]
fn is_blank(text: &str) -> bool {
    let visible = text.as_bytes().first().is_some_and(u8::is_ascii_graphic);
    !visible && text.chars().all(char::is_whitespace)
}

fn is_one_of(text: &str, list: &[String]) -> bool {
    list.iter().any(|l| l == text)
}

#[inline]
fn text<'a>(raw: Raw<'a>, placeholders: &[String]) -> Text<'a> {
    match raw {
        Raw::Null => Cell::Null,
        Raw::Text(Some(text)) if is_one_of(&text, placeholders) => Cell::Placeholder,
        Raw::Text(Some(text)) if is_blank(&text) => Cell::Null,
        Raw::Text(Some(text)) => Cell::Value(text),
        Raw::Text(None) | Raw::Number(_) | Raw::Other => Cell::Defect(Defect::BadText),
    }
}

/// `save_location` without what stands at its head.
fn location<'a>(raw: Raw<'a>, prefix: &str) -> Text<'a> {
    match text(raw, &[]) {
        Cell::Value(Cow::Borrowed(whole)) => {
            let rest = whole.strip_prefix(prefix).unwrap_or(whole);
            if is_blank(rest) { Cell::Null } else { Cell::Value(Cow::Borrowed(rest)) }
        }
        Cell::Value(Cow::Owned(mut whole)) => {
            if whole.starts_with(prefix) {
                whole.drain(..prefix.len());
            }
            if is_blank(&whole) { Cell::Null } else { Cell::Value(Cow::Owned(whole)) }
        }
        cell => cell,
    }
}

fn cell(number: Number) -> Cell<i64> {
    match number {
        Number::Value(value) => Cell::Value(value),
        Number::Outside => Cell::Defect(Defect::OutOfRange),
        Number::Not => Cell::Defect(Defect::BadNumber),
    }
}

/// A number as JSON or as text, each read in its own way.
fn number(
    raw: Raw<'_>,
    json: impl Fn(&str) -> Number,
    plain: impl Fn(&str) -> Number,
) -> Cell<i64> {
    match raw {
        Raw::Null => Cell::Null,
        Raw::Number(number) => cell(json(number)),
        Raw::Text(Some(text)) if is_blank(&text) => Cell::Null,
        Raw::Text(Some(text)) => cell(plain(&text)),
        Raw::Text(None) | Raw::Other => Cell::Defect(Defect::BadNumber),
    }
}

/// A count of followers.
fn count(raw: Raw<'_>, placeholders: &[String]) -> Cell<i64> {
    match &raw {
        Raw::Text(Some(text)) if is_one_of(text, placeholders) => Cell::Placeholder,
        _ => number(raw, integer, followers),
    }
}

/// A whole number, 0..=max.
fn whole(raw: Raw<'_>, max: i64) -> Cell<i64> {
    match number(raw, integer, digits) {
        Cell::Value(value) if value > max => Cell::Defect(Defect::OutOfRange),
        cell => cell,
    }
}

/// Degrees in units of 1e-7.
fn angle(raw: Raw<'_>, limit: i64) -> Cell<i64> {
    number(raw, |json| degrees(json, limit), |text| degrees(text, limit))
}

/// First, blank, last; the one that is there if the other is null.
fn user_name<'n, 'a: 'n>(
    first: Text<'a>,
    last: Text<'a>,
    name: &'n mut String,
    notes: &mut Notes,
) -> Text<'n> {
    match (first, last) {
        (Cell::Value(first), Cell::Value(last)) => {
            name.clear();
            name.push_str(&first);
            name.push(' ');
            name.push_str(&last);
            Cell::Value(Cow::Borrowed(name))
        }
        (Cell::Value(one), other) => {
            if let Cell::Defect(_) = other {
                notes.bad_part("bad_text:last_name");
            }
            Cell::Value(one)
        }
        (other, Cell::Value(one)) => {
            if let Cell::Defect(_) = other {
                notes.bad_part("bad_text:first_name");
            }
            Cell::Value(one)
        }
        (Cell::Defect(defect), _) | (_, Cell::Defect(defect)) => Cell::Defect(defect),
        _ => Cell::Null,
    }
}
