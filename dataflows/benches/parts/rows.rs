//! Lines in the shape of the producers', the same ones every time.

/// Small seeded random numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound
    }
}

/// A line of a stream: 0 pin, 1 geo, 2 user.
pub fn line(stream: usize, index: u64, r: &mut Random) -> String {
    match stream {
        0 => format!(
            "{{\"index\": {index}, \"unique_id\": \"{:016x}\", \"title\": \
             \"cozy kitchen ideas {}\", \
             \"description\": \"a longer text about vintage road trips and winter weddings {}\", \
             \"poster_name\": \"Poster {}\", \"follower_count\": \"{}k\", \"tag_list\": \
             \"easy,cozy,modern,vintage,winter\", \"is_image_or_video\": \"image\", \"image_src\": \
             \"https://i.pinimg.com/originals/{:016x}.jpg\", \"downloaded\": 1, \"save_location\": \
             \"Local save in /data/category-{}\", \"category\": \"category-{}\"}}",
            r.below(u64::MAX),
            r.below(1000),
            r.below(1000),
            r.below(5000),
            r.below(999),
            r.below(u64::MAX),
            index % 13,
            index % 13
        ),
        1 => format!(
            "{{\"ind\": {index}, \"timestamp\": \"2024-03-{:02} {:02}:{:02}:{:02}\", \"latitude\": \
             {}.{:04}, \"longitude\": {}.{:03}, \"country\": \"Country {}\"}}",
            1 + r.below(28),
            r.below(24),
            r.below(60),
            r.below(60),
            r.below(90),
            r.below(10_000),
            r.below(180),
            r.below(1000),
            r.below(200)
        ),
        _ => format!(
            "{{\"ind\": {index}, \"first_name\": \"First{}\", \"last_name\": \"Last{}\", \"age\": \
             {}, \"date_joined\": \"201{}-0{}-1{} 10:11:12\"}}",
            r.below(50),
            r.below(50),
            18 + r.below(60),
            r.below(10),
            1 + r.below(9),
            r.below(10)
        ),
    }
}
