//! What servers answer when they refuse, turned into failures with a class, and without row values.

use std::fmt;

use understudy_contract::{Class, Failure};

/// An error that a server reported. It holds no row value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// ERROR, FATAL or PANIC, never translated.
    pub severity: String,
    /// Five characters that classify the error.
    pub sqlstate: String,
    /// The primary message, with quoted values taken out where it may hold some.
    pub message: String,
    /// The server's hint, where the message may not hold values either.
    pub hint: Option<String>,
    /// The schema that the error is about.
    pub schema: Option<String>,
    /// The table that the error is about.
    pub table: Option<String>,
    /// The column that the error is about.
    pub column: Option<String>,
    /// The constraint that the error is about.
    pub constraint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {}", self.message, self.sqlstate)?;
        if let Some(table) = &self.table {
            write!(
                f,
                ", table {}{table}",
                self.schema.as_ref().map(|s| format!("{s}.")).unwrap_or_default()
            )?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        if let Some(constraint) = &self.constraint {
            write!(f, ", constraint {constraint}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for ServerError {}

impl ServerError {
    /// Reads the body of an ErrorResponse.
    pub(crate) fn from_fields(mut body: &[u8]) -> ServerError {
        let mut error = ServerError {
            severity: "ERROR".to_owned(),
            sqlstate: "XX000".to_owned(),
            message: String::new(),
            hint: None,
            schema: None,
            table: None,
            column: None,
            constraint: None,
        };
        let mut data_type = None;
        while let Some((&kind, rest)) = body.split_first()
            && kind != 0
        {
            let end = memchr::memchr(0, rest).unwrap_or(rest.len());
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            body = rest.get(end + 1..).unwrap_or_default();
            match kind {
                b'S' if error.severity == "ERROR" => error.severity = text,
                b'V' => error.severity = text,
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'H' => error.hint = Some(text),
                b's' => error.schema = Some(text),
                b't' => error.table = Some(text),
                b'c' => error.column = Some(text),
                b'n' => error.constraint = Some(text),
                b'd' => data_type = Some(text),
                _ => {}
            }
        }
        error.withhold_values(data_type.as_deref());
        error
    }

    /// Whether the server ends the session with this error.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// The failure for this error.
    pub fn into_failure(self) -> Failure {
        let failure = Failure::new(class_of(&self.sqlstate), self.to_string());
        match self.hint.clone() {
            Some(hint) => failure.caused_by(self).remedy(hint),
            None => failure.caused_by(self),
        }
    }

    fn withhold_values(&mut self, data_type: Option<&str>) {
        match self.sqlstate.get(..2) {
            // Text that a trigger or a function of the user made up.
            Some("P0") => {
                self.message =
                    "raised by a function or trigger on the server (text withheld, it may hold values)"
                        .to_owned();
                self.hint = None;
            }
            Some("22" | "23" | "44") => {
                let known = [&self.schema, &self.table, &self.column, &self.constraint];
                let known =
                    known.into_iter().filter_map(Option::as_deref).chain(data_type).collect::<Vec<_>>();
                self.message = without_values(&self.message, &known);
                self.hint = None;
            }
            _ => {}
        }
    }
}

/// A message without what it quotes, except for the names in `known`, and without bytes in hexadecimal.
fn without_values(message: &str, known: &[&str]) -> String {
    let mut kept = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(start) = rest.find('"') {
        kept.push_str(&rest[..=start]);
        rest = &rest[start + 1..];
        let name =
            known.iter().find(|name| rest.strip_prefix(**name).is_some_and(|after| after.starts_with('"')));
        let end = match name {
            Some(name) => {
                kept.push_str(name);
                name.len()
            }
            // A value may hold quotes itself: everything up to the last one goes.
            None => {
                kept.push('…');
                rest.rfind('"').unwrap_or(rest.len())
            }
        };
        kept.push('"');
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    kept.push_str(rest);
    match kept.find(": 0x") {
        Some(bytes) => format!("{}: …", &kept[..bytes]),
        None => kept
            .split(' ')
            .map(|word| if word.starts_with("0x") { "…" } else { word })
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// The server's error behind a failure, if a server reported one.
pub fn server_error(failure: &Failure) -> Option<&ServerError> {
    std::error::Error::source(failure)?.downcast_ref()
}

/// Whether a server's error with this SQLSTATE is behind a failure.
pub fn has_sqlstate(failure: &Failure, sqlstate: &str) -> bool {
    server_error(failure).is_some_and(|error| error.sqlstate == sqlstate)
}

/// The class of a server's error.
pub fn class_of(sqlstate: &str) -> Class {
    match sqlstate {
        "40001" | "40P01" | "55P03" | "55006" | "25P03" | "25P04" => return Class::Transient,
        "25006" | "55000" | "42704" | "3D000" => return Class::Configuration,
        _ => {}
    }
    match sqlstate.get(..2) {
        Some("08" | "53" | "57" | "58") => Class::Transient,
        Some("22" | "23" | "44" | "21" | "54" | "P0") => Class::Data,
        Some("28" | "0A" | "3D" | "3F" | "42" | "F0") => Class::Configuration,
        _ => Class::Internal,
    }
}

/// The server broke its protocol, or we misread it.
pub(crate) fn protocol(what: impl fmt::Display) -> Failure {
    Failure::new(Class::Internal, format!("the server sent something unexpected: {what}"))
        .remedy("make sure that the address leads to a Postgres server and not to a proxy of another kind")
}

/// The network failed under a connection that worked.
pub(crate) fn lost(error: std::io::Error) -> Failure {
    Failure::new(Class::Transient, format!("the connection to the server was lost: {error}")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fields: &[(u8, &str)]) -> ServerError {
        let mut body = Vec::new();
        for (kind, text) in fields {
            body.push(*kind);
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        ServerError::from_fields(&body)
    }

    #[test]
    fn no_row_value_survives_in_a_message() {
        for (code, message, wanted) in [
            (
                "22P02",
                "invalid input syntax for type integer: \"4\"4\"",
                "invalid input syntax for type integer: \"…\"",
            ),
            (
                "22021",
                "invalid byte sequence for encoding \"UTF8\": 0xe3 0x28",
                "invalid byte sequence for encoding \"…\": …",
            ),
            (
                "22P05",
                "character with byte sequence 0xe2 0x82 in encoding",
                "character with byte sequence … … in encoding",
            ),
            (
                "23505",
                "duplicate key value violates unique constraint \"orders_pkey\"",
                "duplicate key value violates unique constraint \"orders_pkey\"",
            ),
            ("23505", "made up by a trigger: \"4711\"", "made up by a trigger: \"…\""),
        ] {
            let error =
                error(&[(b'C', code), (b'M', message), (b'D', "Key (id)=(4711)"), (b'n', "orders_pkey")]);
            assert_eq!(error.message, wanted);
        }
        let raised = error(&[(b'C', "P0001"), (b'M', "card 4711 refused"), (b'H', "call 4711")]);
        assert!(!format!("{raised:?}").contains("4711"));
    }

    #[test]
    fn a_failure_keeps_the_error_and_its_class() {
        let failure = error(&[
            (b'S', "FEHLER"),
            (b'V', "FATAL"),
            (b'C', "57P01"),
            (b'M', "m"),
            (b't', "t"),
            (b's', "s"),
        ])
        .into_failure();
        assert_eq!(failure.class(), Class::Transient);
        assert_eq!(failure.to_string(), "m (SQLSTATE 57P01, table s.t)");
        assert!(has_sqlstate(&failure, "57P01") && server_error(&failure).unwrap().is_fatal());
        for (code, class) in [
            ("40001", Class::Transient),
            ("28P01", Class::Configuration),
            ("42P01", Class::Configuration),
            ("23505", Class::Data),
            ("XX000", Class::Internal),
            ("", Class::Internal),
        ] {
            assert_eq!(class_of(code), class, "{code}");
        }
    }

    #[test]
    fn broken_error_bodies_do_no_harm() {
        for body in [&b""[..], b"S", b"M\xff", b"Cabc"] {
            let _ = ServerError::from_fields(body).into_failure();
        }
    }
}
