//! The atomics that shared memory is made of, under one name: the models in `tests/models` put loom's in
//! their place.

pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
