//! The evaluator whose cost grows with the request and not with the policies.
//!
//! ```text
//! request ─► lookup: each value, once ─► clauses that hold (a bitmap) ─► candidate rules ─► first that matches, per set
//! ```
//!
//! A rule is a candidate only when its *key* holds: the rarest clause, or the rarest one of each alternative, without
//! which it cannot match. So of ten thousand rules with a path each, a request makes those few candidates whose path it
//! has. Rules without such a key (only `notX`, or nothing) are always candidates; of those the first few usually match.

mod claims;
mod identity;
mod lookup;
mod network;
mod path;
mod posting;
mod prefixes;
mod text;
mod token;

use std::ops::Range;

use lookup::Lookup;

use super::facts::{Facts, Needs};
use super::policy::{Policies, Rule, Set, Term};
use crate::order::sort_numbers;

/// The rules of some sets, ready to be asked.
#[derive(Debug)]
pub(super) struct Index {
    lookup: Lookup,
    needs: Needs,
    /// By clause: the rules whose key it belongs to.
    candidates: Vec<Vec<usize>>,
    /// The rules without a key.
    always: Vec<usize>,
    sets: Vec<(Set, Range<usize>)>,
}

/// What one request makes hold.
#[derive(Debug)]
pub(super) struct Hits {
    clauses: Bits,
    candidates: Vec<usize>,
}

impl Hits {
    /// The rules that have to be looked at.
    #[cfg(test)]
    pub(super) fn candidates(&self) -> &[usize] {
        &self.candidates
    }
}

impl Index {
    /// Indexes the rules of these sets.
    pub(super) fn new(policies: &Policies, sets: &[Set]) -> Self {
        let rules = || policies.rules.iter().enumerate().filter(|(_, rule)| sets.contains(&rule.set));
        let mut uses = vec![0_usize; policies.clauses.len()];
        let mut used = Bits::new(policies.clauses.len());
        for term in rules().flat_map(|(_, rule)| terms(rule)) {
            used.insert(term.clause);
            if let Some(count) = uses.get_mut(term.clause).filter(|_| !term.negated) {
                *count += 1;
            }
        }
        let mut lookup = Lookup::default();
        let clauses = || policies.clauses.iter().enumerate().filter(|(place, _)| used.contains(*place));
        clauses().for_each(|(place, clause)| lookup.add(place, clause));
        lookup.seal();
        let mut candidates = vec![Vec::new(); policies.clauses.len()];
        let mut always = Vec::new();
        for (place, rule) in rules() {
            let Some(key) = key(rule, &uses) else {
                always.push(place);
                continue;
            };
            for clause in key {
                if let Some(candidates) = candidates.get_mut(clause) {
                    candidates.push(place);
                }
            }
        }
        let sets = sets.iter().map(|set| (*set, range(&policies.rules, *set))).collect();
        Self { lookup, needs: Needs::of(clauses().map(|(_, clause)| clause)), candidates, always, sets }
    }

    /// Which facts the rules look at.
    pub(super) fn needs(&self) -> &Needs {
        &self.needs
    }

    /// Looks the request up.
    pub(super) fn look(&self, facts: &Facts<'_>) -> Hits {
        let mut clauses = Bits::new(self.candidates.len());
        let mut candidates = Vec::new();
        self.lookup.find(facts, &mut |clause| {
            if clauses.insert(clause) {
                candidates.extend(self.candidates.get(clause).into_iter().flatten().copied());
            }
        });
        sort_numbers(&mut candidates);
        Hits { clauses, candidates }
    }

    /// The first rule of a set that matches.
    pub(super) fn first<'p>(&self, policies: &'p Policies, set: Set, hits: &Hits) -> Option<&'p Rule> {
        let (_, range) = self.sets.iter().find(|(other, _)| *other == set)?;
        let mut keyed = within(&hits.candidates, range).peekable();
        let mut always = within(&self.always, range).peekable();
        loop {
            let place = match (keyed.peek(), always.peek()) {
                (Some(a), Some(b)) if a < b => keyed.next(),
                (_, Some(_)) => always.next(),
                (_, None) => keyed.next(),
            }?;
            let rule = policies.rules.get(place)?;
            if rule.matches(|clause| hits.clauses.contains(clause)) {
                return Some(rule);
            }
        }
    }
}

/// The clauses one of which must hold for the rule to match, those that fewest rules use; none if there are no such.
fn key(rule: &Rule, uses: &[usize]) -> Option<Vec<usize>> {
    let count = |clause: &usize| uses.get(*clause).copied().unwrap_or(usize::MAX);
    let rarest = |terms: &[Term]| terms.iter().filter(|term| !term.negated).map(|term| term.clause).min_by_key(count);
    let alternatives = |groups: &[Vec<Term>]| {
        let key: Option<Vec<usize>> = groups.iter().map(|terms| rarest(terms)).collect();
        key.filter(|key| !key.is_empty())
    };
    let keys = [alternatives(&rule.from), alternatives(&rule.to), rarest(&rule.when).map(|clause| vec![clause])];
    let mut key = keys.into_iter().flatten().min_by_key(|key| (key.iter().map(count).max(), key.len()))?;
    sort_numbers(&mut key);
    Some(key)
}

fn terms(rule: &Rule) -> impl Iterator<Item = &Term> {
    rule.from.iter().chain(&rule.to).flatten().chain(&rule.when)
}

/// Where the rules of a set stand; they are sorted by set.
fn range(rules: &[Rule], set: Set) -> Range<usize> {
    rules.partition_point(|rule| rule.set < set)..rules.partition_point(|rule| rule.set <= set)
}

/// The places, of sorted ones, that lie in a range.
fn within<'a>(places: &'a [usize], range: &Range<usize>) -> impl Iterator<Item = usize> + use<'a> {
    let start = places.partition_point(|place| *place < range.start);
    let end = places.partition_point(|place| *place < range.end);
    places.get(start..end).unwrap_or_default().iter().copied()
}

/// A set of small numbers.
#[derive(Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    /// Whether it was not there before.
    fn insert(&mut self, number: usize) -> bool {
        let Some(word) = self.0.get_mut(number / 64) else { return false };
        let bit = 1 << (number % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}
