//! Temporary tables that sets of rows pass through, one per route and set of columns, kept for the session.

use std::collections::HashMap;

use understudy_model::{Key, RouteId, Tuple, Value, push_copy_escaped};

use super::target::{Shape, Target};
use crate::wire::Pipeline;

/// The stages of one session. They are emptied at each end of a transaction.
#[derive(Default)]
pub(super) struct Stages {
    known: HashMap<(RouteId, Shape), Stage>,
    created: usize,
}

struct Stage {
    name: String,
    /// Created in the transaction that is open: gone if it fails.
    new: bool,
    /// Filled in the transaction that is open.
    filled: bool,
}

/// How many stages a session may have; rows of further shapes go one by one.
const CAPACITY: usize = 256;

impl Stages {
    /// Whether there is a stage for this shape, or room for one.
    pub(super) fn has_room(&self, route: RouteId, shape: &Shape) -> bool {
        self.known.len() < CAPACITY || self.known.contains_key(&(route, shape.clone()))
    }

    /// Makes sure, by steps added to the pipeline, that a stage is there and empty, and that it counts as filled from
    /// now on. Returns its name.
    pub(super) fn ready(&mut self, pipeline: &mut Pipeline, target: &Target, shape: &Shape) -> String {
        let at = (target.green.route, shape.clone());
        let created = &mut self.created;
        let stage = self.known.entry(at).or_insert_with(|| {
            *created += 1;
            let name = format!("understudy_{}", *created);
            pipeline.simple(&target.stage_sql(&name, shape));
            Stage { name: format!("pg_temp.{name}"), new: true, filled: false }
        });
        if stage.filled {
            pipeline.simple(&format!("TRUNCATE {}", stage.name));
        }
        stage.filled = true;
        stage.name.clone()
    }

    /// The transaction has been committed.
    pub(super) fn committed(&mut self) {
        for stage in self.known.values_mut() {
            (stage.new, stage.filled) = (false, false);
        }
    }

    /// The transaction, or its part after a savepoint, has been rolled back.
    pub(super) fn rolled_back(&mut self) {
        self.known.retain(|_, stage| !stage.new);
    }
}

/// Appends a row as a line of COPY text for a stage of this shape.
pub(super) fn push_line(out: &mut Vec<u8>, shape: &Shape, row: &Tuple, number: usize) {
    if let Shape::Sent(_) = shape {
        out.extend_from_slice(number.to_string().as_bytes());
        for value in row.values() {
            match value {
                Value::Unchanged => continue,
                Value::Null => out.extend_from_slice(b"\t\\N"),
                Value::Text(text) => {
                    out.push(b'\t');
                    push_copy_escaped(out, &text);
                }
            }
        }
    } else {
        row.push_copy_line(out);
    }
    out.push(b'\n');
}

/// Appends a key as a line of COPY text.
pub(super) fn push_key_line(out: &mut Vec<u8>, key: &Key) {
    for (at, text) in key.texts().enumerate() {
        if at > 0 {
            out.push(b'\t');
        }
        push_copy_escaped(out, text);
    }
    out.push(b'\n');
}
