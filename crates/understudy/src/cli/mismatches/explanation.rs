//! Both sides of a row beside each other, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use understudy_contract::{Awaits, CompareRule, ComparedRoute, KnownMismatch, RowSeen, SeenValue};
use understudy_model::{Key, Lsn};

use super::{json_of, key_text, words};
use crate::cli::asking::{seconds, span};
use crate::cli::output::table;

/// The longest value that is shown in a table; JSON has them whole.
const SHOWN_CHARS: usize = 60;

/// What one side has.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// The row, if it is there.
    row: Option<RowSeen>,
    /// Everything before this address shows in it.
    at: Option<Lsn>,
    /// Why nothing was read; then nothing is known of the row.
    unread: Option<String>,
    /// Why replication has the row waiting.
    pub(super) awaited: Option<Awaits>,
}

impl Side {
    /// The row of a key among those that were read.
    pub(super) fn of(rows: Vec<RowSeen>, key: &Key, at: Lsn) -> Side {
        let row = rows.into_iter().find(|row| row.name.green == *key);
        Side { row, at: Some(at), ..Side::default() }
    }

    /// Nothing was read.
    pub(super) fn unread(why: String) -> Side {
        Side { unread: Some(why), ..Side::default() }
    }

    fn value(&self, column: usize) -> Option<&SeenValue> {
        self.row.as_ref()?.values.as_ref()?.get(column)
    }

    fn told(&self) -> String {
        let row = match (&self.unread, &self.row) {
            (Some(why), _) => return format!("not read: {why}"),
            (None, Some(_)) => "row",
            (None, None) => "no row",
        };
        self.at.map_or_else(|| row.to_owned(), |at| format!("{row}, as of {at}"))
    }

    fn json(&self) -> Json {
        json!({
            "present": self.unread.is_none().then_some(self.row.is_some()),
            "unread": self.unread,
            "at": self.at.map(|at| at.to_string()),
        })
    }
}

/// A mismatch, and how its row is now.
pub(super) struct Explanation {
    pub(super) known: KnownMismatch,
    pub(super) route: ComparedRoute,
    pub(super) blue: Side,
    pub(super) green: Side,
    /// When the range that holds the row was last verified, if it was.
    pub(super) range: Option<(Lsn, u64)>,
}

/// One column of both sides.
struct Field<'a> {
    column: &'a str,
    rule: &'a CompareRule,
    blue: Option<&'a SeenValue>,
    green: Option<&'a SeenValue>,
    /// `None` where one side's value is not known.
    equal: Option<bool>,
}

impl Explanation {
    fn fields(&self) -> Vec<Field<'_>> {
        let columns = self.route.columns.iter().enumerate();
        let field = columns.map(|(at, column)| {
            let (blue, green) = (self.blue.value(at), self.green.value(at));
            let one = std::slice::from_ref(column);
            let equal = blue.zip(green).map(|(blue, green)| {
                let (blue, green) = (std::slice::from_ref(blue), std::slice::from_ref(green));
                understudy_verify::differing(one, blue, green).is_empty()
            });
            Field { column: &column.name, rule: &column.rule, blue, green, equal }
        });
        field.collect()
    }

    /// How both sides compare now; `None` where one of them could not be read.
    fn equal_now(&self) -> Option<bool> {
        if self.blue.unread.is_some() || self.green.unread.is_some() {
            return None;
        }
        Some(match (&self.blue.row, &self.green.row) {
            (None, None) => true,
            (Some(_), Some(_)) => self.fields().iter().all(|field| field.equal == Some(true)),
            _ => false,
        })
    }

    /// Whether green had everything that blue had when its row was read.
    fn is_level(&self) -> bool {
        self.blue.at.zip(self.green.at).is_some_and(|(blue, green)| green >= blue)
    }

    fn foreign(&self) -> Option<bool> {
        self.green.row.as_ref()?.foreign
    }

    fn awaited(&self) -> Option<&'static str> {
        self.green.awaited.map(|why| match why {
            Awaits::Heal => "heal",
            Awaits::Quarantine => "quarantine",
        })
    }

    /// The command that comes next.
    pub(super) fn next(&self, file: &str) -> String {
        match (self.known.is_open(), self.equal_now()) {
            (true, Some(true)) => format!("understudy verify {file} --table {}", self.known.source),
            (true, _) => format!("understudy repair {file} {}", self.known.id),
            (false, _) => format!("understudy mismatches list {file}"),
        }
    }

    pub(super) fn text(&self) -> String {
        let known = &self.known;
        let mut text = format!(
            "Mismatch {} of {} -> {}, key {}: {}\n",
            known.id,
            known.source,
            known.target,
            key_text(&known.key),
            words::state(known)
        );
        let (means, next) = words::cause(known.cause);
        let _ = writeln!(text, "  {}: {}", known.kind.as_str(), words::kind(known.kind));
        let _ = writeln!(text, "  {}: {means}", known.cause.as_str());
        let _ = writeln!(text, "  to do: {next}\n");
        let _ = writeln!(text, "found at {} by the {}", known.found_lsn, words::found_by(known));
        match self.range {
            Some((lsn, age)) => {
                let _ = writeln!(text, "its range was last verified at {lsn}, {} ago", span(age));
            }
            None => text.push_str("its range: not known to have been verified\n"),
        }
        let _ = writeln!(text, "blue now:  {}", self.blue.told());
        let _ = writeln!(text, "green now: {}", self.green.told());
        text.push_str(&self.remarks());
        let row = |field: &Field<'_>| {
            let equal = match (field.rule, field.equal) {
                (CompareRule::Ignore, _) => "ignored",
                (_, Some(true)) => "equal",
                (_, Some(false)) => "DIFFERS",
                (_, None) => "-",
            };
            vec![
                field.column.to_owned(),
                field.rule.to_string(),
                shown(field.blue),
                shown(field.green),
                equal.to_owned(),
            ]
        };
        let rows = self.fields().iter().map(row).collect::<Vec<_>>();
        let _ = write!(text, "\n{}", table(&["COLUMN", "RULE", "BLUE, AS MAPPED", "GREEN", "NOW"], &rows));
        text
    }

    /// What has to be known besides to read the table.
    fn remarks(&self) -> String {
        let mut text = String::new();
        match self.green.awaited {
            Some(Awaits::Heal) => {
                text.push_str("replication reads the row again: it may be equal in a moment\n")
            }
            Some(Awaits::Quarantine) => {
                text.push_str("replication has set the row aside: understudy.quarantine on green says why\n");
            }
            None => {}
        }
        if self.foreign() == Some(true) {
            text.push_str("somebody else than understudy wrote green's row last\n");
        }
        if self.blue.unread.is_none() && self.green.unread.is_none() && !self.is_level() {
            text.push_str(
                "green had not applied everything yet that blue had: what differs may be on its way\n",
            );
        } else if self.equal_now() == Some(true) && self.known.is_open() {
            text.push_str(
                "both sides are equal now: the sidecar closes the mismatch when it reads the row next\n",
            );
        }
        text
    }

    pub(super) fn json(&self) -> Json {
        let value =
            |value: Option<&SeenValue>| value.and_then(|value| value.text.as_deref().map(str::to_owned));
        let field = |field: &Field<'_>| {
            json!({
                "column": field.column, "rule": field.rule.to_string(),
                "blue": value(field.blue), "green": value(field.green), "equal": field.equal,
            })
        };
        let (means, next) = words::cause(self.known.cause);
        json!({
            "schema": "understudy/v1/mismatch-explanation",
            "mismatch": json_of(&self.known, true),
            "cause": { "means": means, "to_do": next },
            "range": self.range.map(|(lsn, age)| json!({ "verified_at": lsn.to_string(), "age_seconds": seconds(age) })),
            "blue": self.blue.json(),
            "green": self.green.json(),
            "level": self.is_level(),
            "awaited": self.awaited(),
            "foreign": self.foreign(),
            "equal": self.equal_now(),
            "columns": self.fields().iter().map(field).collect::<Vec<_>>(),
        })
    }
}

/// A value in a table.
fn shown(value: Option<&SeenValue>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let Some(text) = &value.text else { return "NULL".to_owned() };
    let mut shown = format!("'{}'", text.escape_debug().take(SHOWN_CHARS).collect::<String>());
    if text.chars().count() > SHOWN_CHARS {
        let _ = write!(shown, "... ({} characters)", text.chars().count());
    }
    shown
}

#[cfg(test)]
mod tests {
    use understudy_contract::{ComparedColumn, KeyRelation, RowDigest, RowName, SideQuery};
    use understudy_model::{RouteId, TableName};

    use super::*;

    fn route() -> ComparedRoute {
        let side = |table: TableName| SideQuery {
            from: table.to_string(),
            table,
            condition: None,
            key: Vec::new(),
            green_key: Vec::new(),
            key_order: Vec::new(),
            columns: Vec::new(),
            settings: Vec::new(),
            versioned: true,
        };
        let (source, target) = (TableName::new("public", "users"), TableName::new("app", "customers"));
        let column = |name: &str, rule| ComparedColumn { name: name.to_owned(), rule };
        ComparedRoute {
            route: RouteId(0),
            keys: KeyRelation::Aligned,
            columns: vec![
                column("id", CompareRule::Exact),
                column("balance", CompareRule::Tolerance("0.01".to_owned())),
                column("note", CompareRule::Trim),
            ],
            key: vec![0],
            blue: side(source.clone()),
            green: side(target.clone()),
            rows_estimate: None,
            fingerprint: String::new(),
            source,
            target,
        }
    }

    fn value(text: &str) -> SeenValue {
        let compared = text.trim_end();
        SeenValue { text: Some(text.into()), compared: Some(compared.into()) }
    }

    fn side(values: &[&str], at: u64) -> Side {
        let key = Key::from_texts([&b"42"[..]]);
        let row = RowSeen {
            name: RowName { green: key.clone(), blue: None },
            digest: RowDigest(1),
            version: None,
            values: Some(values.iter().map(|text| value(text)).collect()),
            foreign: Some(true),
        };
        Side::of(vec![row], &key, Lsn::new(at))
    }

    fn explanation(green: Side) -> Explanation {
        Explanation {
            known: super::super::tests::known(7),
            route: route(),
            blue: side(&["42", "1.005", "a  "], 0x100),
            green,
            range: Some((Lsn::new(0x90), 65_000)),
        }
    }

    /// The rule decides, not the text: what counts as equal must not be shown as the culprit.
    #[test]
    fn columns_stand_beside_each_other_by_their_rules() {
        let explained = explanation(side(&["42", "1.01", "b"], 0x200));
        let text = explained.text();
        let now = text.lines().rev().take(3).map(|line| line.split_whitespace().last().unwrap());
        assert_eq!(now.collect::<Vec<_>>(), ["DIFFERS", "equal", "equal"], "{text}");
        for part in [
            "key 42: open\n",
            "its range was last verified at 0/90, 1m 5s ago\n",
            "blue now:  row, as of 0/100\ngreen now: row, as of 0/200\n",
            "somebody else than understudy wrote green's row last\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(explained.equal_now(), Some(false));
        assert_eq!(explained.next("shop.yaml"), "understudy repair shop.yaml 7");
        let json = explained.json();
        assert_eq!(
            (&json["columns"][2]["equal"], &json["columns"][2]["green"]),
            (&json!(false), &json!("b"))
        );
    }

    /// A side that could not be read says nothing about its row.
    #[test]
    fn what_was_not_read_is_neither_equal_nor_absent() {
        let explained = explanation(Side::unread("it took too long".to_owned()));
        assert_eq!(explained.equal_now(), None);
        assert!(explained.text().contains("green now: not read: it took too long\n"));
        assert_eq!(explained.json()["green"]["present"], Json::Null);
        let absent = explanation(Side::of(Vec::new(), &Key::from_texts([&b"42"[..]]), Lsn::new(0x50)));
        assert_eq!(absent.equal_now(), Some(false));
        assert!(absent.text().contains("green had not applied everything yet"), "{}", absent.text());
    }

    #[test]
    fn long_values_are_cut_and_null_is_no_text() {
        assert_eq!(shown(Some(&SeenValue { text: None, compared: None })), "NULL");
        assert_eq!(shown(Some(&value("a\nb"))), "'a\\nb'");
        let cut = shown(Some(&value(&"x".repeat(100))));
        assert!(cut.starts_with("'xxx") && cut.ends_with("'... (100 characters)"), "{cut}");
    }
}
