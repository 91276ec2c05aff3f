//! Automata: whether a part of an expression matches from one place to another, in time linear in the text.

use rustc_hash::FxHashMap;

use super::super::letters::unsure;
use super::syntax::{Assert, Ast, Repeat, Set, is_word, refused};
use crate::expr::error::EvalError;
use crate::expr::functions::CaseRule;

/// A state of the nondeterministic automaton.
#[derive(Debug)]
enum State {
    /// Goes on without a character.
    Split(Vec<u32>),
    /// Goes on where a condition holds.
    Assert(Assert, u32),
    /// Goes on with a character of a set.
    Symbol(usize, u32),
    /// Goes on with any character.
    Any(u32),
}

/// States that all parts of one expression share.
#[derive(Debug, Default)]
pub(super) struct Nfa {
    states: Vec<State>,
}

/// More states than any reasonable expression needs.
const STATES_MAX: usize = 20_000;

/// States of one deterministic automaton before it starts anew.
const CACHED_MAX: usize = 1_000;

impl Nfa {
    fn add(&mut self, state: State) -> Result<u32, EvalError> {
        if self.states.len() >= STATES_MAX {
            return Err(refused());
        }
        self.states.push(state);
        Ok(self.states.len() as u32 - 1)
    }

    fn link(&mut self, from: u32, to: u32) {
        if let Some(State::Split(next)) = self.states.get_mut(from as usize) {
            next.push(to);
        }
    }

    /// An automaton for a part. One that `seeks` may start anywhere.
    pub(super) fn machine(&mut self, ast: &Ast, seeks: bool) -> Result<Dfa, EvalError> {
        let accept = self.add(State::Split(Vec::new()))?;
        let mut start = self.part(ast, accept)?;
        if seeks {
            let again = self.add(State::Split(vec![start]))?;
            let skip = self.add(State::Any(again))?;
            self.link(again, skip);
            start = again;
        }
        Ok(Dfa::new(start, accept))
    }

    /// The state from which a part leads to another state.
    fn part(&mut self, ast: &Ast, to: u32) -> Result<u32, EvalError> {
        match ast {
            Ast::Empty => Ok(to),
            Ast::Set(set) => self.add(State::Symbol(*set, to)),
            Ast::Assert(assert) => self.add(State::Assert(*assert, to)),
            Ast::Concat(items) => items.iter().rev().try_fold(to, |to, item| self.part(item, to)),
            Ast::Alternatives(branches) => {
                let starts = branches.iter().map(|branch| self.part(branch, to)).collect::<Result<_, _>>()?;
                self.add(State::Split(starts))
            }
            Ast::Repeat(inner, repeat) => self.repeated(inner, *repeat, to),
            Ast::Group(inner, _) => self.part(inner, to),
        }
    }

    fn repeated(&mut self, inner: &Ast, repeat: Repeat, to: u32) -> Result<u32, EvalError> {
        let mut start = to;
        match repeat.most {
            None => {
                let again = self.add(State::Split(vec![to]))?;
                let once = self.part(inner, again)?;
                self.link(again, once);
                start = again;
            }
            Some(most) => {
                for _ in repeat.least..most {
                    let once = self.part(inner, start)?;
                    start = self.add(State::Split(vec![once, to]))?;
                }
            }
        }
        (0..repeat.least).try_fold(start, |start, _| self.part(inner, start))
    }
}

/// What stands in front of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Before {
    /// Nothing.
    Start,
    /// A line end.
    Newline,
    /// A character of a word.
    Word,
    Other,
}

/// Characters that no part of the expression tells apart.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// The sets that contain them, one bit each.
    sets: u128,
    before: Before,
}

/// Sets that fit into the bits.
const SETS_MAX: usize = 126;

/// Characters beyond ASCII whose kind is remembered.
const LETTERS_MAX: usize = 4096;

/// Characters by their kind.
#[derive(Debug)]
pub(super) struct Alphabet {
    sets: Vec<Set>,
    rule: CaseRule,
    /// Whether conditions ask what stands in front of a place.
    has_asserts: bool,
    has_words: bool,
    kinds: Vec<Kind>,
    by_content: FxHashMap<(u128, Before), u16>,
    by_ascii: [Option<u16>; 128],
    by_letter: FxHashMap<char, u16>,
}

impl Alphabet {
    pub(super) fn new(sets: Vec<Set>, ast: &Ast, rule: CaseRule) -> Result<Alphabet, EvalError> {
        if sets.len() > SETS_MAX {
            return Err(refused());
        }
        let has_asserts = has_assert(ast, |_| true);
        let has_words = has_assert(ast, Assert::needs_words);
        let (by_content, by_letter) = (FxHashMap::default(), FxHashMap::default());
        Ok(Alphabet {
            sets,
            rule,
            has_asserts,
            has_words,
            kinds: Vec::new(),
            by_content,
            by_ascii: [None; 128],
            by_letter,
        })
    }

    /// The kinds of the characters of a text.
    pub(super) fn kinds_of(&mut self, text: &str) -> Result<Vec<u16>, EvalError> {
        text.chars().map(|letter| self.kind_of(letter)).collect()
    }

    fn kind_of(&mut self, letter: char) -> Result<u16, EvalError> {
        let ascii = self.by_ascii.get(letter as usize);
        let known = ascii.map_or_else(|| self.by_letter.get(&letter).copied(), |known| *known);
        if let Some(kind) = known {
            return Ok(kind);
        }
        let mut sets = 0;
        for (at, set) in self.sets.iter().enumerate() {
            sets |= u128::from(set.contains(letter, self.rule).ok_or_else(unsure)?) << at;
        }
        let before = match letter {
            _ if !self.has_asserts => Before::Other,
            '\n' => Before::Newline,
            _ if self.has_words && is_word(letter, self.rule)? => Before::Word,
            _ => Before::Other,
        };
        let kinds = &mut self.kinds;
        let kind = *self.by_content.entry((sets, before)).or_insert_with(|| {
            kinds.push(Kind { sets, before });
            kinds.len() as u16 - 1
        });
        if let Some(known) = self.by_ascii.get_mut(letter as usize) {
            *known = Some(kind);
            return Ok(kind);
        }
        if self.by_letter.len() >= LETTERS_MAX {
            self.by_letter.clear();
        }
        self.by_letter.insert(letter, kind);
        Ok(kind)
    }
}

fn has_assert(ast: &Ast, which: fn(Assert) -> bool) -> bool {
    match ast {
        Ast::Empty | Ast::Set(_) => false,
        Ast::Assert(assert) => which(*assert),
        Ast::Concat(items) | Ast::Alternatives(items) => items.iter().any(|item| has_assert(item, which)),
        Ast::Repeat(inner, _) | Ast::Group(inner, _) => has_assert(inner, which),
    }
}

/// A deterministic automaton that is built while it runs.
#[derive(Debug)]
pub(super) struct Dfa {
    start: u32,
    accept: u32,
    states: Vec<(Box<[u32]>, Before)>,
    by_content: FxHashMap<(Box<[u32]>, Before), u32>,
    /// For each state and kind the next state and whether a match ends in front of the character; zero is unknown. The
    /// first stands for the end of the text.
    steps: Vec<Vec<u32>>,
}

/// The state from which nothing matches.
const DEAD: u32 = 0;

impl Dfa {
    fn new(start: u32, accept: u32) -> Dfa {
        let mut dfa =
            Dfa { start, accept, states: Vec::new(), by_content: FxHashMap::default(), steps: Vec::new() };
        dfa.forget();
        dfa
    }

    fn forget(&mut self) {
        self.states.clear();
        self.by_content.clear();
        self.steps.clear();
        self.state(Box::default(), Before::Other);
    }

    fn state(&mut self, members: Box<[u32]>, before: Before) -> u32 {
        let before = if members.is_empty() { Before::Other } else { before };
        if let Some(known) = self.by_content.get(&(members.clone(), before)) {
            return *known;
        }
        let number = self.states.len() as u32;
        self.states.push((members.clone(), before));
        self.steps.push(Vec::new());
        self.by_content.insert((members, before), number);
        number
    }

    /// Calls `found` with every place where a match that starts at `from` ends, up to `to`, until it returns false.
    pub(super) fn scan(
        &mut self,
        on: (&Nfa, &Alphabet, &[u16]),
        (from, to): (usize, usize),
        mut found: impl FnMut(usize) -> bool,
    ) {
        let (nfa, alphabet, kinds) = on;
        let before = match from.checked_sub(1).and_then(|at| kinds.get(at)) {
            Some(kind) => alphabet.kinds[usize::from(*kind)].before,
            None if alphabet.has_asserts => Before::Start,
            None => Before::Other,
        };
        if self.states.len() > CACHED_MAX {
            self.forget();
        }
        let mut state = self.state(Box::from([self.start]), before);
        for at in from..=to {
            let step = self.step(nfa, alphabet, state, kinds.get(at).copied());
            if (step & 1 != 0 && !found(at)) || step >> 2 == DEAD {
                return;
            }
            state = step >> 2;
            if self.states.len() > CACHED_MAX {
                let (members, before) = self.states[state as usize].clone();
                self.forget();
                state = self.state(members, before);
            }
        }
    }

    /// The next state above two bits: whether a match ends here, and one that tells it from an unknown step.
    fn step(&mut self, nfa: &Nfa, alphabet: &Alphabet, state: u32, kind: Option<u16>) -> u32 {
        let at = kind.map_or(0, |kind| usize::from(kind) + 1);
        let known = self.steps[state as usize].get(at).copied().unwrap_or(0);
        if known != 0 {
            return known;
        }
        let (members, before) = self.states[state as usize].clone();
        let kind = kind.map(|kind| alphabet.kinds[usize::from(kind)]);
        let reached = closure(nfa, &members, (before, kind.map(|kind| kind.before)));
        let accepts = reached.contains(&self.accept);
        let mut next = Vec::new();
        for member in reached {
            match (&nfa.states[member as usize], kind) {
                (State::Symbol(set, to), Some(kind)) if kind.sets >> set & 1 == 1 => next.push(*to),
                (State::Any(to), Some(_)) => next.push(*to),
                _ => {}
            }
        }
        next.sort_unstable();
        next.dedup();
        let next = self.state(next.into(), kind.map_or(Before::Other, |kind| kind.before));
        let step = next << 2 | 2 | u32::from(accepts);
        let steps = &mut self.steps[state as usize];
        if steps.len() <= at {
            steps.resize(at + 1, 0);
        }
        steps[at] = step;
        step
    }
}

/// Every state that is reached without a character between what stands in front and behind; none behind is the end.
fn closure(nfa: &Nfa, members: &[u32], between: (Before, Option<Before>)) -> Vec<u32> {
    let mut reached = members.to_vec();
    let mut is_reached = vec![false; nfa.states.len()];
    members.iter().for_each(|member| is_reached[*member as usize] = true);
    let mut at = 0;
    while let Some(member) = reached.get(at).copied() {
        at += 1;
        let next: &[u32] = match &nfa.states[member as usize] {
            State::Split(next) => next,
            State::Assert(assert, to) if holds(*assert, between) => std::slice::from_ref(to),
            _ => &[],
        };
        for state in next {
            if !std::mem::replace(&mut is_reached[*state as usize], true) {
                reached.push(*state);
            }
        }
    }
    reached
}

fn holds(assert: Assert, (before, behind): (Before, Option<Before>)) -> bool {
    let (from_word, to_word) = (before == Before::Word, behind == Some(Before::Word));
    match assert {
        Assert::Start => before == Before::Start,
        Assert::End => behind.is_none(),
        Assert::LineStart => matches!(before, Before::Start | Before::Newline),
        Assert::LineEnd => matches!(behind, None | Some(Before::Newline)),
        Assert::WordStart => !from_word && to_word,
        Assert::WordEnd => from_word && !to_word,
        Assert::WordEdge => from_word != to_word,
        Assert::NoWordEdge => from_word == to_word,
    }
}
