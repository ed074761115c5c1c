//! The accept loop: a bounded number of connections, each with its deadlines.
//!
//! Promises: when all connections are taken, the one that has waited longest without a request
//! makes room, so silent and dribbling clients cannot lock others out; if all are at work, the
//! new one gets a 503.
//! Limits: see [`super::limits`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;
use tower::ServiceExt;

use super::io::Stalling;
use super::{App, limits, routes};

/// Opens the port.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted daemon gets its port back though old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(limits::BACKLOG)
}

/// What is known of one connection.
#[derive(Default)]
struct Entry {
    /// Requests under way: 0 or 1.
    busy: bool,
    /// It carries a change feed.
    streaming: bool,
    task: Option<AbortHandle>,
}

/// The open connections. Those without a request stand in the order in which they began to wait.
#[derive(Default)]
struct Open {
    entries: BTreeMap<u64, Entry>,
    waiting: BTreeMap<u64, u64>,
    turn: u64,
}

type Connections = Arc<Mutex<Open>>;

impl Open {
    fn wait(&mut self, id: u64) {
        self.turn += 1;
        self.waiting.insert(self.turn, id);
    }

    fn unwait(&mut self, id: u64) {
        self.waiting.retain(|_, waiting| *waiting != id);
    }

    /// Closes the connection that has waited longest; false if all are at work.
    fn evict(&mut self) -> bool {
        let Some((_, id)) = self.waiting.pop_first() else { return false };
        if let Some(task) = self.entries.remove(&id).and_then(|entry| entry.task) {
            task.abort();
        }
        true
    }
}

/// Accepts until the stop, then waits for what is under way.
pub async fn run(listener: TcpListener, app: Arc<App>, max: usize) {
    let router = routes::router(Arc::clone(&app));
    let open = Connections::default();
    let mut stop = app.stop.clone();
    let mut id = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely no descriptors are left; those of closing connections come back.
                tracing::debug!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let machine = &app.parts.machine;
        let full = open.lock().entries.len() >= max;
        if full {
            machine.http_refused.inc();
            if !open.lock().evict() {
                refuse(&stream);
                continue;
            }
        }
        id += 1;
        let mut guard = open.lock();
        guard.entries.insert(id, Entry::default());
        guard.wait(id);
        machine.http_connections.set(guard.entries.len() as i64);
        let task = connection(stream, router.clone(), Arc::clone(&open), id, Arc::clone(&app));
        let task = tokio::spawn(task).abort_handle();
        if let Some(entry) = guard.entries.get_mut(&id) {
            entry.task = Some(task);
        }
    }
    drop(listener);
    while open.lock().entries.values().any(|entry| entry.busy) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn refuse(stream: &TcpStream) {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
        content-length: 0\r\nconnection: close\r\n\r\n";
    // A client that does not take even this is not waited for.
    let _ = stream.try_write(answer);
}

/// Takes the connection out of the list when its task ends, however it ends.
struct Listed {
    open: Connections,
    id: u64,
    app: Arc<App>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.entries.remove(&self.id);
        open.unwait(self.id);
        self.app.parts.machine.http_connections.set(open.entries.len() as i64);
    }
}

async fn connection(stream: TcpStream, router: Router, open: Connections, id: u64, app: Arc<App>) {
    let listed = Listed { open, id, app };
    // Change events are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Stalling::new(stream, limits::STALL));
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let working = Working::begin(&listed.open, id);
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let Ok(answer) = answer.await;
            let kind = answer.headers().get(header::CONTENT_TYPE);
            if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
                working.streaming();
            }
            Ok::<_, std::convert::Infallible>(wrap(answer, working))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD)
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS)
        .serve_connection(io, service);
    let mut serving = std::pin::pin!(serving);
    let mut stop = listed.app.stop.clone();
    let age = tokio::time::sleep(limits::AGE);
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
        () = age => {}
    }
    let feeds = |open: &Open| open.entries.get(&id).is_some_and(|entry| entry.streaming);
    if feeds(&listed.open.lock()) && !*listed.app.stop.borrow() {
        tokio::select! {
            _ = serving.as_mut() => return,
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    serving.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits::GRACE, serving).await;
}

/// Marks a connection as at work until the answer's body has been taken.
struct Working {
    open: Connections,
    id: u64,
}

impl Working {
    fn begin(open: &Connections, id: u64) -> Self {
        let mut list = open.lock();
        list.unwait(id);
        if let Some(entry) = list.entries.get_mut(&id) {
            entry.busy = true;
        }
        Working { open: Arc::clone(open), id }
    }

    fn streaming(&self) {
        if let Some(entry) = self.open.lock().entries.get_mut(&self.id) {
            entry.streaming = true;
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut list = self.open.lock();
        if let Some(entry) = list.entries.get_mut(&self.id) {
            entry.busy = false;
            entry.streaming = false;
            list.wait(self.id);
        }
    }
}

fn wrap(answer: Response<Body>, working: Working) -> Response<Tracked> {
    answer.map(|body| Tracked { body, _working: working })
}

/// A body that keeps its connection marked as at work.
struct Tracked {
    body: Body,
    _working: Working,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The size that a request says its body has; none if it says none.
pub fn declared(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(u64::MAX);
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
