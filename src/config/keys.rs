//! The catalogue of keys: what may stand in which table, what it takes, what it means. Unknown
//! keys, their explanations and the reference page all come from here.

/// One key.
#[derive(Debug)]
pub struct Key {
    /// The table that it belongs to; empty = the top.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// An example of it.
    pub example: &'static str,
    /// What it means.
    pub what: &'static str,
}

/// All tables, in the order of the reference page, with what to call them in messages.
pub const SECTIONS: &[(&str, &str)] = &[
    ("", "the file itself"),
    ("engine", "[engine]"),
    ("source", "[source.NAME]"),
    ("source.demo", "a source of kind demo"),
    ("source.files", "a source of kind files"),
    ("source.kafka", "a source of kind kafka"),
    ("source.kafka.sasl", "`sasl`"),
    ("source.kafka.tls", "`tls`"),
    ("source.kafka.dead_letters", "`dead_letters` of a source"),
    ("source.route", "a routing rule"),
    ("cleaning", "[cleaning]"),
    ("cleaning.wrappers", "[cleaning.wrappers]"),
    ("cleaning.placeholders", "[cleaning.placeholders]"),
    ("columns", "[columns]"),
    ("columns.age_group", "an age group"),
    ("state", "[state]"),
    ("dead_letters", "[dead_letters]"),
    ("sink", "[[sink]]"),
    ("http", "[http]"),
    ("secret", "a secret"),
    ("labels", "[labels]"),
    ("metric", "[[metric]]"),
    ("metric.measure", "a measure"),
    ("metric.window", "a window"),
    ("metric.output", "`output`"),
];

macro_rules! keys {
    ($($section:literal { $($name:literal $example:literal $what:literal,)* })*) => {
        /// Every key.
        pub const KEYS: &[Key] = &[$($(
            Key { section: $section, name: $name, example: $example, what: $what },
        )*)*];
    };
}

keys! {
    "" {
        "include" r#"include = ["metrics.toml"]"#
            "Files read before this one, relative to it; `builtin:metrics.toml` is built in.",
        "engine" "[engine]" "How the engine runs.",
        "source" "[source.demo]" "A table per source; its name is part of the records' provenance.",
        "cleaning" "[cleaning]" "What decides a record's fate besides its bytes.",
        "columns" "[columns]" "How columns are derived.",
        "state" "[state]" "Durable state.",
        "dead_letters" "[dead_letters]" "Rejected records.",
        "sink" "[[sink]]" "An array of tables: where cleaned rows go.",
        "http" "[http]" "The HTTP port.",
        "labels" "[labels]" "Which values of a key are exported under their own name.",
        "metric" "[[metric]]" "An array of tables: the declared metrics.",
    }
    "engine" {
        "workers" "workers = 4" "Timely workers; not given, one per core.",
        "clock" r#"clock = "wall""#
            "What `now` follows: `wall`, or `arrival` (the greatest arrival time read).",
        "epoch" r#"epoch = "5ms""#
            "An epoch is sealed this long after its first record; after a pause sooner.",
        "max_epoch_bytes" r#"max_epoch_bytes = "8MiB""# "An epoch holds at most so much.",
        "max_epoch_records" "max_epoch_records = 100000"
            "An epoch holds at most so many records; not given, bytes alone bound it.",
        "withhold" r#"withhold = "30s""#
            "After a restart results are withheld at most so long while the sources catch up.",
        "shutdown_timeout" r#"shutdown_timeout = "30s""# "How long an orderly stop may take.",
        "memory" r#"memory = "2GiB""#
            "The process holds at most so much: near it nothing is read, at it the run stops in \
             order; not given, four fifths of what the machine or the container has.",
    }
    "source" {
        "kind" r#"kind = "files""#
            "`demo`, `files` or `kafka`; may be left out where the source's name is a kind.",
        "route" r#"route = [{ partition = "*user*", as = "user" }]"#
            "Routing rules in order; the first that matches holds, else `auto`.",
    }
    "source.route" {
        "partition" r#"partition = "*user*""#
            "A glob over the partition's name (a file's path, `topic/0`): `*`, `?`, `[a-z]`.",
        "topic" r#"topic = "shared""# "A glob over the topic, of Kafka.",
        "key" r#"key = "user-*""#
            "A glob over the record's key, of Kafka; a record without one has none that matches.",
        "header" r#"header = { kind = "user" }"#
            "Globs over the values of the record's headers, of Kafka; all must match. Of several \
             headers of one name the last counts.",
        "as" r#"as = "user""#
            "`pin`, `geo`, `user`, `auto` (the fields tell) or `ignore` (other people's records).",
    }
    "source.demo" {
        "seed" "seed = 100" "Equal seeds give equal streams.",
        "rate" "rate = 300" "Records a second over all three streams, or `\"max\"`.",
        "nominal_rate" "nominal_rate = 10000"
            "With `rate = \"max\"` arrival times run at this rate.",
        "indexes" "indexes = 100000" "Distinct indexes, re-sent and amended for ever.",
        "records" "records = 1000000" "Stop after so many records; not given, endless.",
    }
    "source.files" {
        "paths" r#"paths = ["data"]"# "Files, and folders with the JSON Lines below them, by name.",
        "scan_interval" r#"scan_interval = "1s""# "How often to look for new files.",
        "max_unpacked" r#"max_unpacked = "1GiB""#
            "A compressed file may unpack to at most so much.",
        "arrival_field" r#"arrival_field = "sent_at""#
            "A field that holds the row's arrival time (RFC 3339, or seconds or milliseconds since \
             1970); a row without has that of the row before it. Not given, when the file was \
             first seen.",
    }
    "source.kafka" {
        "brokers" r#"brokers = "127.0.0.1:9092""#
            "`HOST:PORT` of some brokers, by commas or in an array.",
        "client_properties" r#"client_properties = "client.properties""#
            "A Java client's file, taken over as far as it has a meaning here; what is written \
             in the configuration holds over it.",
        "prefix" r#"prefix = "0a1b""# "Reads `PREFIX.pin`, `PREFIX.geo`, `PREFIX.user`.",
        "topics" r#"topics = ["0a1b.pin", "^shared-"]"#
            "Topics by name, or by regular expression where it begins with `^`.",
        "group" r#"group = "pinflow""#
            "The consumer group that durable positions are committed to, for others to see.",
        "commit" "commit = true" "Whether they are. They are never read.",
        "start" r#"start = "earliest""#
            "Where the partitions of the first start begin: `earliest`, `latest`, a time, or \
             offsets (`{ \"0a1b.pin/0\" = 1200 }`, others at the oldest record). Later \
             partitions begin at their oldest record.",
        "gap" r#"gap = "skip""#
            "What becomes of records that the brokers no longer hold: `skip` (said, counted) \
             or `stop`.",
        "fetch_memory" r#"fetch_memory = "64MiB""#
            "Read ahead so much, over all partitions.",
        "refresh" r#"refresh = "5s""# "How often to look for new topics and partitions.",
        "connect_timeout" r#"connect_timeout = "30s""#
            "How long a bounded run waits for the brokers at its start.",
        "stall_timeout" r#"stall_timeout = "1min""#
            "A consumer that gives nothing for so long, though there is, is made anew.",
        "sasl" r#"sasl = { mechanism = "PLAIN", username = "a", password = { env = "P" } }"#
            "Who we say we are.",
        "tls" r#"tls = { ca = "ca.pem" }"# "Encryption; given empty, by the system's certificates.",
        "dead_letters" r#"dead_letters = { topic = "0a1b.rejected" }"#
            "Rejected records of this source go to a topic of its brokers too.",
        "properties" r#"properties = { "socket.keepalive.enable" = true }"#
            "Further settings of librdkafka.",
    }
    "source.kafka.sasl" {
        "mechanism" r#"mechanism = "SCRAM-SHA-512""#
            "`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER` or `AWS_MSK_IAM`.",
        "username" r#"username = "alice""# "The name.",
        "password" r#"password = { env = "KAFKA_PASSWORD" }"#
            "The password; of `OAUTHBEARER`, the token, which is read from a file anew whenever \
             one is needed.",
        "region" r#"region = "eu-central-1""#
            "Of `AWS_MSK_IAM`: the brokers' region; not given, what a broker's name says, else \
             `AWS_REGION`.",
        "role" r#"role = "arn:aws:iam::123456789012:role/reader""#
            "Of `AWS_MSK_IAM`: a role to take on.",
        "role_session" r#"role_session = "pinflow""# "What its session is called.",
        "profile" r#"profile = "kafka""#
            "Of `AWS_MSK_IAM`: a profile of `~/.aws`; not given, the usual places are looked \
             through.",
    }
    "source.kafka.tls" {
        "enabled" "enabled = true" "Whether it is used.",
        "ca" r#"ca = "ca.pem""#
            "Certificates that brokers are checked with; not given, the system's.",
        "certificate" r#"certificate = "client.pem""# "Our own certificate,",
        "key" r#"key = "client.key""# "and its key.",
        "key_password" r#"key_password = { env = "KEY_PASSWORD" }"# "What the key is locked with.",
    }
    "source.kafka.dead_letters" {
        "topic" r#"topic = "0a1b.rejected""#
            "The topic: none that is read. It has to be there, or brokers make it by themselves.",
    }
    "cleaning" {
        "max_record" r#"max_record = "1MiB""# "A larger message is rejected as `too_large`.",
        "max_depth" "max_depth = 64" "A deeper nesting is rejected as `too_deep`.",
        "wrappers" "[cleaning.wrappers]" "Which wrappers are taken off.",
        "placeholders" "[cleaning.placeholders]" "Texts of the producers that mean null.",
        "save_location_prefix" r#"save_location_prefix = "Local save in ""#
            "What `save_location` is stripped of at its head.",
        "timestamp_patterns" r#"timestamp_patterns = ["%Y:%m:%d %H:%M:%S"]"#
            "Further `chrono` patterns of timestamps, tried in order after the usual forms.",
        "max_future" r#"max_future = "5min""#
            "A geo timestamp further beyond its arrival time is a defect.",
    }
    "cleaning.wrappers" {
        "value" "value = true" "`{\"value\": {...}}`, alone or in an array.",
        "index" "index = true" "`{\"index\": {...a pin...}}`.",
        "text" "text = true" "JSON text inside a JSON string.",
        "base64" "base64 = true" "base64 of one of the others, once or twice.",
        "kpl" "kpl = true" "KPL-aggregated Kinesis records.",
    }
    "cleaning.placeholders" {
        "title" r#"title = ["No Title Data Available"]"# "Of `title`.",
        "description" r#"description = ["No description available"]"# "Of `description`.",
        "user_info" r#"user_info = ["User Info Error"]"# "Of `poster_name` and `follower_count`.",
        "tag_list" r#"tag_list = ["N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e"]"# "Of `tag_list`.",
        "image_src" r#"image_src = ["Image src error."]"# "Of `image_src`.",
    }
    "columns" {
        "age_groups" r#"age_groups = [{ label = "18-24", from = 18, to = 24 }]"#
            "The groups of `age_group`, in order; ages in none of them are null.",
    }
    "columns.age_group" {
        "label" r#"label = "18-24""# "What the group is called.",
        "from" "from = 18" "Its least age.",
        "to" "to = 24" "Its greatest age; not given, no end.",
    }
    "state" {
        "dir" r#"dir = "state""# "The folder, created with mode 0700.",
        "cut_interval" r#"cut_interval = "1s""# "State is made durable this often,",
        "cut_bytes" r#"cut_bytes = "8MiB""# "or after so many bytes of changes.",
        "columns" r#"columns = "declared""#
            "What is held of a post: the columns that metrics use, or `all`.",
    }
    "dead_letters" {
        "max_bytes" r#"max_bytes = "64MiB""#
            "Of each partition the first so many bytes of rejected payload are kept.",
    }
    "sink" {
        "kind" r#"kind = "files""# "`files`.",
        "dir" r#"dir = "cleaned""# "The folder.",
        "format" r#"format = "jsonl""# "`jsonl` or `csv`; of all sinks the same.",
        "rotate_size" r#"rotate_size = "128MiB""# "A larger file is closed and a new one begun,",
        "rotate_interval" r#"rotate_interval = "1h""# "and so is an older one.",
    }
    "http" {
        "listen" r#"listen = "127.0.0.1:8765""#
            "IP address (or `localhost`) and port; `\"none\"` opens none.",
        "token" r#"token = { env = "PINFLOW_TOKEN" }"#
            "Asked for as `Authorization: Bearer ...` on every route but `/livez`.",
        "insecure" "insecure = false" "Allow an address that is not loopback without a token.",
        "max_connections" "max_connections = 256" "Connections at a time.",
    }
    "secret" {
        "env" r#"env = "PINFLOW_TOKEN""# "The environment variable that holds it.",
        "file" r#"file = "/run/secrets/pinflow""# "The file that holds it.",
    }
    "labels" {
        "country" r#"country = ["Albania", "Belgium"]"#
            "Countries under their own name; all else is `other`.",
        "category" r#"category = ["art", "travel"]"#
            "Categories under their own name; all else is `other`.",
        "max_series" "max_series = 20000" "Series exported in all.",
        "max_series_per_metric" "max_series_per_metric = 12000" "Series exported of a metric.",
    }
    "metric" {
        "name" r#"name = "posts_by_country""# "What it is served under: letters, digits and `_`.",
        "meaning" r#"meaning = "posts per country""# "What it means, in a sentence.",
        "of" r#"of = "pin+geo""# "The fact that it is declared over.",
        "join" r#"join = "newest""#
            "`newest`, or `bag`: every record, n pins and m geos of an index making n*m rows.",
        "where" r#"where = "post_year >= 2018 and category is not null""#
            "Rows that it looks at: a text, or several of which all must hold.",
        "by" r#"by = ["country", { year = "post_year" }]"#
            "The group keys: columns, or `{ name = column }`.",
        "distinct" r#"distinct = ["user_name", "age"]"# "Rows equal in all of these count once.",
        "measure" r#"measure = { median = "follower_count" }"# "The measure.",
        "measures" r#"measures = ["count", { sum = "tags" }]"# "Several measures.",
        "windows" r#"windows = ["day", { size = "5min", every = "10s" }]"#
            "`hour`, `day`, `month`, `year` (UTC) or sizes.",
        "time" r#"time = "event""#
            "Which time windows are over: `arrival`, or `event` (the geo timestamp).",
        "retain" r#"retain = "90d""#
            "A window is published so long beyond its end; not given, for ever.",
        "ties" r#"ties = "first""#
            "Of equal winners the `first` (by value, then by bytes), or `all`.",
        "keep_empty" "keep_empty = false" "Show groups whose every measure saw only nulls.",
        "export" "export = 100" "How many series of unlisted text keys are exported.",
        "limit" "limit = 10" "At most so many rows a window are shown; not given, all.",
        "output" "output = { header = false }" "How rows are printed.",
    }
    "metric.measure" {
        "count" r#"count = "title""# "Rows in which the column is not null; `\"*\"` = all rows.",
        "count_distinct" r#"count_distinct = "poster_name""# "Distinct values.",
        "sum" r#"sum = "follower_count""# "The sum; of nothing it is 0.",
        "mean" r#"mean = "follower_count""# "The mean.",
        "min" r#"min = "follower_count""# "The least value.",
        "max" r#"max = "follower_count""# "The greatest value.",
        "median" r#"median = "follower_count""# "The median.",
        "quantile" r#"{ quantile = "follower_count", q = "0.9" }"# "The q-quantile.",
        "top" r#"{ top = "category", k = 3 }"# "The k values with most rows, and their counts.",
        "argmax" r#"{ argmax = "follower_count", returning = "poster_name" }"#
            "The greatest value, and another column of its row.",
        "ratio" r#"{ ratio = "nulls", over = "rows", name = "share" }"#
            "The quotient of two measures of the metric, counts or sums.",
        "name" r#"name = "posts""# "What it is called in answers.",
        "where" r#"where = "downloaded = 1""# "Rows that this measure looks at.",
        "method" r#"method = "interpolated""#
            "Of median and quantile: `lower` (a value that occurs) or `interpolated`.",
        "q" r#"q = "0.9""# "Of quantile: between 0 and 1.",
        "k" "k = 3" "Of top: how many.",
        "returning" r#"returning = "poster_name""# "Of argmax: the other column.",
        "over" r#"over = "rows""# "Of ratio: the measure that is divided by.",
    }
    "metric.window" {
        "size" r#"size = "5min""# "How long it is.",
        "every" r#"every = "10s""# "How far it slides; not given, by its size.",
    }
    "metric.output" {
        "columns" r#"columns = ["start", "country", "count"]"#
            "Keys, measures, `window`, `start`, `end`, in order; not given, all of them.",
        "header" "header = true" "Whether a header line stands first.",
        "time" r#"time = "%Y-%m-%d""# "A `chrono` pattern for times; not given, RFC 3339.",
        "decimals" "decimals = 1"
            "Digits behind the point of means, ratios and interpolated medians.",
    }
}

/// Names that people try or know from elsewhere: (table, name, what to write).
const EXPLAINED: &[(&str, &str, &str)] = &[
    ("", "sources", "sources are tables of their own: [source.NAME]"),
    ("", "metrics", "metrics are written [[metric]], one each"),
    ("", "sinks", "sinks are written [[sink]], one each"),
    ("engine", "threads", "it is called `workers`"),
    ("engine", "max_memory", "it is called `memory`"),
    ("engine", "memory_limit", "it is called `memory`"),
    ("engine", "epoch_ms", "it is called `epoch` and takes a unit: epoch = \"5ms\""),
    ("source", "type", "it is called `kind`"),
    ("source", "routes", "it is called `route`"),
    ("source.files", "path", "it is called `paths` and takes an array: paths = [\"data\"]"),
    ("source.kafka", "bootstrap_servers", "it is called `brokers`"),
    ("source.kafka", "bootstrap.servers", "it is called `brokers`"),
    ("source.kafka", "topic", "it is called `topics`"),
    ("source.kafka", "group_id", "it is called `group`"),
    ("source.kafka", "offset", "it is called `start`"),
    ("source.kafka", "security_protocol", "it follows from `sasl` and `tls`"),
    ("source.demo", "max_rate", "write rate = \"max\""),
    ("cleaning", "max_record_bytes", "it is called `max_record` and takes a unit: \"1MiB\""),
    ("state", "path", "it is called `dir`"),
    ("sink", "type", "it is called `kind`"),
    ("sink", "path", "it is called `dir`"),
    ("http", "port", "it is part of `listen`: listen = \"127.0.0.1:8765\""),
    ("http", "bind", "it is called `listen`"),
    ("http", "address", "it is called `listen`"),
    ("metric", "description", "it is called `meaning`"),
    ("metric", "fact", "it is called `of`"),
    ("metric", "from", "it is called `of`"),
    ("metric", "over", "it is called `of`"),
    ("metric", "filter", "it is called `where`"),
    ("metric", "group_by", "it is called `by`"),
    ("metric", "keys", "it is called `by`"),
    ("metric", "window", "it is called `windows` and takes an array: windows = [\"day\"]"),
    ("metric", "count", "write measure = \"count\" or measure = { count = \"column\" }"),
    ("metric", "median", "write measure = { median = \"column\" }"),
    ("metric", "sum", "write measure = { sum = \"column\" }"),
    ("metric", "top", "write measure = { top = \"column\" }"),
    ("metric.measure", "avg", "it is called `mean`"),
    ("metric.measure", "average", "it is called `mean`"),
    ("metric.measure", "distinct", "it is called `count_distinct`"),
    ("metric.measure", "percentile", "it is called `quantile`, with q = \"0.9\""),
    ("metric.measure", "as", "it is called `name`"),
    ("metric.measure", "filter", "it is called `where`"),
    ("metric.window", "slide", "it is called `every`"),
    ("metric.window", "length", "it is called `size`"),
    ("metric.output", "digits", "it is called `decimals`"),
];

/// The names of a table's keys.
pub fn names(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |k| k.section == section).map(|k| k.name)
}

/// Whether a table has a key.
pub fn known(section: &str, name: &str) -> bool {
    names(section).any(|n| n == name)
}

/// What to write instead of a name that people try.
pub fn explained(section: &str, name: &str) -> Option<String> {
    let found = EXPLAINED.iter().find(|(s, n, _)| *s == section && *n == name);
    found.map(|(_, _, hint)| (*hint).to_string())
}

/// What to call a table in messages.
pub fn title(section: &str) -> &'static str {
    SECTIONS.iter().find(|s| s.0 == section).map_or("the table", |s| s.1)
}

/// The table that a key belongs to, if it is one only.
pub fn home(name: &str) -> Option<&'static str> {
    let mut found = KEYS.iter().filter(|k| k.name == name);
    match (found.next(), found.next()) {
        (Some(key), None) => Some(title(key.section)),
        _ => None,
    }
}

/// An example of a key of a table.
pub fn example(section: &str, name: &str) -> Option<&'static str> {
    KEYS.iter().find(|k| k.section == section && k.name == name).map(|k| k.example)
}
