//! Exploring a model, which must hold, and one that must not.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use loom::model::Builder;

use crate::fence::futex;
use crate::mutant::Mutant;
use crate::sync::{self, Ordering};

/// What loom says of somebody whom nobody wakes.
pub(crate) const LOST: &str = "deadlock";

/// Explores all that a model may do with so many preemptions.
pub(crate) fn prove(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    // LOOM_MAX_PREEMPTIONS explores further.
    builder.preemption_bound = builder.preemption_bound.max(Some(preemptions));
    builder.max_branches = 10_000;
    let runs = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&runs);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        sync::begin();
        futex::begin();
        model();
    });
    println!("{} runs", runs.load(Ordering::Relaxed));
}

/// Explores a model that must fail, with a message that contains `because`.
pub(crate) fn refute(because: &str, preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let explored = panic::catch_unwind(AssertUnwindSafe(|| prove(preemptions, model)));
    let why = explored.expect_err("it was not noticed");
    let text = why.downcast_ref::<String>().map(String::as_str);
    let text = text.or(why.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(text.contains(because), "another thing was noticed: {text}");
}

/// The same of the product with one change.
pub(crate) fn refute_mutant(
    mutant: &Mutant,
    because: &str,
    preemptions: usize,
    model: impl Fn() + Sync + Send + 'static,
) {
    println!("{mutant:?}");
    mutant.set();
    refute(because, preemptions, model);
    Mutant::unset();
}
