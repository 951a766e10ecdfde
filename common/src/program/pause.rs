//! A short wait that ends in time, whatever signals come.

use std::thread;
use std::time::Duration;

/// Waits for about so long. Unlike `sleep`, which after each signal sleeps for what is left *and* the
/// timer's slack of 50 µs (`prctl(2)`), and so never ends under a signal every 50 µs: this has a deadline.
pub fn pause(limit: Duration) {
    thread::park_timeout(limit);
}
