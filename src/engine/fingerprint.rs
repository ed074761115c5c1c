//! What the state's slots mean and what decides a record's fate, item by item. A state made under
//! another fingerprint is refused; metrics, printing and the sources' addresses are not in it.

use std::collections::BTreeMap;

use dataflows::assemble::layout::Kept;
use dataflows::metrics::plan::Plan;

use crate::config::{Config, SourceKind};
use crate::store::peek;

/// The item that says what slots keep.
const COLUMNS: &str = "columns";

/// The plan of a configuration. Where the state in the folder keeps more columns than the metrics
/// need, it keeps them too: a metric that goes needs no rebuild, nor does one that comes and finds
/// its columns there.
pub fn plan(config: &Config) -> Plan {
    let needed = Plan::new(&config.metrics, &config.age_groups, config.state.all_columns);
    let stored = peek(&config.state.dir).and_then(|m| m.fingerprint.get(COLUMNS).cloned());
    let Some(stored) = stored else { return needed };
    let kept: Option<Vec<Kept>> = stored.split(' ').map(Kept::from_name).collect();
    let Some(kept) = kept else { return needed };
    let wider = Plan::keeping(&config.metrics, &config.age_groups, kept);
    if wider.layout.names().join(" ") == stored { wider } else { needed }
}

/// The fingerprint of a configuration and its plan.
pub fn fingerprint(config: &Config, plan: &Plan) -> BTreeMap<String, String> {
    let mut items = BTreeMap::new();
    let mut put = |item: &str, value: String| {
        items.insert(item.to_owned(), value);
    };
    put(COLUMNS, plan.layout.names().join(" "));
    put("arrivals.bucket_micros", plan.bucket.to_string());
    let horizon = plan.horizon.map_or("for ever".into(), |h| h.to_string());
    put("arrivals.horizon_micros", if plan.arrivals { horizon } else { "none".into() });
    put("join.bag", plan.has_bags().to_string());
    if let Ok(serde_json::Value::Object(rules)) = serde_json::to_value(&config.cleaning) {
        for (rule, value) in rules {
            put(&format!("cleaning.{rule}"), value.to_string());
        }
    }
    for source in &config.sources {
        let routes: Vec<String> =
            source.routes.iter().map(|r| format!("{}={:?}", r.partition, r.rule)).collect();
        put(&format!("source.{}.route", source.name), routes.join(" "));
        match &source.kind {
            SourceKind::Demo(demo) => {
                put(&format!("source.{}.seed", source.name), demo.seed.to_string());
                put(&format!("source.{}.indexes", source.name), demo.indexes.to_string());
            }
            SourceKind::Files(files) => {
                let field = files.arrival_field.clone().unwrap_or_default();
                put(&format!("source.{}.arrival_field", source.name), field);
            }
            SourceKind::Kafka(_) => {}
        }
    }
    items
}
