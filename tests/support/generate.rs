//! Seeded streams in the shape of the bench's workload: three files of lines that belong
//! together, sent again, shuffled on their own, with the producers' dirt; for other tests also
//! with amended rows and malformed payloads.

use super::Random;

/// How the streams are made.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Lines a stream.
    pub events: usize,
    /// Equal seeds give equal streams.
    pub seed: u64,
    /// Of a thousand lines, how many are sent again.
    pub again: u64,
    /// Of a thousand lines sent again, how many have another content.
    pub amended: u64,
    /// Of a thousand rows, how many never reach one of the streams.
    pub lost: u64,
    /// Of a thousand lines, how many are malformed.
    pub malformed: u64,
    /// No line is further from its place than so many lines.
    pub shuffle: usize,
    /// Event time of the first line, seconds since 1970-01-01 UTC.
    pub start: i64,
    /// Seconds of event time in all.
    pub span: i64,
    /// At most so many distinct indexes; rows beyond them are sent again.
    pub indexes: usize,
}

impl Shape {
    /// The bench's own shape.
    pub fn bench(events: usize, seed: u64) -> Self {
        let shuffle = (events / 1000).clamp(50, 2000);
        Shape {
            events,
            seed,
            again: 50,
            amended: 0,
            lost: 9,
            malformed: 0,
            shuffle,
            start: 1_709_251_200,
            span: 30 * 86_400,
            indexes: usize::MAX,
        }
    }

    /// The bench's shape with everything that can be wrong.
    pub fn dirty(events: usize, seed: u64) -> Self {
        Shape { again: 150, amended: 400, malformed: 5, ..Shape::bench(events, seed) }
    }
}

const CATEGORIES: [&str; 13] = [
    "christmas",
    "tattoos",
    "quotes",
    "travel",
    "art",
    "education",
    "mens-fashion",
    "home-decor",
    "diy-and-crafts",
    "finance",
    "beauty",
    "event-planning",
    "vehicles",
];
const COUNTRIES: [&str; 24] = [
    "Albania",
    "Afghanistan",
    "Algeria",
    "American Samoa",
    "Andorra",
    "Angola",
    "Antarctica (the territory South of 60 deg S)",
    "Argentina",
    "Armenia",
    "Aruba",
    "Azerbaijan",
    "Bahamas",
    "Barbados",
    "Cote d'Ivoire",
    "Egypt",
    "French Guiana",
    "Isle of Man",
    "Korea",
    "Lao People's Democratic Republic",
    "Maldives",
    "Mozambique",
    "Sierra Leone",
    "Tonga",
    "Zimbabwe",
];
const WORDS: [&str; 16] = [
    "easy",
    "cozy",
    "modern",
    "vintage",
    "winter",
    "kitchen",
    "wedding",
    "caf\\u00e9",
    "tattoo",
    "\\\"must see\\\"",
    "road",
    "gift",
    "\\\\ tips\\n#pin",
    "city",
    "plan",
    "ideas",
];
const MALFORMED: [&str; 10] = [
    "\"\"",
    "",
    "{\"index\": 5, \"unique_id\": \"x\", \"categ",
    "{\"example_field\": \"example_value_pin\"}",
    "[1, 2]",
    "17",
    "{\"unique_id\": \"u\", \"category\": \"art\"}",
    "{\"index\": -4, \"unique_id\": \"u\", \"category\": \"art\"}",
    "<html><body>502 Bad Gateway</body></html>",
    "\"not base64!\"",
];

/// The lines of the three streams, pin, geo, user, each with its end.
pub fn streams(shape: &Shape) -> [Vec<String>; 3] {
    let mut random = Random::new(shape.seed);
    let posters = (shape.events / 20).max(50) as u64;
    let mut ticks: Vec<(usize, u64)> = Vec::with_capacity(shape.events);
    let mut distinct = 0;
    for _ in 0..shape.events {
        let again = distinct > 0 && (random.chance(shape.again) || distinct >= shape.indexes);
        if again {
            let edition = u64::from(random.chance(shape.amended)) * random.bits();
            ticks.push((random.below(distinct as u64) as usize, edition));
        } else {
            ticks.push((distinct, 0));
            distinct += 1;
        }
    }
    let lost: Vec<u64> = (0..distinct)
        .map(|_| if random.chance(shape.lost) { random.below(3) } else { 3 })
        .collect();
    let mut out: [Vec<String>; 3] = Default::default();
    for (stream, lines) in out.iter_mut().enumerate() {
        let mut keyed: Vec<(usize, usize)> = (0..shape.events)
            .map(|at| (at + random.below(shape.shuffle as u64 + 1) as usize, at))
            .collect();
        keyed.sort_unstable();
        for (_, at) in keyed {
            if random.chance(shape.malformed) {
                lines.push(format!("{}\n", random.pick(&MALFORMED)));
                continue;
            }
            let (mut row, edition) = ticks[at];
            while lost[row] == stream as u64 {
                row = if row == 0 { random.below(distinct as u64) as usize } else { row - 1 };
            }
            lines.push(line(stream, row, edition, posters, shape));
        }
    }
    out
}

/// The line of a row; the same row and edition give the same bytes.
fn line(stream: usize, row: usize, edition: u64, posters: u64, shape: &Shape) -> String {
    let seed = shape.seed ^ (row as u64) << 2 ^ (stream as u64) ^ edition << 20;
    let mut random = Random::new(seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ 0xABCD);
    random.bits();
    let bits = (4 * shape.events.min(shape.indexes)).next_power_of_two().max(1 << 14) as u64;
    let index = (row as u64).wrapping_mul(0x9E37_79B1) & (bits - 1);
    match stream {
        0 => pin(index, posters, &mut random),
        1 => geo(index, row, shape, &mut random),
        _ => user(index, &mut random),
    }
}

fn skewed(random: &mut Random, bound: u64) -> u64 {
    random.below(bound).min(random.below(bound))
}

fn phrase(random: &mut Random) -> String {
    let words: Vec<&str> = (0..=random.below(6) + 2).map(|_| *random.pick(&WORDS)).collect();
    words.join(" ")
}

fn pin(index: u64, posters: u64, random: &mut Random) -> String {
    let category = CATEGORIES[skewed(random, 13) as usize];
    let poster = skewed(random, posters);
    let followers = match poster * 2_654_435_761 % 100 {
        0..25 => format!("{}", poster * 7919 % 1000),
        25..80 => format!("{}k", poster * 7919 % 999 + 1),
        _ => format!("{}M", poster * 7919 % 25 + 1),
    };
    let (name, followers) = if random.chance(100) {
        ("User Info Error".to_string(), "User Info Error".to_string())
    } else {
        (format!("Poster {poster}"), followers)
    };
    let kind = ["image", "image", "image", "video", "multi-video(story page format)"];
    let kind = *random.pick(&kind);
    let or = |random: &mut Random, of: u64, text: &str| {
        if random.chance(of) { text.to_string() } else { phrase(random) }
    };
    let title = or(random, 50, "No Title Data Available");
    let missing = match kind.as_bytes()[0] {
        b'm' => "No description available Story format",
        _ => "No description available",
    };
    let description = or(random, 80, missing);
    let tags: Vec<&str> = (0..random.below(4) + 3).map(|_| *random.pick(&WORDS)).collect();
    let tags = if random.chance(100) {
        "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e".to_string()
    } else {
        tags.join(",")
    };
    let image = if random.chance(80) {
        "Image src error.".to_string()
    } else {
        format!("https://i.pinimg.com/originals/{:016x}.jpg", random.bits())
    };
    let id = random.bits();
    let downloaded = u64::from(!random.chance(100));
    format!(
        "{{\"index\": {index}, \"unique_id\": \"{id:016x}\", \"title\": \"{title}\", \
         \"description\": \"{description}\", \"poster_name\": \"{name}\", \
         \"follower_count\": \"{followers}\", \"tag_list\": \"{tags}\", \
         \"is_image_or_video\": \"{kind}\", \"image_src\": \"{image}\", \
         \"downloaded\": {downloaded}, \"save_location\": \"Local save in /data/{category}\", \
         \"category\": \"{category}\"}}\n"
    )
}

fn geo(index: u64, row: usize, shape: &Shape, random: &mut Random) -> String {
    let mut at = row as i64 * shape.span / shape.events as i64 + random.below(120) as i64;
    if random.chance(10) {
        at = (at - 3600 - random.below(82_800) as i64).max(0);
    }
    let time = time(shape.start + at);
    let country = COUNTRIES[skewed(random, 24) as usize];
    let (lat, lon) = (random.below(1_800_000) as i64, random.below(360_000) as i64);
    format!(
        "{{\"ind\": {index}, \"timestamp\": \"{time}\", \"latitude\": {:.4}, \
         \"longitude\": {:.3}, \"country\": \"{country}\"}}\n",
        (lat - 900_000) as f64 / 10_000.0,
        (lon - 180_000) as f64 / 1000.0
    )
}

fn user(index: u64, random: &mut Random) -> String {
    const FIRST: [&str; 8] = ["Abigail", "Adam", "Dylan", "Eric", "Mary", "Rachel", "Ruth", "Paul"];
    const LAST: [&str; 6] = ["Ali", "Acosta", "Davis", "Holmes", "Quinn", "Nguyen"];
    let (first, last) = (random.pick(&FIRST), random.pick(&LAST));
    let age = 18 + skewed(random, 62);
    let joined = time(1_420_070_400 + random.below(1096 * 86_400) as i64);
    format!(
        "{{\"ind\": {index}, \"first_name\": \"{first}\", \"last_name\": \"{last}\", \
         \"age\": {age}, \"date_joined\": \"{joined}\"}}\n"
    )
}

/// A time as producers send it, from seconds since 1970-01-01 UTC.
pub fn time(seconds: i64) -> String {
    let there = chrono::DateTime::from_timestamp(seconds, 0).expect("in range");
    there.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Writes the three streams to a folder as the bench's generator names them.
pub fn write(shape: &Shape, dir: &std::path::Path) {
    for (name, lines) in ["pin", "geo", "user"].iter().zip(streams(shape)) {
        let path = dir.join(format!("{name}.jsonl"));
        std::fs::write(path, lines.concat()).expect("the file can be written");
    }
}
