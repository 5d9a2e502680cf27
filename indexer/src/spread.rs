//! Work on many things with several threads.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Calls `work` with each of `things` on as many threads as there are cores, and `done` on this thread with
/// each number and outcome, in the order in which they are ready, until it breaks.
pub(crate) fn spread<T: Sync, R: Send>(
    things: &[T],
    work: impl Fn(&T) -> R + Sync,
    done: &mut dyn FnMut(usize, R) -> ControlFlow<()>,
) {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 16)).min(things.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(4 * threads.max(1));
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(number) else { return };
                    if sender.send((number, work(thing))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (number, outcome) in receiver {
            if done(number, outcome).is_break() {
                return; // the closed channel ends the threads
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_a_break_ends_it() {
        let things: Vec<usize> = (0..1000).collect();
        let mut seen = vec![0; things.len()];
        spread(&things, |thing| thing * 2, &mut |number, outcome| {
            assert_eq!(outcome, number * 2);
            seen[number] += 1;
            ControlFlow::Continue(())
        });
        assert!(seen.iter().all(|times| *times == 1));
        let mut count = 0;
        spread(&things, |thing| *thing, &mut |_, _| {
            count += 1;
            ControlFlow::Break(())
        });
        assert_eq!(count, 1);
        spread(&[] as &[u8], |_| (), &mut |_, ()| unreachable!());
    }
}
