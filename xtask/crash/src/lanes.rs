//! Several things at a time: their processes mostly wait.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use crate::is_interrupted;

/// Plays one item after the other in so many threads. `done` hears of each, in this thread, and says whether more are
/// to be begun; those that have been are played to their end. After Ctrl-C nobody hears of anything.
pub(crate) fn play_all<T: Send, R: Send>(
    lanes: usize,
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    play: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(T, R) -> ControlFlow<()>,
) {
    let items = Mutex::new(Some(items.into_iter()));
    let lock = || items.lock().expect("no iterator panics");
    let next = || lock().as_mut().filter(|_| !is_interrupted())?.next();
    let (sender, played) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..lanes {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                while let Some(item) = next() {
                    // It is received as long as a sender lives.
                    let played = play(&item);
                    let _ = sender.send((item, played));
                }
            });
        }
        drop(sender);
        for (item, played) in played {
            // Everyone in it may have got the same Ctrl-C.
            if !is_interrupted() && done(item, played).is_break() {
                *lock() = None;
            }
        }
    });
}
