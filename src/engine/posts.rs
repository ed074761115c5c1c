//! Looking up a post: every worker is asked, the owner of the index answers.

use std::sync::Arc;

use crossbeam_channel::Sender;
use dataflows::assemble::{Post, PostSide};
use dataflows::metrics::declare::Expr;
use dataflows::metrics::value::Value;
use dataflows::record::project::Form;
use dataflows::record::{Stream, Type};
use parking_lot::Mutex;
use serde_json::{Map, json};
use tokio::sync::oneshot;

use super::messages::Event;
use crate::http::PostLookup;
use crate::publish::print;

/// Where an answer goes. When the last copy goes without an answer, the post is not held.
#[derive(Clone)]
pub struct Reply(Arc<Inner>);

struct Inner(Mutex<Option<oneshot::Sender<Option<serde_json::Value>>>>);

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(sender) = self.0.lock().take() {
            let _ = sender.send(None);
        }
    }
}

impl Reply {
    /// Answers.
    pub fn answer(&self, post: serde_json::Value) {
        if let Some(sender) = self.0.0.lock().take() {
            let _ = sender.send(Some(post));
        }
    }
}

/// Asks the engine for posts.
pub struct Lookup(pub Sender<Event>);

impl PostLookup for Lookup {
    fn lookup(&self, index: u64) -> oneshot::Receiver<Option<serde_json::Value>> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply(Arc::new(Inner(Mutex::new(Some(sender)))));
        // An engine that is gone drops the event, and with it the reply.
        let _ = self.0.send(Event::Post { index, reply });
        receiver
    }
}

/// A post as JSON: its sides with the columns that the state holds, and where each came from.
pub fn to_json(post: &Post, places: &[(String, String)]) -> serde_json::Value {
    let mut map = Map::new();
    map.insert("index".into(), json!(post.index));
    for (stream, side) in Stream::ALL.iter().zip(&post.sides) {
        let side = side.as_ref().map(|s| side_json(s, places));
        map.insert(stream.name().into(), side.into());
    }
    map.into()
}

fn side_json(side: &PostSide, places: &[(String, String)]) -> serde_json::Value {
    let mut map = Map::new();
    for (kept, cell) in &side.cells {
        let column = kept.column.name();
        let (name, value) = match kept.form {
            Form::Present => (format!("has_{column}"), json!(*cell == 1)),
            Form::Symbol | Form::Int => (column.into(), cell_json(*cell, kept.column.ty())),
            Form::Length => (format!("length_{column}"), json!(number(*cell))),
            Form::Tags => ("tags".into(), json!(number(*cell))),
            Form::Hour => (format!("hour_{column}"), cell_json(*cell, Type::Time)),
            Form::Year => (Expr::Year(kept.column).name(), json!(number(*cell))),
        };
        map.insert(name, value);
    }
    let origin = side.header.origin;
    let place = places.get(origin.partition as usize);
    map.insert("_source".into(), json!(place.map(|p| &p.0)));
    map.insert("_partition".into(), json!(place.map(|p| &p.1)));
    map.insert("_position".into(), json!(origin.position));
    map.insert("_sub".into(), json!(origin.sub));
    map.insert("_arrived_at".into(), json!(print::rfc3339(origin.arrived_at)));
    map.into()
}

fn cell_json(cell: i64, ty: dataflows::record::Type) -> serde_json::Value {
    let mut text = String::new();
    print::json(&mut text, Value::from_cell(cell, ty), ty);
    serde_json::from_str(&text).unwrap_or_default()
}

fn number(cell: i64) -> Option<i64> {
    (cell != dataflows::metrics::value::NULL).then_some(cell)
}
