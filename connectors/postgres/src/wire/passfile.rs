//! Password files in the format of libpq: `host:port:database:user:password`, one entry a line.

use std::path::{Path, PathBuf};

use understudy_contract::{Class, Failure};

use super::options::{ConnectOptions, Host, Secret};

/// The password for a connection: the given one, or the first that fits in a password file.
pub(super) fn password(options: &ConnectOptions) -> Result<Option<Secret>, Failure> {
    if let Some(password) = &options.password {
        return Ok(Some(password.clone()));
    }
    let asked_for = options.passfile.clone().or_else(|| std::env::var_os("PGPASSFILE").map(PathBuf::from));
    let Some(path) = asked_for.clone().or_else(|| Some(std::env::home_dir()?.join(".pgpass"))) else {
        return Ok(None);
    };
    match read(&path) {
        Ok(content) => Ok(find(&content, options).map(Secret::new)),
        Err(error) if asked_for.is_some() => Err(unusable(&path, &error.to_string())),
        Err(_) => Ok(None),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path)?;
    // libpq ignores such a file too: a password that everyone can read is better noticed than used.
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the password file is ignored: others may read it (chmod 600)");
        return Err(std::io::Error::other("others may read it: chmod 600 it"));
    }
    std::fs::read_to_string(path)
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::new(Class::Configuration, format!("the password file {} cannot be used: {why}", path.display()))
        .remedy("make it readable for this user alone, or give the password in the migration file")
}

fn find(content: &str, options: &ConnectOptions) -> Option<String> {
    let host = match &options.host {
        Host::Tcp(name) => name.clone(),
        // libpq looks up the default socket directory as localhost.
        Host::Unix(path) if path.as_os_str() == "/var/run/postgresql" => "localhost".to_owned(),
        Host::Unix(path) => path.display().to_string(),
    };
    let wanted = [host, options.port.to_string(), options.database.clone(), options.user.clone()];
    content.lines().find_map(|line| {
        let fields = fields(line);
        let fits = |(field, wanted): (&String, &String)| field == "*" || field == wanted;
        let found = !line.starts_with('#') && fields.len() == 5 && fields.iter().zip(&wanted).all(fits);
        found.then(|| fields.into_iter().nth(4)).flatten()
    })
}

/// The fields of a line; `\:` and `\\` stand for the second character.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        let literal = match char {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(field) = fields.last_mut() {
            field.push(literal);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_wins() {
        let content = "# a comment\nother:*:*:*:no\nh:5432:d:u:s\\:e\\\\c:x\n*:*:*:*:late\n";
        let options = ConnectOptions::new(Host::Tcp("h".into()), 5432, "u", "d");
        assert_eq!(find(content, &options).as_deref(), Some("s:e\\c:x"));
        let options = ConnectOptions::new(Host::Tcp("h".into()), 5433, "u", "d");
        assert_eq!(find(content, &options).as_deref(), Some("late"));
        let options = ConnectOptions::new(Host::Unix("/var/run/postgresql".into()), 5432, "u", "d");
        assert_eq!(find("localhost:*:*:u:yes", &options).as_deref(), Some("yes"));
    }
}
