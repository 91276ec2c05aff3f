//! Regular expressions, matched as Postgres matches advanced ones: the earliest match, as long or as short as the whole
//! expression wishes, divided among its parentheses from left to right.

mod functions;
mod machine;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::super::CaseRule;
use crate::expr::error::EvalError;
pub(super) use functions::*;
use machine::{Alphabet, Dfa, Nfa};
use syntax::Options;
use tree::{Captures, Subject, Tree};

/// A compiled expression.
#[derive(Debug)]
struct Regex {
    nfa: Nfa,
    alphabet: Alphabet,
    /// Finds whether anything matches, and where the match that ends first does.
    seeker: Dfa,
    tree: Tree,
    groups: usize,
}

/// Expressions that a thread keeps compiled.
const CACHED_MAX: usize = 64;

/// The compiled forms of one pattern.
type Forms = Vec<(Options, CaseRule, Rc<RefCell<Regex>>)>;

thread_local! {
    static CACHE: RefCell<FxHashMap<String, Forms>> = RefCell::default();
}

/// The compiled form of a pattern.
fn compiled(pattern: &str, options: Options, rule: CaseRule) -> Result<Rc<RefCell<Regex>>, EvalError> {
    let known = CACHE.with_borrow(|cache| {
        let forms = cache.get(pattern)?;
        let form = forms.iter().find(|(known, by, _)| (*known, *by) == (options, rule));
        form.map(|(_, _, regex)| regex.clone())
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let regex = Rc::new(RefCell::new(Regex::new(pattern, options, rule)?));
    CACHE.with_borrow_mut(|cache| {
        if cache.len() >= CACHED_MAX {
            cache.clear();
        }
        cache.entry(pattern.to_owned()).or_default().push((options, rule, regex.clone()));
    });
    Ok(regex)
}

/// A text as a regular expression sees it.
struct Text<'t> {
    text: &'t str,
    kinds: Vec<u16>,
    /// Where each character starts; left out where each is one byte.
    starts: Vec<usize>,
}

impl<'t> Text<'t> {
    fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The part between two characters.
    fn part(&self, (from, to): (usize, usize)) -> &'t str {
        if self.text.len() == self.kinds.len() {
            return &self.text[from..to];
        }
        let start = |at: usize| self.starts.get(at).copied().unwrap_or(self.text.len());
        &self.text[start(from)..start(to)]
    }
}

impl Regex {
    fn new(pattern: &str, options: Options, rule: CaseRule) -> Result<Regex, EvalError> {
        let parsed = syntax::parse(pattern, options, rule)?;
        let mut nfa = Nfa::default();
        let seeker = nfa.machine(&parsed.ast, true)?;
        let tree = Tree::new(&parsed.ast, &mut nfa)?;
        let alphabet = Alphabet::new(parsed.sets, &parsed.ast, rule)?;
        Ok(Regex { nfa, alphabet, seeker, tree, groups: parsed.groups })
    }

    fn read<'t>(&mut self, text: &'t str) -> Result<Text<'t>, EvalError> {
        let kinds = self.alphabet.kinds_of(text)?;
        let starts = if kinds.len() == text.len() { Vec::new() } else { starts(text) };
        Ok(Text { text, kinds, starts })
    }

    /// Whether anything matches.
    fn is_match(&mut self, text: &Text<'_>) -> bool {
        let subject = Subject { nfa: &self.nfa, alphabet: &self.alphabet, kinds: &text.kinds };
        subject.first_end(&mut self.seeker, 0).is_some()
    }

    /// The first match from a place on.
    fn find(&mut self, text: &Text<'_>, from: usize) -> Option<(usize, usize)> {
        if from > text.len() {
            return None;
        }
        let subject = Subject { nfa: &self.nfa, alphabet: &self.alphabet, kinds: &text.kinds };
        let first_end = subject.first_end(&mut self.seeker, from)?;
        (from..=first_end).find_map(|start| Some((start, self.tree.end(subject, start)?)))
    }

    /// What the parentheses of a match hold, the whole match in front.
    fn captures(&mut self, text: &Text<'_>, found: (usize, usize)) -> Captures {
        let mut captures = vec![None; self.groups + 1];
        captures[0] = Some(found);
        if self.groups > 0 {
            let subject = Subject { nfa: &self.nfa, alphabet: &self.alphabet, kinds: &text.kinds };
            self.tree.divide(subject, found, &mut captures);
        }
        captures
    }
}

fn starts(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).collect()
}
