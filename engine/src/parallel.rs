//! Work that is done on all cores.

use std::iter::Enumerate;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::{ScopedJoinHandle, available_parallelism};
use std::vec::IntoIter;

use futures::future::BoxFuture;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;

/// Asked once: the answer is read from files.
static CORES: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, usize::from));

/// What is made of each item, in the order of the items. Returns when all is made; a panic goes on in the caller.
pub fn map<T: Sync, R: Send>(items: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut made = vec![];
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(index)
        {
            made.push((index, make(item)));
        }
        made
    };
    let mut made: Vec<_> = std::thread::scope(|scope| {
        let threads = 0..(*CORES).min(items.len());
        let threads: Vec<_> = threads.map(|_| scope.spawn(some)).collect();
        let ended = threads.into_iter().map(ScopedJoinHandle::join);
        let made = ended.map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic)));
        made.flatten().collect()
    });
    made.sort_unstable_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, made)| made).collect()
}

/// Does work on each item, on all cores if the runtime has several threads, and begins in the order in which they stand. Gives
/// the items back in that order, with what became of each. A panic goes on in the caller.
pub async fn each<T: Send + 'static, R: Send + 'static>(
    items: Vec<T>,
    work: impl for<'a> Fn(&'a mut T) -> BoxFuture<'a, R> + Send + Sync + 'static,
) -> Vec<(T, R)> {
    let threads = match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::CurrentThread) | Err(_) => 1,
        Ok(_) => (*CORES).min(items.len()),
    };
    let left = Arc::new(Mutex::new(items.into_iter().enumerate()));
    let work = Arc::new(work);
    let mut others = JoinSet::new();
    for _ in 1..threads {
        others.spawn(some(left.clone(), work.clone()));
    }
    let mut done = some(left, work).await;
    while let Some(ended) = others.join_next().await {
        match ended.map_err(|error| error.try_into_panic()) {
            Ok(more) => done.extend(more),
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime is shut down, and the caller with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
    done.sort_unstable_by_key(|(index, ..)| *index);
    done.into_iter()
        .map(|(_, item, made)| (item, made))
        .collect()
}

/// Takes items that are left, until there are none.
async fn some<T, R>(
    left: Arc<Mutex<Enumerate<IntoIter<T>>>>,
    work: Arc<impl for<'a> Fn(&'a mut T) -> BoxFuture<'a, R>>,
) -> Vec<(usize, T, R)> {
    let mut done = vec![];
    loop {
        let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((index, mut item)) = next else {
            return done;
        };
        let made = work(&mut item).await;
        done.push((index, item, made));
        // Other tasks of the runtime wait no longer than one item takes.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// On several threads, on one, and without a runtime.
    #[test]
    fn items_come_back_in_their_order_with_what_became_of_them() {
        let work = || async {
            let items: Vec<u64> = (0..1_000).collect();
            let done = each(items, |item| {
                async move {
                    tokio::task::yield_now().await;
                    *item += 1;
                    *item * *item
                }
                .boxed()
            })
            .await;
            let expected: Vec<(u64, u64)> = (1..=1_000).map(|n| (n, n * n)).collect();
            assert_eq!(done, expected);
        };
        let threads = tokio::runtime::Builder::new_multi_thread().build();
        threads.expect("a runtime").block_on(work());
        let one = tokio::runtime::Builder::new_current_thread().build();
        one.expect("a runtime").block_on(work());
        futures::executor::block_on(work());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[should_panic(expected = "item 500")]
    async fn a_panic_goes_on_in_the_caller() {
        let items: Vec<u64> = (0..1_000).collect();
        each(items, |item| {
            async move { assert!(*item != 500, "item 500") }.boxed()
        })
        .await;
    }

    #[test]
    fn results_stand_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..1_000).collect();
        let squares: Vec<u64> = items.iter().map(|item| item * item).collect();
        assert_eq!(map(&items, |item| item * item), squares);
        assert!(map(&items[..0], |item| *item).is_empty());
    }
}
