//! Both sides, what happens on them between reads, and sights of them.

use understudy_contract::{
    CompareRule, ComparedColumn, Detail, KeyRelation, RowDigest, RowName, RowSeen, RowVersion, SeenValue,
};
use understudy_model::Key;
use understudy_testkit::Dice;
use understudy_verify::settle::{Horizon, Sight};

use crate::blue::{Blue, Version, Ways};
use crate::green::{Faults, Green};

/// A world that a seed determines.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) blue: Blue,
    pub(crate) green: Green,
    pub(crate) faults: Faults,
    pub(crate) keys: KeyRelation,
    pub(crate) columns: Vec<ComparedColumn>,
    pub(crate) horizon: Horizon,
    /// Whether a read is taken to cover all of blue's log up to its position.
    pub(crate) trusts_position: bool,
    /// Whether blue's rows have versions.
    pub(crate) versioned: bool,
    /// How readily transactions become visible, of ten.
    pub(crate) readiness: u32,
}

/// What is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) key: u8,
    /// The row's key on blue, as far as known.
    pub(crate) blue: Option<u8>,
    pub(crate) thorough: bool,
    pub(crate) detail: Detail,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let keys = [KeyRelation::Aligned, KeyRelation::Passed, KeyRelation::Computed, KeyRelation::Computed];
        let keys = *dice.pick(&keys).unwrap();
        let computed = keys == KeyRelation::Computed;
        let ways = Ways { computed, loose: computed && dice.percent(40) };
        let tolerance = u8::from(dice.percent(20));
        let damage = dice.percent(40);
        let faults = Faults { damage, heals: dice.percent(40), aside: dice.percent(25), tolerance };
        let rule = if tolerance > 0 { CompareRule::Tolerance("1".into()) } else { CompareRule::Exact };
        World {
            blue: Blue::new(ways),
            green: Green::new(faults),
            faults,
            keys,
            columns: vec![ComparedColumn { name: "value".into(), rule }],
            horizon: Horizon::default(),
            trusts_position: false,
            versioned: !dice.percent(10),
            readiness: *dice.pick(&[1, 4, 10]).unwrap(),
            dice,
        }
    }

    /// Lets up to this many things happen.
    pub(crate) fn go_on(&mut self, most: usize) {
        for _ in 0..self.dice.below(most + 1) {
            let damage = if self.faults.damage && self.blue.frozen.is_none() { 1 } else { 0 };
            match self.dice.weighted(&[10, 10, self.readiness, 6, 3, 2, damage]) {
                0 => self.blue.begin(&mut self.dice),
                1 => self.blue.commit(&mut self.dice),
                2 => self.blue.show(&mut self.dice),
                3 => self.apply(),
                4 => self.green.poll(&self.blue.moment().snapshot),
                5 => self.green.heal(&mut self.dice, self.blue.frozen),
                _ => {
                    let key = self.dice.below(usize::from(crate::blue::KEYS)) as u8;
                    self.green.intrude(&mut self.dice, key);
                }
            }
        }
    }

    pub(crate) fn apply(&mut self) {
        let most = 1 + self.dice.below(4);
        self.green.apply(&mut self.dice, &self.blue.log, most);
    }

    /// Lets everything under way come to its end.
    pub(crate) fn settle_down(&mut self) {
        while self.blue.has_open() {
            self.blue.commit(&mut self.dice);
            self.blue.show(&mut self.dice);
        }
        self.green.poll(&self.blue.moment().snapshot);
        self.blue.mark(&mut self.dice);
        while self.green.moment().checkpoint.lsn() < self.blue.moment().lsn {
            self.apply();
        }
        while !self.green.owed.is_empty() {
            self.green.heal(&mut self.dice, self.blue.frozen);
        }
    }

    /// Looks at a key: blue, then, when green is as far or now and then sooner, green.
    pub(crate) fn look(&mut self, look: Look) -> (Sight, Option<understudy_model::Lsn>) {
        let blue = self.blue.moment();
        let covered = if self.trusts_position { Some(blue.lsn) } else { self.horizon.of(&blue) };
        let thorough = look.thorough || self.keys != KeyRelation::Computed;
        let found: Vec<Version> = self
            .blue
            .visible(&blue.snapshot)
            .filter(|row| row.green == look.key && (thorough || Some(row.blue) == look.blue))
            .cloned()
            .collect();
        self.blue.mark(&mut self.dice);
        self.go_on(6);
        let hasty = self.dice.percent(10);
        while !hasty && self.green.moment().checkpoint.lsn() < blue.lsn {
            self.apply();
        }
        let green = self.green.moment();
        self.horizon.green(&green);
        let on_green = self.green.row(look.key).map(|row| {
            let version = Some((u64::from(look.key), row.version));
            row_seen(look, None, row.value, version)
        });
        let versioned = self.versioned;
        let of = |row: &Version| {
            let version = versioned.then_some((row.address as u64, row.creator));
            row_seen(look, Some(row.blue), row.value, version)
        };
        let sight = Sight {
            on_blue: found.first().map(of),
            on_green,
            awaited: self.green.owed.get(&look.key).copied(),
            thorough,
            ambiguous: found.len() > 1,
            blue,
            green,
        };
        (sight, covered)
    }
}

/// A key of either side.
pub(crate) fn key_of(key: u8) -> Key {
    Key::from_texts([&[b'0' + key][..]])
}

fn row_seen(look: Look, blue: Option<u8>, value: u8, version: Option<(u64, u64)>) -> RowSeen {
    let text = || Some(value.to_string().into());
    let values = || vec![SeenValue { text: text(), compared: text() }];
    RowSeen {
        name: RowName { green: key_of(look.key), blue: blue.map(key_of) },
        digest: RowDigest(u128::from(value) << 60 | 7),
        version: version.map(|(at, xid)| RowVersion { text: format!("{xid}:{at}").into(), xid: xid as u32 }),
        values: (look.detail == Detail::Values).then(values),
        foreign: None,
    }
}
