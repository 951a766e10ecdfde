//! Mutants: the product with one change, which a model must notice, or it would prove nothing.
//!
//! The change is made in [`crate::sync`], to operations that are called from a certain place in the product's
//! source. So the product knows nothing of it, and a place that is not there any more is an error.

use std::cell::RefCell;
use std::panic::Location;

use crate::sync::Ordering;

/// A file that mutants are made of.
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Acquire and release instead of `SeqCst`.
    NotSeqCst,
    /// `Relaxed` instead of any order; a fence is left out.
    Unordered,
    /// Nothing is added to a number.
    NotAdded,
}

#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    file: &'static str,
    /// Lines, and in each the columns from where to where.
    places: Vec<(u32, u32, u32)>,
    change: Change,
}

thread_local! {
    /// All threads of a model run on the one that explores it, and each test has its own.
    static MUTANT: RefCell<Option<Mutant>> = const { RefCell::new(None) };
}

impl Mutant {
    /// Changes the operations in a piece of a line, wherever it occurs.
    pub(crate) fn of(source: &Source, piece: &str, change: Change) -> Self {
        let places = (1..).zip(source.text.lines()).filter_map(|(line, text)| {
            let from = text.find(piece)? as u32 + 1;
            Some((line, from, from + piece.len() as u32))
        });
        let places: Vec<_> = places.collect();
        assert!(!places.is_empty(), "there is no `{piece}` in {}", source.name);
        Self { file: source.name, places, change }
    }

    /// Only in one of the places where the piece occurs, counted from 0.
    pub(crate) fn only(self, place: usize) -> Self {
        Self { places: vec![self.places[place]], ..self }
    }

    /// From here on it is what this thread explores.
    pub(crate) fn set(&self) {
        MUTANT.set(Some(self.clone()));
    }

    pub(crate) fn unset() {
        MUTANT.set(None);
    }

    fn is_at(&self, at: &Location<'_>) -> bool {
        let is_in = |&(line, from, to): &(u32, u32, u32)| {
            line == at.line() && (from..to).contains(&at.column())
        };
        at.file().ends_with(self.file) && self.places.iter().any(is_in)
    }
}

/// What is changed where an operation is called. (All on the way here track their callers.)
#[track_caller]
pub(crate) fn here() -> Option<Change> {
    let at = Location::caller();
    MUTANT.with_borrow(|mutant| mutant.as_ref().filter(|it| it.is_at(at)).map(|it| it.change))
}

/// The order that an operation has there. `half` is what is left of `SeqCst`.
#[track_caller]
pub(crate) fn order(order: Ordering, half: Ordering) -> Ordering {
    match here() {
        Some(Change::NotSeqCst) if order == Ordering::SeqCst => half,
        Some(Change::Unordered) => Ordering::Relaxed,
        _ => order,
    }
}
