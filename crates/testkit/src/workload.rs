//! What happens on blue while the core works: statements, commits, aborts and maintenance, drawn by weight.

use bytes::Bytes;
use understudy_model::Xid;

use crate::blue::Blue;
use crate::dice::Dice;

/// Something that can happen on blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A transaction starts.
    Begin,
    /// A statement on one row.
    Write,
    /// A transaction of one statement.
    Single,
    /// A commit record is written.
    Commit,
    /// A committed transaction becomes visible.
    Settle,
    /// A transaction vanishes.
    Abort,
    /// A transaction is prepared.
    Prepare,
    /// TRUNCATE of one or more whole tables.
    Truncate,
    /// TRUNCATE of one leaf.
    TruncateLeaf,
    /// VACUUM FULL.
    Rewrite,
    /// A change of column types.
    AlterType,
    /// A column is dropped and added again.
    AddColumnAgain,
    /// A change of replica identity.
    AlterIdentity,
    /// A leaf is attached.
    Attach,
    /// A leaf is detached.
    Detach,
    /// A leaf is dropped.
    Drop,
    /// A detached leaf is written to.
    WriteApart,
    /// VACUUM.
    Vacuum,
    /// Messages of others, and log records that mean nothing to us.
    Noise,
}

/// How likely each act is against the others.
pub type Weights = Vec<(Act, u32)>;

/// Plain traffic, to which scenarios add what they are about.
pub fn traffic() -> Weights {
    vec![
        (Act::Begin, 20),
        (Act::Write, 45),
        (Act::Commit, 15),
        (Act::Settle, 25),
        (Act::Abort, 3),
        (Act::Prepare, 1),
        (Act::Vacuum, 3),
        (Act::Noise, 2),
    ]
}

/// Transactions that run at once, at most.
const RUNNING_MAX: usize = 4;

/// Lets one random act happen, if nothing stands in its way, and says which.
pub fn step(blue: &mut Blue, dice: &mut Dice, weights: &Weights) -> Option<Act> {
    let heavy = weights.iter().map(|(_, weight)| *weight).collect::<Vec<_>>();
    let (act, _) = weights.get(dice.weighted(&heavy))?;
    act_once(blue, dice, *act).then_some(*act)
}

/// Ends every transaction and makes every commit visible.
pub fn settle_all(blue: &mut Blue, dice: &mut Dice) {
    for xid in blue.unfinished() {
        if dice.percent(80) { blue.commit(xid) } else { blue.abort(xid) }
    }
    for xid in blue.late() {
        blue.settle(xid);
    }
}

fn act_once(blue: &mut Blue, dice: &mut Dice, act: Act) -> bool {
    let table = dice.below(blue.tables().len());
    match act {
        Act::Begin if blue.unfinished().len() < RUNNING_MAX => {
            blue.begin();
            true
        }
        Act::Begin => false,
        Act::Write => chosen(dice, &blue.open()).is_some_and(|xid| blue.write(xid, table)),
        Act::Single => {
            let xid = blue.begin();
            let done = blue.write(xid, table);
            if done {
                blue.commit(xid)
            } else {
                blue.abort(xid)
            }
            done
        }
        Act::Commit => with(dice, &blue.unfinished(), |xid| blue.commit(xid)),
        Act::Settle => with(dice, &blue.late(), |xid| blue.settle(xid)),
        Act::Abort => with(dice, &blue.unfinished(), |xid| blue.abort(xid)),
        Act::Prepare => with(dice, &blue.open(), |xid| blue.prepare(xid)),
        Act::Rewrite => match blue.vacuum_full(table) {
            Some(xid) => {
                blue.commit(xid);
                true
            }
            None => false,
        },
        Act::WriteApart => blue.write_apart(),
        Act::Vacuum => {
            blue.vacuum();
            true
        }
        Act::Noise => {
            noise(blue, dice);
            true
        }
        Act::Truncate
        | Act::TruncateLeaf
        | Act::AlterType
        | Act::AddColumnAgain
        | Act::AlterIdentity
        | Act::Attach
        | Act::Detach
        | Act::Drop => change_table(blue, dice, act, table),
    }
}

/// A statement that locks a table as a whole: in a transaction that is open already, or in one of its own.
fn change_table(blue: &mut Blue, dice: &mut Dice, act: Act, table: usize) -> bool {
    let partitioned = blue.tables()[table].kind.is_partitioned();
    if matches!(act, Act::TruncateLeaf | Act::Attach | Act::Detach | Act::Drop) && !partitioned {
        return false;
    }
    let shared = chosen(dice, &blue.open()).filter(|_| dice.percent(30));
    let xid = shared.unwrap_or_else(|| blue.begin());
    let done = match act {
        Act::Truncate => {
            let other = dice.below(blue.tables().len());
            let both = if dice.percent(30) && other != table { vec![table, other] } else { vec![table] };
            blue.truncate(xid, &both, false)
        }
        Act::TruncateLeaf => blue.truncate(xid, &[table], true),
        Act::AlterType => blue.alter_type(xid, table),
        Act::AddColumnAgain => blue.add_column_again(xid, table),
        Act::AlterIdentity => blue.alter_identity(xid, table),
        Act::Attach => blue.attach(xid, table),
        Act::Detach => blue.detach(xid, table, false),
        _ => blue.detach(xid, table, true),
    };
    if shared.is_none() {
        if done { blue.commit(xid) } else { blue.abort(xid) }
    }
    done
}

fn noise(blue: &mut Blue, dice: &mut Dice) {
    let content = Bytes::from_static(b"something else");
    match dice.below(3) {
        0 => blue.loose_message("other", content),
        1 => {
            if let Some(xid) = chosen(dice, &blue.open()) {
                blue.message(xid, "other", content);
            }
        }
        _ => {
            let _ = blue.advance(500);
        }
    }
}

fn chosen(dice: &mut Dice, xids: &[Xid]) -> Option<Xid> {
    dice.pick(xids).copied()
}

fn with(dice: &mut Dice, xids: &[Xid], act: impl FnOnce(Xid)) -> bool {
    chosen(dice, xids).map(act).is_some()
}
