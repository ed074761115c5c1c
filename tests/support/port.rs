//! Ports of this machine.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// How many ports there are to choose from, and the first of them. They lie below the range from
/// which Linux takes the ports of outgoing connections (32 768 and up): none is taken by one of
/// those between its choice and its use.
const PORTS: u16 = 20_000;
const FIRST: u16 = 12_000;

/// A port that nobody listens on, and that this process is not given again before all others were.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Processes that run at a time begin at different places.
    let own = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let nth = own.wrapping_add(u32::from(GIVEN.fetch_add(1, Ordering::Relaxed)));
        let port = FIRST + u16::try_from(nth % u32::from(PORTS)).expect("below PORTS");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("none of {PORTS} ports is free");
}
