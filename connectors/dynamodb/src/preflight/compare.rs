//! What of a table is not as it should be.

use understudy_contract::Findings;

use super::facts::{Facts, IndexFacts, KeyFacts, KeyPart};
use crate::definitions::{TableDefinition, TableKey};
use crate::estimate::Projection;
use crate::layout::KeyKind;

/// Below so many units for writes a first copy takes very long.
const FEW_UNITS: i64 = 25;

/// Whether items of the table can be named as the definition says.
pub(super) fn has_key_of(definition: &TableDefinition, facts: &Facts) -> bool {
    facts.key == facts_of(&definition.key)
}

/// Everything that there is to say of a table.
pub(super) fn table(findings: &mut Findings, definition: &TableDefinition, facts: &Facts, has_begun: bool) {
    let subject = format!("green table {}", definition.name);
    if !has_key_of(definition, facts) {
        findings.error(
            "green_key_schema",
            &subject,
            format!(
                "its key is {}, and the mapping fills {}",
                key_words(&facts.key),
                key_words(&facts_of(&definition.key))
            ),
            "give the entry's `key` the attributes and types of the table, or name another table: a key cannot be changed",
        );
    }
    if !facts.is_active {
        findings.error(
            "green_not_active",
            &subject,
            "it cannot be used now",
            "wait until its status is ACTIVE",
        );
    }
    for index in &definition.indexes {
        match facts.indexes.iter().find(|known| known.name == index.0) {
            Some(known) => compare_index(findings, &subject, index, known),
            None => findings.error(
                "green_index_missing",
                &subject,
                format!("it has no index `{}`", index.0),
                "create the index, or take it out of the file",
            ),
        }
    }
    for index in &facts.indexes {
        other_index(findings, &subject, definition, index);
    }
    time_to_live(findings, &subject, definition, facts);
    capacity(findings, &subject, facts);
    around(findings, &subject, facts, has_begun);
}

fn compare_index(
    findings: &mut Findings,
    subject: &str,
    (name, key, projection): &(String, TableKey, Projection),
    known: &IndexFacts,
) {
    let key = facts_of(key);
    if known.key != key {
        findings.error(
            "green_index_key",
            subject,
            format!(
                "the key of its index `{}` is {} and not {}",
                name,
                key_words(&known.key),
                key_words(&key)
            ),
            "make the index anew, or correct the file",
        );
    }
    if !known.is_active {
        findings.warning(
            "green_index_not_active",
            subject,
            format!("its index `{}` is being made, and does not hold all items yet", name),
            "wait until its status is ACTIVE before the flip",
        );
    }
    if *projection == Projection::All && !known.is_full {
        findings.warning(
            "green_index_projection",
            subject,
            format!("its index `{}` does not hold all attributes", name),
            "make the index anew with the projection ALL, or correct the file",
        );
    }
}

/// An index that nobody told of refuses items whose attribute has another type than its key.
fn other_index(findings: &mut Findings, subject: &str, definition: &TableDefinition, index: &IndexFacts) {
    if index.is_local {
        findings.warning(
            "green_local_index",
            subject,
            format!(
                "its index `{}` lies in its partitions: items with one partition key may take 10 GB together",
                index.name
            ),
            "see that no partition key gathers more, or use a global index",
        );
    }
    if !index.is_local && !definition.indexes.iter().any(|(name, ..)| *name == index.name) {
        findings.info(
            "green_index_untold",
            subject,
            format!(
                "it has an index `{}` on {} that the file does not tell of: items with another type there are refused",
                index.name,
                key_words(&index.key)
            ),
        );
    }
}

fn time_to_live(findings: &mut Findings, subject: &str, definition: &TableDefinition, facts: &Facts) {
    if !facts.ttl_is_known {
        findings.info("green_ttl_unknown", subject, "whether its time to live is on could not be told");
        return;
    }
    match (&definition.ttl, &facts.ttl) {
        (Some(wanted), Some(known)) if wanted == known => {}
        (Some(wanted), Some(known)) => findings.error(
            "green_ttl_other",
            subject,
            format!("its time to live is the attribute `{known}` and not `{wanted}`: rows would go when nobody expects it"),
            "correct `ttl` in the file, or change the table",
        ),
        (Some(wanted), None) => findings.warning(
            "green_ttl_off",
            subject,
            format!("its time to live is not on: rows with `{wanted}` in the past and tombstones stay"),
            format!(
                "aws dynamodb update-time-to-live --table-name {} --time-to-live-specification Enabled=true,AttributeName={wanted}",
                definition.name
            ),
        ),
        (None, Some(known)) => findings.warning(
            "green_ttl_untold",
            subject,
            format!("its time to live is the attribute `{known}`, of which the file says nothing: tombstones do not use it"),
            format!("write `ttl: {known}` where the file tells of the table"),
        ),
        (None, None) => {}
    }
}

fn capacity(findings: &mut Findings, subject: &str, facts: &Facts) {
    let Some((read, write)) = facts.units else { return };
    let what = format!("it has {read} units for reads and {write} for writes each second");
    if write < FEW_UNITS {
        let remedy = "raise them for the time of the copy, or change the table to on-demand: a first copy takes one unit for \
                      each KB of each row";
        findings.warning("green_capacity_low", subject, what, remedy);
    } else {
        findings.info("green_capacity", subject, what);
    }
}

fn around(findings: &mut Findings, subject: &str, facts: &Facts, has_begun: bool) {
    if !facts.replicas.is_empty() {
        findings.warning(
            "green_global_table",
            subject,
            format!("it is held in other regions too ({})", facts.replicas.join(", ")),
            "write to it in the sidecar's region only: between regions the last write wins, whatever its version",
        );
    }
    if facts.has_stream {
        findings.info(
            "green_stream",
            subject,
            "it has a stream: whoever reads that sees every row that is copied",
        );
    }
    if !has_begun && facts.items > 0 {
        findings.warning(
            "green_not_empty",
            subject,
            format!("it holds about {} items already", facts.items),
            "see that none of them has a key that the mapping makes: such a row is refused, unless `existing_rows: adopt` says that \
             items without a tag of a migration are blue's, and they are written over",
        );
    }
}

fn facts_of(key: &TableKey) -> KeyFacts {
    (Some(key.pk.clone()), key.sk.clone())
}

/// The letter by which DynamoDB calls the type of a key.
const fn letter(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::S => "S",
        KeyKind::N => "N",
        KeyKind::B => "B",
    }
}

fn key_words((pk, sk): &KeyFacts) -> String {
    let part = |part: &KeyPart| format!("`{}` ({})", part.0, letter(part.1));
    let parts = pk.iter().chain(sk).map(part).collect::<Vec<_>>();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(" and ") }
}

#[cfg(test)]
mod tests {
    use understudy_contract::Severity;

    use super::*;
    use crate::estimate::Billing;

    fn part(name: &str, kind: KeyKind) -> KeyPart {
        (name.to_owned(), kind)
    }

    fn definition() -> TableDefinition {
        TableDefinition {
            name: "shop".to_owned(),
            key: TableKey { pk: part("pk", KeyKind::S), sk: Some(part("sk", KeyKind::N)) },
            indexes: vec![(
                "by_mail".to_owned(),
                TableKey { pk: part("mail", KeyKind::S), sk: None },
                Projection::All,
            )],
            billing: Billing::OnDemand,
            ttl: Some("expires_at".to_owned()),
        }
    }

    fn right() -> Facts {
        Facts {
            is_active: true,
            key: (Some(part("pk", KeyKind::S)), Some(part("sk", KeyKind::N))),
            indexes: vec![IndexFacts {
                name: "by_mail".to_owned(),
                key: (Some(part("mail", KeyKind::S)), None),
                is_active: true,
                is_local: false,
                is_full: true,
            }],
            ttl: Some("expires_at".to_owned()),
            ttl_is_known: true,
            ..Facts::default()
        }
    }

    fn codes(facts: &Facts) -> Vec<(&'static str, Severity)> {
        let mut findings = Findings::default();
        table(&mut findings, &definition(), facts, false);
        findings.sorted().into_iter().map(|finding| (finding.code, finding.severity)).collect()
    }

    /// Each way in which a table is not as the mapping needs it is told, and a right one is not complained of.
    #[test]
    fn what_is_amiss_is_told() {
        assert_eq!(codes(&right()), []);
        let index = |change: fn(&mut IndexFacts)| {
            let mut facts = right();
            facts.indexes.iter_mut().for_each(change);
            facts
        };
        for (facts, code, severity) in [
            (
                Facts { key: (Some(part("pk", KeyKind::S)), None), ..right() },
                "green_key_schema",
                Severity::Error,
            ),
            (
                Facts { key: (Some(part("pk", KeyKind::S)), Some(part("sk", KeyKind::S))), ..right() },
                "green_key_schema",
                Severity::Error,
            ),
            (Facts { is_active: false, ..right() }, "green_not_active", Severity::Error),
            (Facts { indexes: Vec::new(), ..right() }, "green_index_missing", Severity::Error),
            (
                index(|index| index.key.1 = Some(("x".to_owned(), KeyKind::S))),
                "green_index_key",
                Severity::Error,
            ),
            (index(|index| index.is_active = false), "green_index_not_active", Severity::Warning),
            (index(|index| index.is_full = false), "green_index_projection", Severity::Warning),
            (Facts { ttl: None, ..right() }, "green_ttl_off", Severity::Warning),
            (Facts { ttl: Some("other".to_owned()), ..right() }, "green_ttl_other", Severity::Error),
            (Facts { units: Some((5, 5)), ..right() }, "green_capacity_low", Severity::Warning),
            (
                Facts { replicas: vec!["eu-west-1".to_owned()], ..right() },
                "green_global_table",
                Severity::Warning,
            ),
            (Facts { items: 7, ..right() }, "green_not_empty", Severity::Warning),
        ] {
            assert_eq!(codes(&facts), [(code, severity)]);
        }
    }
}
