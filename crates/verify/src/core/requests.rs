//! What people and the stream ask of verification, and the sentences that it answers with.

use std::collections::BTreeSet;

use understudy_contract::{
    Ask, Cause, LedgerNews, LedgerWrite, MismatchId, MismatchKind, MismatchRecord, Request, Resolution,
    RowName, Waiver,
};
use understudy_model::{HealKey, Lsn, RouteId, TableName};

use super::{VerifyCore, full};
use crate::circumstances::Millis;

impl VerifyCore {
    /// What is new in the ledger and on green.
    pub fn on_news(&mut self, news: LedgerNews, now: Millis) {
        for (route, name, kind, at) in news.surprises {
            self.on_surprise((route, name), kind, at, now);
        }
        for Request { id, ask } in news.requests {
            let answer = match ask {
                Ask::Repair(mismatches) => self.repair(&mismatches, now),
                Ask::Waive(mismatch, waiver) => self.waive(mismatch, waiver, now),
                Ask::Pass(tables) => self.pass(&tables, now),
                Ask::Limits(limits) => self.limits(&limits),
            };
            self.write_now(LedgerWrite::Answered(id, answer));
        }
    }

    /// The stream found a row not to be as a completed copy promises, and mended it.
    fn on_surprise(&mut self, (route, name): (RouteId, RowName), kind: MismatchKind, at: Lsn, now: Millis) {
        let Some(keys) = self.route(route).map(|of| of.plan.keys) else { return };
        let row = (route, name.green.clone());
        if self.mismatches.of_row(&row).is_none() {
            let id = self.mismatches.next_id();
            self.found(MismatchRecord {
                id,
                route,
                name: full(keys, name),
                kind,
                columns: Vec::new(),
                cause: Cause::Unknown,
                digests: (String::new(), String::new()),
                found_at: at,
                by_stream: true,
                repair_asked: false,
                waived: None,
            });
        }
        if let Some(id) = self.mismatches.of_row(&row) {
            self.mismatches.recheck_at(id, now);
        }
    }

    fn repair(&mut self, ids: &[MismatchId], now: Millis) -> String {
        let mut sentences = Vec::new();
        let mut asked = Vec::new();
        for id in ids.iter().collect::<BTreeSet<_>>() {
            let Some(mut record) = self.mismatches.get(*id).cloned() else {
                sentences.push(format!("mismatch {id} is not open"));
                continue;
            };
            let Some(blue) = record.name.blue.clone() else {
                sentences.push(format!(
                    "mismatch {id} cannot be repaired automatically: green's key is computed from blue's row, and blue \
                     has no row that gives it, so that there is nothing to read again; remove the row from green by hand"
                ));
                continue;
            };
            let green = record.name.green.clone();
            self.rereads.push((record.route, HealKey { green, blue }));
            record.repair_asked = true;
            self.mismatches.put(record.clone());
            self.mismatches.recheck_later(*id, now);
            self.write_now(LedgerWrite::Mismatch(record));
            asked.push(id.to_string());
        }
        if !asked.is_empty() {
            let rows = if asked.len() == 1 { "the row" } else { "the rows" };
            let asked = asked.join(", ");
            sentences.insert(
                0,
                format!("{rows} of mismatch {asked} will be read again from blue and placed on green"),
            );
        }
        if sentences.is_empty() { "no mismatch was named".to_owned() } else { sentences.join("; ") }
    }

    fn waive(&mut self, id: MismatchId, waiver: Waiver, now: Millis) -> String {
        let Some(mut record) = self.mismatches.get(id).cloned() else {
            return format!("mismatch {id} is not open");
        };
        let by = waiver.by.clone();
        let is_new = record.waived.replace(waiver).is_none();
        let route = record.route.index();
        self.mismatches.put(record.clone());
        self.mismatches.recheck_later(id, now);
        self.write_now(LedgerWrite::Mismatch(record));
        if is_new {
            self.routes[route].counts.count(Resolution::Waived);
        }
        format!("mismatch {id} is waived by {by} for as long as the row differs in just this way")
    }

    fn pass(&mut self, tables: &[TableName], now: Millis) -> String {
        let named = |table: &TableName| self.routes.iter().any(|route| route.plan.source == *table);
        if let Some(unknown) = tables.iter().find(|table| !named(table)) {
            let known: Vec<String> = self.routes.iter().map(|route| route.plan.source.to_string()).collect();
            return format!("{unknown} is not compared; those that are: {}", known.join(", "));
        }
        let mut begun = Vec::new();
        for route in &mut self.routes {
            if !tables.is_empty() && !tables.contains(&route.plan.source) {
                continue;
            }
            self.writes.extend(route.forget(now));
            // What was found before counts at the end of the pass: it is to be true by then.
            self.mismatches.look_first(route.id(), now);
            route.pass.number = route.pass.number.max(route.pass.completed + 1);
            self.writes.push(route.pass_record(now));
            begun.push(format!("pass {} of {}", route.pass.number, route.plan.source));
        }
        if begun.is_empty() {
            "nothing is compared".to_owned()
        } else {
            format!("began {}", begun.join(", "))
        }
    }

    fn limits(&mut self, changes: &[(String, String)]) -> String {
        let mut limits = self.throttle.limits().clone();
        for (name, value) in changes {
            if let Err(refusal) = limits.change(name, value) {
                return format!("nothing was changed: {refusal}");
            }
        }
        self.throttle.set_limits(limits);
        let changes: Vec<String> = changes.iter().map(|(name, value)| format!("{name} is {value}")).collect();
        if changes.is_empty() {
            "no limit was named".to_owned()
        } else {
            format!("until the next start, {}", changes.join(", "))
        }
    }
}
