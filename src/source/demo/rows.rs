//! The rows of the three streams as their producers write them, placeholders and wrappers too.
//! A row follows from the seed, the index and the edition: sent again it is the same bytes.

use dataflows::time::day_number;

use super::dice::{Dice, key};
use super::text::{degrees, hex, moment, number};
use super::visit::Visit;
use super::words;
use super::world::{Traits, World};

/// Of 65 536.
const PERCENT: u64 = 655;

/// Writes the row of a visit for a stream: 0 pin, 1 geo, 2 user.
pub fn row(world: &World, stream: usize, visit: Visit, out: &mut Vec<u8>) {
    let content = key(world.seed ^ (stream as u64 + 31), visit.index) ^ (visit.edition << 8);
    let mut dice = Dice::new(key(world.seed, content));
    let start = out.len();
    let wrapper = dice.below(2_000);
    let (head, tail): (&[u8], &[u8]) = match wrapper {
        0..12 => (br#"{"value":"#, b"}"),
        12..16 => (br#"[{"value":"#, b"}]"),
        16 | 17 if stream == 0 => (br#"{"index":"#, b"}"),
        _ => (b"", b""),
    };
    out.extend_from_slice(head);
    match stream {
        0 => pin(world, visit, &mut dice, out),
        1 => geo(world, visit, &mut dice, out),
        _ => user(world, visit, &mut dice, out),
    }
    out.extend_from_slice(tail);
    if wrapper == 18 {
        quote(out, start);
    }
}

/// Turns what was written since `start` into a JSON string.
fn quote(out: &mut Vec<u8>, start: usize) {
    let plain = out.split_off(start);
    out.push(b'"');
    for byte in plain {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// A key and the opening quote of its text.
macro_rules! text {
    ($out:ident, $key:literal, $($part:expr),+ $(,)?) => {{
        $out.extend_from_slice(concat!(",\"", $key, "\":\"").as_bytes());
        $($out.extend_from_slice($part.as_bytes());)+
        $out.push(b'"');
    }};
}

fn pin(world: &World, visit: Visit, dice: &mut Dice, out: &mut Vec<u8>) {
    let index = visit.index;
    let Traits { country, mut category } = world.traits(index);
    if visit.edition > 0 && dice.chance(10 * PERCENT) {
        category = world.category(dice, country);
    }
    let category = &world.categories[category];
    let mut own = Dice::new(key(world.seed ^ 0x7069_6e73, index));
    out.extend_from_slice(b"{\"index\":");
    number(out, index);
    out.extend_from_slice(b",\"unique_id\":\"");
    uuid(&mut own, out);
    out.push(b'"');
    let topic = dice.of(&category.topics);
    let story = own.chance(15 * PERCENT / 2);
    let anonymous = own.chance(PERCENT);
    if anonymous {
        text!(out, "title", "No Title Data Available");
    } else {
        text!(out, "title", dice.of(words::HEADS), " ", topic, " ", dice.of(words::TAILS));
    }
    description(dice, story, topic, out);
    if anonymous {
        text!(out, "poster_name", "User Info Error");
        text!(out, "follower_count", "User Info Error");
    } else {
        poster(world, visit, out);
    }
    tags(dice, category.name, &category.topics, out);
    let lost = own.chance(5 * PERCENT / 2);
    let kind = match own.below(100) {
        _ if story => "multi-video(story page format)",
        0..18 => "video",
        _ => "image",
    };
    text!(out, "is_image_or_video", kind);
    if lost {
        text!(out, "image_src", "Image src error.");
    } else {
        out.extend_from_slice(b",\"image_src\":\"https://i.pinimg.com/originals/");
        image(&mut own, out);
    }
    out.extend_from_slice(if lost { b",\"downloaded\":0" } else { b",\"downloaded\":1" });
    text!(out, "save_location", "Local save in /data/", category.name);
    text!(out, "category", category.name);
    out.push(b'}');
}

fn uuid(own: &mut Dice, out: &mut Vec<u8>) {
    let (a, b) = (own.bits(), own.bits());
    hex(out, a, 8);
    out.push(b'-');
    hex(out, a >> 32, 4);
    out.extend_from_slice(b"-4");
    hex(out, a >> 48, 3);
    out.extend_from_slice(b"-a");
    hex(out, b >> 48, 3);
    out.push(b'-');
    hex(out, b, 12);
}

fn image(own: &mut Dice, out: &mut Vec<u8>) {
    let (a, b) = (own.bits(), own.bits());
    for shift in [0, 8, 16] {
        hex(out, a >> shift, 2);
        out.push(b'/');
    }
    hex(out, a, 16);
    hex(out, b, 16);
    out.extend_from_slice(b".jpg\"");
}

fn description(dice: &mut Dice, story: bool, topic: &str, out: &mut Vec<u8>) {
    let form = dice.below(100);
    if story {
        text!(out, "description", "No description available Story format");
    } else if form < 2 {
        text!(out, "description", "No description available");
    } else {
        let (first, second) = (dice.of(words::SENTENCES), dice.of(words::SENTENCES));
        // A third of the real ones is cut off with an ellipsis and a no-break space.
        let end = if form < 38 { "\u{2026}\u{a0}" } else { "" };
        text!(out, "description", topic, ": ", first, " ", second, end);
    }
}

fn poster(world: &World, visit: Visit, out: &mut Vec<u8>) {
    let poster = world.poster(visit.index);
    let mut who = Dice::new(key(world.seed ^ 0x6e61_6d65, poster));
    if who.chance(40 * PERCENT) {
        out.extend_from_slice(b",\"poster_name\":\"");
        out.extend_from_slice(who.of(words::BLOGS).as_bytes());
        out.push(b' ');
        number(out, poster);
        // Some carry a blank at their end.
        out.extend_from_slice(if who.chance(2 * PERCENT) { b" \"" } else { b"\"" });
    } else {
        text!(out, "poster_name", who.of(words::FIRST), " ", who.of(words::LAST));
    }
    out.extend_from_slice(b",\"follower_count\":\"");
    let class = who.below(100);
    let u = who.unit();
    let grown = 1.0 + (visit.edition & 0xffff).min(50) as f64 / 100.0;
    let (most, unit) = match class {
        0..17 => (999.0 * u, ""),
        17..92 => (1.0 + 998.0 * u * u * u, "k"),
        _ => ((1.0 / (u + 0.06)).max(1.0), "M"),
    };
    number(out, (most * grown).min(999.0) as u64);
    out.extend_from_slice(unit.as_bytes());
    out.push(b'"');
}

fn tags(dice: &mut Dice, category: &str, topics: &[&str], out: &mut Vec<u8>) {
    if dice.chance(16 * PERCENT / 10) {
        text!(out, "tag_list", "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e");
        return;
    }
    let bits = dice.bits();
    let count = if bits >> 60 == 0 { 3 + (bits as usize & 3) } else { 9 };
    out.extend_from_slice(b",\"tag_list\":\"");
    out.extend_from_slice(category.as_bytes());
    for i in 1..count {
        let throw = bits >> (6 * i);
        out.push(b',');
        out.extend_from_slice(topics[throw as usize % topics.len()].as_bytes());
        out.push(b' ');
        out.extend_from_slice(words::TAGS[(throw as usize + i) & 15].as_bytes());
    }
    out.push(b'"');
}

/// The opening of a geo or user row: their producers disagree about the key.
fn opening(dice: &mut Dice, index: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(match dice.below(100) {
        0..5 => b"{\"index\":" as &[u8],
        5 => b"{\"idx\":",
        _ => b"{\"ind\":",
    });
    number(out, index);
}

fn geo(world: &World, visit: Visit, dice: &mut Dice, out: &mut Vec<u8>) {
    let Traits { mut country, .. } = world.traits(visit.index);
    if visit.edition > 0 && dice.chance(10 * PERCENT) {
        country = world.country(dice);
    }
    opening(dice, visit.index, out);
    let separator = if dice.chance(30 * PERCENT) { b'T' } else { b' ' };
    let land = &world.countries[country];
    out.extend_from_slice(b",\"timestamp\":\"");
    moment(out, posted(dice, land.hours), separator);
    // Posts come from some forty places of a country.
    let mut place = Dice::new(key(world.seed ^ (country as u64) << 8, dice.below(40)));
    let mut off = |spread: i64| {
        let width = spread.unsigned_abs() + 1;
        (place.below(width) + place.below(width)) as i64 - spread
    };
    let lat = (land.lat + off(land.spread) + dice.below(600) as i64 - 300).clamp(-899_000, 899_000);
    let lon = land.lon + off(land.spread) + dice.below(600) as i64 - 300;
    out.extend_from_slice(b"\",\"latitude\":");
    // A sensor that is off the globe, once in 3 000.
    degrees(out, if dice.chance(22) { 955_000 } else { lat });
    out.extend_from_slice(b",\"longitude\":");
    degrees(out, (lon + 1_800_000).rem_euclid(3_600_000) - 1_800_000);
    text!(out, "country", land.name);
    out.push(b'}');
}

/// When something was posted, seconds since 1970-01-01 UTC: mostly 2017-10 to 2022-10, some up
/// to 2025-10, more by day than by night where it was.
fn posted(dice: &mut Dice, hours: u64) -> i64 {
    let from = day_number(2017, 10, 20);
    let day = if dice.chance(80 * PERCENT) {
        from + dice.below(1825) as i64
    } else {
        from + 1825 + dice.below(1100) as i64
    };
    let local = if dice.chance(15 * PERCENT) {
        dice.below(24)
    } else {
        6 + dice.below(10) + dice.below(10)
    };
    let hour = (local + 24 - hours) % 24;
    day * 86_400 + hour as i64 * 3600 + dice.below(3600) as i64
}

fn user(world: &World, visit: Visit, dice: &mut Dice, out: &mut Vec<u8>) {
    opening(dice, visit.index, out);
    let mut who = Dice::new(key(world.seed ^ 0x7065_7273, world.user(visit.index)));
    text!(out, "first_name", who.of(words::FIRST));
    text!(out, "last_name", who.of(words::LAST));
    let class = who.below(100);
    let u = who.unit();
    let age = match class {
        0..3 => 16 + (u * 2.0) as u64,
        3..91 => 18 + (u * u.sqrt() * 33.0) as u64,
        _ => 51 + (u * u * 25.0) as u64,
    };
    // An amendment is a birthday; once in 3 000 somebody cannot type.
    let birthdays = (visit.edition & 0xffff).min(2) + (visit.edition >> 32);
    out.extend_from_slice(b",\"age\":");
    number(out, if dice.chance(22) { 900 } else { (age + birthdays).min(75) });
    out.extend_from_slice(b",\"date_joined\":\"");
    let joined = day_number(2015, 10, 21) as f64 + 729.0 * who.unit().powf(1.4);
    let separator = if dice.chance(30 * PERCENT) { b'T' } else { b' ' };
    moment(out, joined as i64 * 86_400 + who.below(86_400) as i64, separator);
    out.extend_from_slice(b"\"}");
}
