//! The same work for many items, on several threads, with the same results on any number of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What `work` gives for each of 0 to `items`, in that order. It is told the item's number only, so results cannot depend on threads.
/// With 0 threads it is done on one.
pub fn map<T: Send>(items: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<T>>> = Mutex::new((0..items).map(|_| None).collect());
    let one = || {
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            if item >= items {
                return;
            }
            let result = work(item);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done[item] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items) {
            scope.spawn(one);
        }
        one();
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        for threads in [0, 1, 2, 4, 9] {
            let squares = map(50, threads, |item| item * item);
            assert_eq!(squares, (0..50).map(|item| item * item).collect::<Vec<_>>());
        }
        assert_eq!(map(0, 4, |item| item), Vec::<usize>::new());
    }
}
