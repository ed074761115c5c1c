//! Change feeds as server-sent events: a `snapshot`, then `change`s, and a `frontier` in between
//! where nothing changes; `lagged` before a new snapshot if the client was too slow.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::reply::Failure;
use super::{App, limits};
use crate::publish::answer::{Printer, Query, answer, frontier, names};
use crate::publish::{Feed, Frontier, Reading};

/// A subscriber, counted while it lives.
struct Subscriber {
    app: Arc<App>,
    metric: usize,
    query: Arc<Query>,
    positions: bool,
    feed: Option<Feed>,
    told: Frontier,
    tick: Interval,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.app.subscribers.fetch_sub(1, Ordering::Relaxed);
        self.app.parts.machine.http_subscribers.dec();
    }
}

/// Answers with a feed of the rows that are asked for, which goes on until the client leaves or
/// the server stops.
pub fn changes(app: Arc<App>, metric: usize, query: Query, positions: bool) -> Response {
    let before = app.subscribers.fetch_add(1, Ordering::Relaxed);
    app.parts.machine.http_subscribers.inc();
    let mut tick = interval(limits::HEARTBEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let max = app.max_subscribers;
    let (told, query) = (Frontier::default(), Arc::new(query));
    let subscriber = Subscriber { app, metric, query, positions, feed: None, told, tick };
    if before >= max {
        drop(subscriber);
        return Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("there are {max} subscribers already"),
            "close one, or raise http.max_connections (half of them may be change feeds)",
        )
        .into_response();
    }
    let events = stream::unfold(subscriber, |mut subscriber| async move {
        let event = subscriber.next().await?;
        Some((Ok::<_, Infallible>(event), subscriber))
    });
    Sse::new(events).into_response()
}

impl Subscriber {
    async fn next(&mut self) -> Option<Event> {
        let mut stop = self.app.stop.clone();
        let Some(feed) = &mut self.feed else {
            let (reading, feed) = self.app.parts.published.subscribe(self.metric)?;
            self.feed = Some(feed);
            self.told = reading.frontier;
            let (query, positions) = (Arc::clone(&self.query), self.positions);
            let text = tokio::task::spawn_blocking(move || whole(&reading, &query, positions));
            return Some(self.event("snapshot", text.await.ok()?));
        };
        // Up to where all has been looked at.
        let mut seen = self.told;
        loop {
            let (event, due) = tokio::select! {
                biased;
                event = feed.next() => match event {
                    Some(event) => (event, false),
                    None => {
                        self.feed = None;
                        return Some(self.event("lagged", "{}".into()));
                    }
                },
                _ = stop.wait_for(|stop| *stop) => return None,
                _ = self.tick.tick() => {
                    let given = self.app.parts.published.given();
                    // What was given before that is told first.
                    match feed.try_next() {
                        Some(event) => (event, true),
                        None => return Some(self.still(given.unwrap_or(seen))),
                    }
                }
            };
            let published = &self.app.parts.published;
            let printer = Printer::new(&published.schemas()[self.metric]);
            let state = published.state();
            // Others want the rest.
            if let Some(text) = printer.change(&event, &self.query, state, self.positions) {
                self.told = event.frontier;
                return Some(self.event("change", text));
            }
            seen = event.frontier;
            if due {
                return Some(self.still(seen));
            }
        }
    }

    /// Nothing that is asked for changed up to a frontier.
    fn still(&mut self, now: Frontier) -> Event {
        if now == self.told {
            return Event::default().comment("nothing new");
        }
        self.told = now;
        let mut text = String::from("{\"frontier\":");
        frontier(&mut text, now);
        text.push('}');
        self.event("frontier", text)
    }

    fn event(&self, name: &str, text: String) -> Event {
        let id = format!("{}/{}", self.told.run, self.told.epoch);
        Event::default().event(name).id(id).data(text)
    }
}

fn whole(reading: &Reading, query: &Query, positions: bool) -> String {
    let names = names(reading.schema());
    let parts = answer(reading, &names, query);
    Printer::new(reading.schema()).answer(reading, &parts, positions)
}
