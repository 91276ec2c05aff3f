//! How a match is divided among parentheses. An expression is cut where a captured part begins or ends, and where the wish
//! for long matches turns into one for short ones; what lies between is one piece that matches as a whole.

use super::machine::{Alphabet, Dfa, Nfa};
use super::syntax::{Ast, Prefer, Repeat};
use crate::expr::error::EvalError;

/// A part of an expression as far as parentheses need it.
#[derive(Debug)]
pub(super) struct Tree {
    shape: Shape,
    /// The number of its parentheses.
    number: Option<usize>,
    traits: Traits,
    machine: Dfa,
}

#[derive(Debug)]
enum Shape {
    /// Nothing inside is captured.
    Piece,
    /// Another part, in parentheses of its own.
    Wrapper(Box<Tree>),
    /// One behind the other; the first one decides where it ends.
    Pair(Box<Tree>, Box<Tree>),
    /// The first that matches.
    Alternatives(Vec<Tree>),
    /// Any number of times up to a limit.
    Iteration(Box<Tree>, Option<u32>),
}

/// What a part tells those around it.
#[derive(Debug, Clone, Copy, Default)]
struct Traits {
    prefer: Option<Prefer>,
    /// Long and short matches are wished for inside.
    is_mixed: bool,
    captures: bool,
}

impl Traits {
    fn of(prefer: Option<Prefer>) -> Traits {
        Traits { prefer, ..Traits::default() }
    }

    /// Both together; the first that has a wish decides.
    fn and(self, other: Traits) -> Traits {
        let differ = self.prefer.is_some() && other.prefer.is_some() && self.prefer != other.prefer;
        Traits {
            prefer: self.prefer.or(other.prefer),
            is_mixed: self.is_mixed || other.is_mixed || differ,
            captures: self.captures || other.captures,
        }
    }

    fn needs_cut(self) -> bool {
        self.is_mixed || self.captures
    }
}

/// A part before it has an automaton.
struct Plan {
    shape: PlanShape,
    number: Option<usize>,
    traits: Traits,
    ast: Ast,
}

enum PlanShape {
    Piece,
    Wrapper(Box<Plan>),
    Pair(Box<Plan>, Box<Plan>),
    Alternatives(Vec<Plan>),
    Iteration(Box<Plan>, Option<u32>),
}

impl Tree {
    pub(super) fn new(ast: &Ast, nfa: &mut Nfa) -> Result<Tree, EvalError> {
        Tree::built(alternatives(ast), nfa)
    }

    fn built(plan: Plan, nfa: &mut Nfa) -> Result<Tree, EvalError> {
        let machine = nfa.machine(&plan.ast, false)?;
        let mut boxed = |plan: Plan| Tree::built(plan, nfa).map(Box::new);
        let shape = match plan.shape {
            PlanShape::Piece => Shape::Piece,
            PlanShape::Wrapper(inner) => Shape::Wrapper(boxed(*inner)?),
            PlanShape::Pair(first, second) => Shape::Pair(boxed(*first)?, boxed(*second)?),
            PlanShape::Iteration(inner, most) => Shape::Iteration(boxed(*inner)?, most),
            PlanShape::Alternatives(plans) => {
                let built = plans.into_iter().map(|plan| Tree::built(plan, nfa));
                Shape::Alternatives(built.collect::<Result<_, _>>()?)
            }
        };
        Ok(Tree { shape, number: plan.number, traits: plan.traits, machine })
    }
}

fn piece(ast: Ast, traits: Traits) -> Plan {
    Plan { shape: PlanShape::Piece, number: None, traits, ast }
}

fn alternatives(ast: &Ast) -> Plan {
    let Ast::Alternatives(branches) = ast else { return branch(std::slice::from_ref(ast)) };
    let plans = branches.iter().map(|ast| branch(std::slice::from_ref(ast))).collect::<Vec<_>>();
    let longest = Traits::of(Some(Prefer::Longest));
    let traits = plans.iter().fold(longest, |traits, plan| traits.and(plan.traits));
    let shape = if traits.needs_cut() { PlanShape::Alternatives(plans) } else { PlanShape::Piece };
    Plan { shape, number: None, traits, ast: ast.clone() }
}

/// Parts behind one another. Those in front that need no cut become one piece, then comes one that does, then the rest.
fn branch(items: &[Ast]) -> Plan {
    if let [Ast::Concat(items)] = items {
        return branch(items);
    }
    let mut traits = Traits::default();
    for (at, item) in items.iter().enumerate() {
        let (atom, repeat) = match item {
            Ast::Repeat(atom, repeat) => (atom.as_ref(), *repeat),
            atom => (atom, Repeat { least: 1, most: Some(1), prefer: None }),
        };
        let inner = atom_plan(atom);
        let wish = Traits::of(repeat.prefer);
        let so_far = traits.and(wish).and(inner.traits);
        if !matches!(atom, Ast::Group(_, Some(_))) && !so_far.needs_cut() {
            traits = so_far;
            continue;
        }
        // A wish counts for what stands around it even where it changes nothing itself, as in `(a){1,1}?`.
        let mut wished = wish.and(inner.traits);
        let mut plan = repeated(inner, atom, repeat);
        let rest = &items[at + 1..];
        if !rest.is_empty() {
            let rest = branch(rest);
            wished = wished.and(rest.traits);
            plan = pair(plan, rest, wished);
        }
        if at > 0 {
            let front = piece(Ast::Concat(items[..at].to_vec()), traits);
            plan = pair(front, plan, traits.and(wished));
        }
        return plan;
    }
    piece(Ast::Concat(items.to_vec()), traits)
}

fn pair(first: Plan, second: Plan, traits: Traits) -> Plan {
    let ast = Ast::Concat(vec![first.ast.clone(), second.ast.clone()]);
    Plan { shape: PlanShape::Pair(first.into(), second.into()), number: None, traits, ast }
}

fn atom_plan(atom: &Ast) -> Plan {
    let Ast::Group(inner, number) = atom else { return piece(atom.clone(), Traits::default()) };
    let mut plan = alternatives(inner);
    if number.is_none() {
        return plan;
    }
    let traits = Traits { captures: true, ..plan.traits };
    if plan.number.is_some() {
        let ast = plan.ast.clone();
        return Plan { shape: PlanShape::Wrapper(plan.into()), number: *number, traits, ast };
    }
    plan.number = *number;
    plan.traits = traits;
    plan
}

fn repeated(inner: Plan, atom: &Ast, repeat: Repeat) -> Plan {
    let is_once = (repeat.least, repeat.most) == (1, Some(1));
    let is_same =
        repeat.prefer.is_none() || inner.traits.prefer.is_none_or(|_| repeat.prefer == inner.traits.prefer);
    if is_once && is_same {
        return inner;
    }
    let traits = Traits::of(repeat.prefer).and(inner.traits);
    let ast = Ast::Repeat(Box::new(atom.clone()), repeat);
    if repeat.least == 0 {
        let shape = PlanShape::Iteration(inner.into(), repeat.most);
        return Plan { shape, number: None, traits, ast };
    }
    // Only the last time is remembered, so all before it are one piece.
    let fewer = Repeat { least: repeat.least - 1, most: repeat.most.map(|most| most - 1), ..repeat };
    let front = Ast::Repeat(Box::new(atom.clone()), fewer);
    let front = piece(front, Traits::of(traits.prefer));
    Plan { shape: PlanShape::Pair(front.into(), inner.into()), number: None, traits, ast }
}

/// Start and end of each pair of parentheses that took part, the whole match in front.
pub(super) type Captures = Vec<Option<(usize, usize)>>;

/// A text that is matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'t> {
    pub(super) nfa: &'t Nfa,
    pub(super) alphabet: &'t Alphabet,
    pub(super) kinds: &'t [u16],
}

impl Subject<'_> {
    fn scan(self, machine: &mut Dfa, range: (usize, usize), found: impl FnMut(usize) -> bool) {
        machine.scan((self.nfa, self.alphabet, self.kinds), range, found);
    }

    /// Where the first match of a seeking automaton ends.
    pub(super) fn first_end(self, machine: &mut Dfa, from: usize) -> Option<usize> {
        let mut end = None;
        self.scan(machine, (from, self.kinds.len()), |at| {
            end = Some(at);
            false
        });
        end
    }
}

impl Tree {
    /// Where the match that begins here ends, by the wish of the whole expression.
    pub(super) fn end(&mut self, subject: Subject<'_>, from: usize) -> Option<usize> {
        let takes_first = self.traits.prefer == Some(Prefer::Shortest);
        let mut end = None;
        subject.scan(&mut self.machine, (from, subject.kinds.len()), |at| {
            end = Some(at);
            !takes_first
        });
        end
    }

    /// Where matches from here may end, the one that is wished for first.
    fn ends(&mut self, subject: Subject<'_>, (from, to): (usize, usize)) -> Vec<usize> {
        let mut ends = Vec::new();
        subject.scan(&mut self.machine, (from, to), |at| {
            ends.push(at);
            true
        });
        if self.traits.prefer != Some(Prefer::Shortest) {
            ends.reverse();
        }
        ends
    }

    fn is_exact(&mut self, subject: Subject<'_>, (from, to): (usize, usize)) -> bool {
        let mut is_exact = false;
        subject.scan(&mut self.machine, (from, to), |at| {
            is_exact = at == to;
            true
        });
        is_exact
    }

    /// Divides what is known to match as a whole.
    pub(super) fn divide(
        &mut self,
        subject: Subject<'_>,
        (from, to): (usize, usize),
        captures: &mut Captures,
    ) {
        match &mut self.shape {
            Shape::Piece => {}
            Shape::Wrapper(inner) => inner.divide(subject, (from, to), captures),
            Shape::Pair(first, second) => {
                let ends = first.ends(subject, (from, to));
                if let Some(end) = ends.into_iter().find(|end| second.is_exact(subject, (*end, to))) {
                    first.divide(subject, (from, end), captures);
                    second.divide(subject, (end, to), captures);
                }
            }
            Shape::Alternatives(branches) => {
                if let Some(branch) = branches
                    .iter_mut()
                    .find_map(|branch| branch.is_exact(subject, (from, to)).then_some(branch))
                {
                    branch.divide(subject, (from, to), captures);
                }
            }
            Shape::Iteration(inner, most) => {
                if let Some(start) = last_start(inner, subject, (from, to), *most) {
                    inner.divide(subject, (start, to), captures);
                }
            }
        }
        if let Some(slot) = self.number.and_then(|number| captures.get_mut(number)) {
            *slot = Some((from, to));
        }
    }
}

/// Where the last of several times begins, each as long or short as wished for. An empty text is no time, unless what is
/// repeated wishes for long matches and matches it.
fn last_start(
    inner: &mut Tree,
    subject: Subject<'_>,
    (from, to): (usize, usize),
    most: Option<u32>,
) -> Option<usize> {
    let most = most.map_or(to - from, |most| (most as usize).min(to - from));
    // For each time its start and the ends that are not tried yet, the next one last.
    let mut times: Vec<(usize, Vec<usize>)> = Vec::new();
    let untried = |inner: &mut Tree, start: usize| {
        let mut ends = inner.ends(subject, (start, to));
        ends.retain(|end| *end > start);
        ends.reverse();
        ends
    };
    if from == to {
        let is_time = inner.traits.prefer != Some(Prefer::Shortest) && inner.is_exact(subject, (from, to));
        return is_time.then_some(from);
    }
    let mut failed = rustc_hash::FxHashSet::default();
    times.push((from, untried(inner, from)));
    while let Some((start, ends)) = times.last_mut() {
        let start = *start;
        let Some(end) = ends.pop() else {
            times.pop();
            failed.insert((times.len(), start));
            continue;
        };
        if end == to {
            return Some(start);
        }
        if times.len() < most && !failed.contains(&(times.len(), end)) {
            times.push((end, untried(inner, end)));
        }
    }
    None
}
