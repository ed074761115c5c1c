//! The catalogue of metrics as JSON.

use dataflows::metrics::declare::{Fact, Time};
use dataflows::metrics::schema::{Field, Schema};
use dataflows::record::{Stream, Type};
use serde_json::{Value, json};

use crate::publish::answer::names;

/// One metric: what it means and what can be asked of it.
pub fn entry(schema: &Schema) -> Value {
    let column = |f: &Field, ty: &str| json!({ "name": f.name, "type": ty });
    let keys = schema.keys.iter().map(|f| column(f, ty(f.ty)));
    let values = schema.values.iter().zip(schema.quotients());
    let values = values.map(|(f, quotient)| match f.ty {
        // A quotient of degrees or times is in their unit; of integers it is none.
        Type::Int | Type::Bool if quotient => column(f, "number"),
        _ => column(f, ty(f.ty)),
    });
    let windows = schema.windows.iter().zip(names(schema)).map(|(window, name)| {
        let time = if window.time == Time::Arrival { "arrival" } else { "event" };
        json!({ "name": name, "time": time, "sliding": window.slides() })
    });
    json!({
        "name": schema.name,
        "meaning": schema.meaning,
        "of": fact(schema.metric.fact),
        "keys": keys.collect::<Vec<_>>(),
        "measures": values.collect::<Vec<_>>(),
        "windows": windows.collect::<Vec<_>>(),
    })
}

fn ty(ty: Type) -> &'static str {
    match ty {
        Type::Text => "text",
        Type::Int => "integer",
        Type::Fixed7 => "degrees",
        Type::Time => "time",
        Type::Bool => "0 or 1",
    }
}

/// A fact as it is declared.
fn fact(fact: Fact) -> String {
    let named = |sides: [bool; 3]| -> Vec<&'static str> {
        let there = Stream::ALL.into_iter().zip(sides).filter(|(_, there)| *there);
        there.map(|(stream, _)| stream.name()).collect()
    };
    match fact {
        Fact::Sides([true, true, true]) => "posts".into(),
        Fact::Sides(sides) => named(sides).join("+"),
        Fact::Arrivals([_, geo, user]) => {
            let mut parts = vec!["arrivals"];
            parts.extend(named([false, geo, user]));
            parts.join("+")
        }
        Fact::People => "people".into(),
        Fact::Records => "records".into(),
        Fact::Fields => "fields".into(),
    }
}
