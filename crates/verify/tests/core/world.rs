//! Two servers in memory with a log between them, and everything that can go wrong with either.

use std::collections::{BTreeMap, BTreeSet};

use understudy_contract::{
    Answer, Awaited, BlueMoment, BlueRead, CompareRule, ComparedColumn, ComparedRoute, Detail, GreenMoment,
    GreenRead, KeyPart, KeyRange, KeyRelation, NotRead, RangeDigest, RowDigest, RowName, RowSeen, RowVersion,
    SeenValue, SideQuery, Which,
};
use understudy_model::{Checkpoint, Key, Lsn, RouteId, Snapshot, TableName, Xid};
use understudy_verify::Side;

/// A row as a side stores it.
#[derive(Debug, Clone)]
struct Cell {
    value: String,
    xid: u64,
    address: u64,
}

/// A transaction of blue that changed one row.
#[derive(Debug, Clone)]
struct Change {
    end: u64,
    route: u16,
    id: u64,
    value: Option<String>,
}

/// Both servers and the log.
#[derive(Debug)]
pub(crate) struct World {
    keys: KeyRelation,
    lsn: u64,
    xid: u64,
    blue: BTreeMap<(u16, u64), Cell>,
    green: BTreeMap<(u16, u64), Cell>,
    log: Vec<Change>,
    applied: usize,
    checkpoint: u64,
    /// Changes that are to be dropped on their way.
    pub(crate) lose: BTreeSet<(u16, u64)>,
    /// A side whose digests of ranges are wrong.
    pub(crate) wrong: Option<Side>,
    /// Whether both sides' digests are the same whatever the rows are.
    pub(crate) blind: bool,
    /// A side that shows one more row whenever a digest is read, and never else.
    pub(crate) passing: Option<Side>,
    /// Whether blue's tables are partitioned.
    pub(crate) partitioned: bool,
    /// Rows that green has twice.
    pub(crate) twice: BTreeSet<(u16, u64)>,
    /// Whether searching all of blue takes too long.
    pub(crate) search_is_slow: bool,
    /// Why a route cannot be read.
    pub(crate) broken: BTreeMap<u16, NotRead>,
    /// Ranges of more rows are too slow.
    pub(crate) rows_max: usize,
    /// Keys that change between each read of blue and the read of green that follows.
    pub(crate) hot: Vec<(u16, u64)>,
    /// Rows that have been changed on green and not been noted.
    pub(crate) to_note: Vec<(RouteId, RowName)>,
    pub(crate) digests_read: usize,
    pub(crate) rows_read: usize,
}

/// The key of a row, so that its bytes have the order of its number.
pub(crate) fn key(id: u64) -> Key {
    Key::from_texts([format!("{id:08}").as_bytes()])
}

fn id_of(key: &Key) -> u64 {
    let text = key.texts().next().unwrap();
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

impl World {
    pub(crate) fn new(keys: KeyRelation) -> World {
        World {
            keys,
            lsn: 1_000,
            xid: 100,
            blue: BTreeMap::new(),
            green: BTreeMap::new(),
            log: Vec::new(),
            applied: 0,
            checkpoint: 1_000,
            lose: BTreeSet::new(),
            wrong: None,
            blind: false,
            passing: None,
            partitioned: false,
            twice: BTreeSet::new(),
            search_is_slow: false,
            broken: BTreeMap::new(),
            rows_max: usize::MAX,
            hot: Vec::new(),
            to_note: Vec::new(),
            digests_read: 0,
            rows_read: 0,
        }
    }

    /// The same rows on both sides.
    pub(crate) fn filled(keys: KeyRelation, routes: u16, rows: u64) -> World {
        let mut world = World::new(keys);
        for route in 0..routes {
            (0..rows).for_each(|id| world.write(route, id * 2, Some("same")));
        }
        world.apply();
        world.to_note.clear();
        world
    }

    pub(crate) fn route(&self, route: u16) -> ComparedRoute {
        let side = |schema: &str| SideQuery {
            table: TableName::new(schema, format!("t{route}")),
            from: format!("{}t{route}", if self.partitioned { "" } else { "ONLY " }),
            condition: None,
            key: vec![KeyPart { sql: "id".to_owned(), name: "id".to_owned() }],
            green_key: vec!["id".to_owned()],
            key_order: vec![0],
            columns: Vec::new(),
            settings: Vec::new(),
            versioned: true,
        };
        let column = |name: &str| ComparedColumn { name: name.to_owned(), rule: CompareRule::Exact };
        ComparedRoute {
            route: RouteId(route),
            source: TableName::new("public", format!("t{route}")),
            target: TableName::new("public", format!("t{route}")),
            keys: self.keys,
            columns: vec![column("id"), column("value")],
            key: vec![0],
            blue: side("blue"),
            green: side("green"),
            rows_estimate: Some(self.blue.range((route, 0)..=(route, u64::MAX)).count() as u64),
            fingerprint: format!("f{route}"),
        }
    }

    pub(crate) fn checkpoint(&self) -> Lsn {
        Lsn::new(self.checkpoint)
    }

    /// Blue's key of a row, where green's is computed from it.
    fn blue_key(&self, id: u64) -> Key {
        match self.keys {
            KeyRelation::Aligned | KeyRelation::Passed => key(id),
            KeyRelation::Computed => key(id + 10_000_000),
        }
    }

    fn id_of_blue(&self, key: &Key) -> u64 {
        match self.keys {
            KeyRelation::Aligned | KeyRelation::Passed => id_of(key),
            KeyRelation::Computed => id_of(key) - 10_000_000,
        }
    }

    pub(crate) fn name(&self, id: u64) -> RowName {
        RowName { green: key(id), blue: Some(self.blue_key(id)) }
    }

    /// Somebody commits on blue.
    pub(crate) fn write(&mut self, route: u16, id: u64, value: Option<&str>) {
        self.xid += 1;
        self.lsn += 10;
        let (xid, address) = (self.xid, self.lsn);
        match value {
            Some(value) => self.blue.insert((route, id), Cell { value: value.to_owned(), xid, address }),
            None => self.blue.remove(&(route, id)),
        };
        self.log.push(Change { end: self.lsn, route, id, value: value.map(str::to_owned) });
    }

    /// Rows come to blue or leave it with a partition, which the log does not show.
    pub(crate) fn attach(&mut self, route: u16, id: u64, value: Option<&str>) {
        let logged = self.log.len();
        self.write(route, id, value);
        self.log.truncate(logged);
    }

    /// Somebody else writes on green.
    pub(crate) fn tamper(&mut self, route: u16, id: u64, value: Option<&str>) {
        self.lsn += 10;
        let (xid, address) = (7, self.lsn);
        match value {
            Some(value) => self.green.insert((route, id), Cell { value: value.to_owned(), xid, address }),
            None => self.green.remove(&(route, id)),
        };
    }

    /// Replication reads a row of blue again and places it.
    pub(crate) fn reread(&mut self, route: u16, id: u64) {
        let value = self.blue.get(&(route, id)).map(|cell| cell.value.clone());
        self.tamper(route, id, value.as_deref());
    }

    /// Replication applies what has been logged.
    pub(crate) fn apply(&mut self) {
        while let Some(change) = self.log.get(self.applied).cloned() {
            self.applied += 1;
            if !self.lose.remove(&(change.route, change.id)) {
                self.tamper(change.route, change.id, change.value.as_deref());
            }
            self.to_note.push((RouteId(change.route), self.name(change.id)));
            self.checkpoint = change.end;
        }
        self.checkpoint = self.lsn;
    }

    fn may_read(&self, route: RouteId) -> Answer<()> {
        self.broken.get(&route.0).map_or(Ok(()), |why| Err(why.clone()))
    }

    fn blue_moment(&mut self) -> BlueMoment {
        let end = Xid::new(self.xid + 1);
        BlueMoment { snapshot: Snapshot::new(end, end, Vec::new()), lsn: Lsn::new(self.lsn) }
    }

    fn green_moment(&mut self, at_least: Lsn) -> GreenMoment {
        for (route, id) in self.hot.clone() {
            let value = format!("hot {}", self.xid);
            self.write(route, id, Some(&value));
        }
        if self.checkpoint < at_least.raw() || !self.hot.is_empty() {
            self.apply();
        }
        let checkpoint = Checkpoint::at_commit_end(Lsn::new(self.checkpoint));
        GreenMoment { checkpoint, unseen: Some(Vec::new()) }
    }

    fn seen(&self, side: Side, id: u64, cell: &Cell, detail: Detail) -> RowSeen {
        let text = |text: &str| SeenValue { text: Some(text.into()), compared: Some(text.into()) };
        let (id_text, value) = (format!("{id:08}"), cell.value.clone());
        RowSeen {
            name: match side {
                Side::Green if self.keys == KeyRelation::Computed => RowName { green: key(id), blue: None },
                Side::Blue | Side::Green => self.name(id),
            },
            digest: digest(&id_text, &value),
            version: Some(RowVersion { text: cell.address.to_string().into(), xid: cell.xid as u32 }),
            values: (detail == Detail::Values).then(|| vec![text(&id_text), text(&value)]),
            foreign: match side {
                Side::Blue => None,
                Side::Green => Some(cell.xid == 7),
            },
        }
    }

    fn table(&self, side: Side) -> &BTreeMap<(u16, u64), Cell> {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }

    fn ids(&self, side: Side, route: RouteId, which: &Which) -> Vec<u64> {
        let own = |key: &Key| match side {
            Side::Blue => self.id_of_blue(key),
            Side::Green => id_of(key),
        };
        match which {
            Which::Range(range) => {
                let after = range.after.as_ref().map(own);
                let upto = range.upto.as_ref().map(own);
                let inside =
                    |id: &u64| after.is_none_or(|after| *id > after) && upto.is_none_or(|upto| *id <= upto);
                let rows = self.table(side).range((route.0, 0)..=(route.0, u64::MAX));
                rows.map(|((_, id), _)| *id).filter(inside).collect()
            }
            Which::Names(names) => match side {
                Side::Blue => names.iter().filter_map(|name| name.blue.as_ref()).map(own).collect(),
                Side::Green => names.iter().map(|name| own(&name.green)).collect(),
            },
            Which::Thorough(keys) => keys.iter().map(id_of).collect(),
        }
    }

    fn rows(&mut self, side: Side, route: RouteId, which: &Which, detail: Detail) -> Answer<Vec<RowSeen>> {
        self.may_read(route)?;
        let ids = self.ids(side, route, which);
        if matches!(which, Which::Range(_)) && ids.len() > self.rows_max {
            return Err(NotRead::TooSlow);
        }
        if matches!(which, Which::Thorough(_)) && self.search_is_slow {
            return Err(NotRead::TooSlow);
        }
        self.rows_read += 1;
        let row =
            |id: u64| self.table(side).get(&(route.0, id)).map(|cell| self.seen(side, id, cell, detail));
        let mut rows: Vec<RowSeen> = ids.into_iter().filter_map(row).collect();
        let is_twice =
            |row: &&RowSeen| side == Side::Green && self.twice.contains(&(route.0, id_of(&row.name.green)));
        let again: Vec<RowSeen> = rows.iter().filter(is_twice).cloned().collect();
        rows.extend(again);
        Ok(rows)
    }

    pub(crate) fn boundary(
        &mut self,
        side: Side,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> Answer<Option<Key>> {
        let range = KeyRange { after: after.cloned(), upto: None };
        self.may_read(route)?;
        let ids = self.ids(side, route, &Which::Range(range));
        let at = ids.get(rows as usize - 1).copied();
        Ok(at.map(|id| match side {
            Side::Blue => self.blue_key(id),
            Side::Green => key(id),
        }))
    }

    fn digest(&mut self, side: Side, route: RouteId, range: &KeyRange) -> Answer<RangeDigest> {
        self.digests_read += 1;
        let rows = self.rows(side, route, &Which::Range(range.clone()), Detail::Digests)?;
        let mut digest: RangeDigest = rows.iter().map(|row| row.digest).collect();
        if self.wrong == Some(side) {
            digest.lower += 1;
        }
        if self.passing == Some(side) {
            digest.add(RowDigest(1));
        }
        if self.blind {
            digest = RangeDigest { rows: 1, upper: 0, lower: 0 };
        }
        Ok(digest)
    }

    pub(crate) fn blue_digest(&mut self, route: RouteId, range: &KeyRange) -> Answer<BlueRead<RangeDigest>> {
        let value = self.digest(Side::Blue, route, range)?;
        Ok(BlueRead { moment: self.blue_moment(), value })
    }

    pub(crate) fn blue_rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
    ) -> Answer<BlueRead<Vec<RowSeen>>> {
        let value = self.rows(Side::Blue, route, which, detail)?;
        Ok(BlueRead { moment: self.blue_moment(), value })
    }

    pub(crate) fn green_digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
        at_least: Lsn,
    ) -> Answer<GreenRead<RangeDigest>> {
        let moment = self.green_moment(at_least);
        let value = self.digest(Side::Green, route, range)?;
        Ok(GreenRead { moment, value, awaited: Vec::new() })
    }

    pub(crate) fn green_rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
        at_least: Lsn,
    ) -> Answer<GreenRead<Vec<RowSeen>>> {
        let moment = self.green_moment(at_least);
        let value = self.rows(Side::Green, route, which, detail)?;
        Ok(GreenRead { moment, value, awaited: Vec::<Awaited>::new() })
    }

    /// A marker.
    pub(crate) fn mark(&mut self) {
        self.lsn += 10;
    }
}

fn digest(id: &str, value: &str) -> RowDigest {
    let mut state = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in id.bytes().chain([0]).chain(value.bytes()) {
        state = (state ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
    }
    RowDigest(state)
}
