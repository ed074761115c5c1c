//! Where a database is and who may come in: a file in TOML or in the form of the course's
//! `db_creds.yaml`, and the environment for what the file leaves out.
//!
//! Promises: a password is in no message and in no `Debug`.

use std::path::Path;

use crate::cli::{Failure, exit};
use crate::config::{Env, Secret};

/// What can be said, by its name; with `MYSQL_` before it, it is an environment variable.
const NAMES: [&str; 6] = ["HOST", "PORT", "USER", "PASSWORD", "DATABASE", "SOCKET"];
/// What may stand before a name in a file.
const HEADS: [&str; 3] = ["MYSQL_", "RDS_", "DB_"];
/// The largest file that is read as credentials; bytes.
const MOST: u64 = 1 << 16;

/// Where a database is and who may come in.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Where it listens; 127.0.0.1 if not said.
    pub host: String,
    /// 3306 if not said.
    pub port: u16,
    /// The socket that it listens at instead.
    pub socket: Option<String>,
    /// Who.
    pub user: String,
    /// None = there is none.
    pub password: Option<Secret>,
    /// `pinterest_data` if not said, as in the course.
    pub database: String,
}

impl Credentials {
    /// What a file says, and else the environment.
    pub fn read(file: Option<&Path>, env: &Env) -> Result<Self, Failure> {
        let said = match file {
            Some(path) => read(path)?,
            None => Vec::new(),
        };
        let get = |name: &str| {
            let of_file = said.iter().rev().find(|(known, _)| *known == name);
            let value = of_file.map(|(_, value)| value.clone());
            value.or_else(|| env.get(&format!("MYSQL_{name}")).cloned())
        };
        let port = get("PORT").unwrap_or_else(|| "3306".into());
        let port = port.parse().map_err(|_| {
            let message = format!("reading the credentials: `{port}` is not a port");
            Failure::new(exit::CONFIG, message, "it is a number like 3306")
        })?;
        let user = get("USER").ok_or_else(|| {
            let message = "the credentials of the database name no user";
            let hint = "give --credentials FILE with HOST, USER, PASSWORD, DATABASE, PORT, or set \
                        MYSQL_HOST, MYSQL_USER, MYSQL_PASSWORD, MYSQL_DATABASE, MYSQL_PORT";
            Failure::new(exit::CONFIG, message, hint)
        })?;
        Ok(Credentials {
            host: get("HOST").unwrap_or_else(|| "127.0.0.1".into()),
            port,
            socket: get("SOCKET"),
            user,
            password: get("PASSWORD").map(Secret),
            database: get("DATABASE").unwrap_or_else(|| "pinterest_data".into()),
        })
    }
}

/// Names and values that a file says.
fn read(path: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    let failed = |error: &std::io::Error| {
        let mut failure = Failure::io(format!("reading {}", path.display()), error);
        failure.exit_code = exit::CONFIG;
        failure
    };
    let size = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
    if size > MOST {
        let message = format!("reading {}: {size} bytes cannot be credentials", path.display());
        return Err(Failure::new(exit::CONFIG, message, "name the right file"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
    let toml = path.extension().is_some_and(|e| e == "toml");
    let said = if toml { of_toml(&text) } else { of_lines(&text) };
    let wrong = |why: String| {
        let message = format!("reading {}: {why}", path.display());
        let hint = format!(
            "write one of {} a line, as KEY: value, or as KEY = \"value\" in a .toml file",
            NAMES.join(", ")
        );
        Failure::new(exit::CONFIG, message, hint)
    };
    let named = said.map_err(wrong)?.into_iter().map(|(key, value)| {
        let name = name(&key).ok_or_else(|| wrong(format!("`{key}` says nothing to us")))?;
        Ok((name, value))
    });
    named.collect()
}

/// What a key of a file is called here.
fn name(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_uppercase();
    let bare = HEADS.iter().find_map(|head| key.strip_prefix(head)).unwrap_or(&key);
    NAMES.into_iter().find(|name| *name == bare)
}

fn of_toml(text: &str) -> Result<Vec<(String, String)>, String> {
    // The error of the parser shows the line, and with it, it may be, the password.
    let table: toml::Table = text.parse().map_err(|_| "it is not TOML".to_string())?;
    let one = |(key, value): (String, toml::Value)| match value {
        toml::Value::String(text) => Ok((key, text)),
        toml::Value::Integer(number) => Ok((key, number.to_string())),
        _ => Err(format!("`{key}` is neither a text nor a number")),
    };
    table.into_iter().map(one).collect()
}

/// One `KEY: value` a line, the value plain or in quotes: as much of YAML as credentials need.
fn of_lines(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut said = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with('#') || bare == "---" {
            continue;
        }
        let at = format!("line {}", n + 1);
        let (key, rest) = match bare.split_once(':') {
            Some((key, rest)) if rest.is_empty() || rest.starts_with([' ', '\t']) => (key, rest),
            _ => return Err(format!("{at} is not KEY: value")),
        };
        let value =
            scalar(rest.trim()).ok_or_else(|| format!("{at} has a value of no such form"))?;
        said.push((key.trim().to_string(), value));
    }
    Ok(said)
}

/// A plain or quoted value, a comment after it taken off.
fn scalar(text: &str) -> Option<String> {
    let Some(quote) = text.chars().next().filter(|c| "'\"".contains(*c)) else {
        let plain = text.find(" #").map_or(text, |at| &text[..at]).trim_end();
        // What begins so means something else in YAML.
        return (!plain.starts_with(['[', '{', '&', '*', '!', '|', '>', '%', '@', '`']))
            .then(|| plain.to_string());
    };
    let mut value = String::new();
    let mut rest = text[1..].chars().peekable();
    loop {
        match rest.next()? {
            // In single quotes a quote is written twice.
            '\'' if quote == '\'' && rest.peek() == Some(&'\'') => {
                rest.next();
                value.push('\'');
            }
            '\\' if quote == '"' => match rest.next()? {
                c @ ('"' | '\\' | '/') => value.push(c),
                _ => return None,
            },
            c if c == quote => break,
            c => value.push(c),
        }
    }
    let after: String = rest.collect();
    let after = after.trim_start();
    (after.is_empty() || after.starts_with('#')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, text: &str) -> Result<Credentials, Failure> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        let env = Env::from([("MYSQL_PASSWORD".into(), "of env".into())]);
        Credentials::read(Some(&path), &env)
    }

    fn check(name: &str, text: &str, password: &str) {
        let got = written(name, text).expect(text);
        let given = got.password.map(|secret| secret.0);
        assert_eq!(given.as_deref(), Some(password), "{text}");
        let all = (&*got.host, got.port, &*got.user, &*got.database, got.socket);
        assert_eq!(all, ("db.example", 3307, "me", "posts", None), "{text}");
    }

    #[test]
    fn the_forms_of_a_file() {
        let head = "HOST: db.example\nUSER: me\nDATABASE: posts\nPORT: 3307\n";
        for (line, password) in [
            ("PASSWORD: :t%;yCY3Yjg", ":t%;yCY3Yjg"),
            ("PASSWORD: a'b#c # not this", "a'b#c"),
            ("PASSWORD: 'it''s: #1'  # this", "it's: #1"),
            ("PASSWORD: \"a\\\"b\\\\c\"", "a\"b\\c"),
            ("# nothing", "of env"),
        ] {
            check("db_creds.yaml", &format!("---\n{head}\n{line}\n"), password);
        }
        let yaml = "RDS_HOST: db.example\nRDS_USER: me\nRDS_DATABASE: posts\nRDS_PORT: '3307'\n";
        check("c.yml", yaml, "of env");
        let toml =
            "host = 'db.example'\nuser = 'me'\npassword = 'p'\ndatabase = 'posts'\nport = 3307";
        check("c.toml", toml, "p");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (name, text, words) in [
            ("c.yaml", "HOST=x\n", "line 1 is not KEY: value"),
            ("c.yaml", "USER: me\nPASSWORD: [secret]\n", "line 2"),
            ("c.yaml", "USER: me\nPASSWORD: 'secret\n", "line 2"),
            ("c.yaml", "USER: me\nPASWORD: secret\n", "`PASWORD`"),
            ("c.yaml", "HOST: x\n", "no user"),
            ("c.yaml", "USER: me\nPORT: secret port\n", "not a port"),
            ("c.toml", "password = secret", "not TOML"),
            ("c.toml", "user = ['me']", "`user`"),
        ] {
            let failure = written(name, text).expect_err(text);
            assert_eq!(failure.exit_code, exit::CONFIG);
            let shown = failure.to_string();
            assert!(shown.contains(words), "{text}: {shown}");
            let port = words == "not a port";
            assert!(port || !shown.contains("secret"), "{text}: {shown}");
        }
        let toml = "user = 'me'\npassword = 'hidden'";
        assert!(!format!("{:?}", written("c.toml", toml).expect("good")).contains("hidden"));
    }
}
