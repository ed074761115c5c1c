//! The three tables of the seed systems in MySQL or MariaDB: read, or created and filled.

mod credentials;
mod load;
mod read;
mod row;

use std::time::Duration;

use dataflows::record::Stream;
use mysql::{Conn, OptsBuilder};

pub use credentials::Credentials;
pub use load::{Loaded, load};
pub use read::tables;

use crate::cli::{Failure, exit};

/// How long the database may take to answer a call.
const HELLO: Duration = Duration::from_secs(10);
/// And for a step of its work: reading a table, writing some rows.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a stream's table is called.
pub fn table(stream: Stream) -> &'static str {
    match stream {
        Stream::Pin => "pinterest_data",
        Stream::Geo => "geolocation_data",
        Stream::User => "user_data",
    }
}

/// A database that is connected to.
pub struct Database {
    conn: Conn,
    /// What it is called in messages.
    name: String,
}

impl Database {
    /// Connects.
    pub fn connect(credentials: &Credentials) -> Result<Self, Failure> {
        let Credentials { host, port, socket, user, password, database } = credentials;
        let name = match socket {
            Some(socket) => format!("database {database} at {socket}"),
            None => format!("database {database} at {host}:{port}"),
        };
        let opts = OptsBuilder::new()
            .ip_or_hostname(Some(host))
            .tcp_port(*port)
            .socket(socket.as_ref())
            .prefer_socket(socket.is_some())
            .user(Some(user))
            .pass(password.as_ref().map(|secret| &secret.0))
            .db_name(Some(database))
            .tcp_connect_timeout(Some(HELLO))
            .read_timeout(Some(PATIENCE))
            .write_timeout(Some(PATIENCE));
        let conn = Conn::new(opts).map_err(|error| {
            let message = format!("connecting to {name} as {user}: {error}");
            let hint = "is it running there, and are host, port, user and password right?";
            Failure::new(exit::UNAVAILABLE, message, hint)
        })?;
        Ok(Database { conn, name })
    }

    fn failed(&self, doing: &str, error: &mysql::Error) -> Failure {
        let hint = match error {
            // ER_NO_SUCH_TABLE
            mysql::Error::MySqlError(e) if e.code == 1146 => {
                "fill it with `pinflow emulate --load --from DIR`"
            }
            mysql::Error::MySqlError(_) => "see what this user may do in the database",
            _ => "is the database still running?",
        };
        Failure::new(exit::UNAVAILABLE, format!("{doing} of {}: {error}", self.name), hint)
    }
}
