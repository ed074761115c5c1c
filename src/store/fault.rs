//! Named places at which a test can have the process end as by `kill -9`.
//!
//! `PINFLOW_FAULT=after_log_append:3` aborts at the third passing of that point. Without the
//! variable a point costs one load.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// All points, in the order in which a cut passes them; the tests go through this list.
pub const POINTS: [&str; 15] = [
    "before_log_append",
    "after_log_write",
    "after_log_append",
    "after_manifest_write",
    "after_manifest_rename",
    "before_generation",
    "after_generation",
    "before_base",
    "after_base_write",
    "after_base_rename",
    "before_delete",
    "after_delete",
    "after_dead_letters_sync",
    "after_sink_sync",
    "after_sink_rename",
];

struct Armed {
    name: String,
    left: AtomicU64,
}

static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
    let value = std::env::var("PINFLOW_FAULT").ok()?;
    let (name, count) = value.split_once(':').unwrap_or((&value, "1"));
    let left = AtomicU64::new(count.parse().ok().filter(|n| *n > 0)?);
    Some(Armed { name: name.to_owned(), left })
});

/// Passes the point `name`: ends the process at once if it is the one that was asked for.
pub fn point(name: &str) {
    debug_assert!(POINTS.contains(&name), "fault point {name} is not listed");
    if let Some(armed) = ARMED.as_ref()
        && armed.name == name
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
