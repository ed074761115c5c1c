//! A real MariaDB of a test's own: a data folder of its own, a free port, stopped when dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::port::free_port;

/// What a server may take to answer; it takes half a second on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The password of [`USER`], of letters that files of credentials have to be careful with.
pub const PASSWORD: &str = ":t%;y#C 3'Y";
/// A user who may do everything in [`DATABASE`].
pub const USER: &str = "project_user";
/// An empty database.
pub const DATABASE: &str = "posts";

/// A server.
pub struct Database {
    dir: tempfile::TempDir,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    child: Child,
}

/// A program of the server's package, which may be where only root looks.
fn program(name: &str) -> Command {
    let sbin = Path::new("/usr/sbin").join(name);
    let mut command = Command::new(if sbin.exists() { sbin } else { PathBuf::from(name) });
    command.stdin(Stdio::null());
    command
}

/// Whether the test runs as root, who has to say so to start a server.
fn root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id can be run");
    id.stdout.trim_ascii() == b"0"
}

impl Database {
    /// Starts one.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        let mut install = program("mariadb-install-db");
        install.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        if root() {
            install.arg("--user=root");
        }
        let output = install.output().expect("MariaDB is there: scripts/setup test installs it");
        assert!(output.status.success(), "{output:?}");
        let quoted = PASSWORD.replace('\'', "''");
        let sql = format!(
            "CREATE DATABASE {DATABASE};\n\
             CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{quoted}';\n\
             GRANT ALL ON {DATABASE}.* TO '{USER}'@'127.0.0.1';\n"
        );
        let init = dir.path().join("init.sql");
        std::fs::write(&init, sql).expect("written");
        let port = free_port();
        let said = std::fs::File::create(dir.path().join("said")).expect("a file");
        let mut server = program("mariadbd");
        server.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        server.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
        server.arg(format!("--port={port}")).arg("--innodb-buffer-pool-size=32M");
        server.arg(format!("--socket={}", dir.path().join("s").display()));
        server.arg(format!("--init-file={}", init.display()));
        if root() {
            server.arg("--user=root");
        }
        server.stdout(Stdio::null()).stderr(said);
        let child = server.spawn().expect("MariaDB is there: scripts/setup test installs it");
        let mut database = Database { dir, port, child };
        let start = Instant::now();
        while database.ask("SELECT 1").is_none() {
            let said = || std::fs::read_to_string(database.dir.path().join("said"));
            let ended = database.child.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "the server ended: {ended:?}\n{:?}", said());
            assert!(start.elapsed() < PATIENCE, "the server does not answer\n{:?}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
        database
    }

    /// What its own client prints for a query; none if there is no answer.
    pub fn ask(&self, sql: &str) -> Option<String> {
        let mut client = program("mariadb");
        client.args(["--no-defaults", "--batch", "--skip-column-names", "--host=127.0.0.1"]);
        client.args(["--default-character-set=utf8mb4", "--protocol=tcp"]);
        client.arg(format!("--port={}", self.port)).arg(format!("--user={USER}"));
        client.arg(format!("--password={PASSWORD}")).args([DATABASE, "--execute", sql]);
        let output = client.output().expect("the client can be run");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("text"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
