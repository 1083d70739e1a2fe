//! The tasks of one connection of HTTP/2, which end with it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::task::JoinSet;

/// Runs tasks until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// For the connection, whose own tasks may hold it without keeping themselves alive.
    pub(crate) fn executor(&self) -> Executor {
        Executor(Arc::downgrade(&self.0))
    }
}

/// Runs tasks as long as their [`Tasks`] are there.
#[derive(Clone, Debug)]
pub(crate) struct Executor(Weak<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        let Some(tasks) = self.0.upgrade() else {
            return;
        };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move { drop(task.await) });
    }
}
