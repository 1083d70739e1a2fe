//! Paths that outlive the orchestrator's process, so that the next one begins with a tree instead of tracing everybody anew.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use edge_ports::{BoxFuture, Clock, PathSource, TraceError, TracePriority};
use edge_probe::{ImportedConfig, ImportedPaths, ImportedUse};
use edge_trace_files::{PathRecord, TraceDetails, write_json_line};
use edge_types::{MonotonicTime, PathObservation, PrefixGrouping, UtcTime};

use edge_console::path_files::load;

/// Most targets whose path is kept.
const MOST: usize = 100_000;

/// Paths that are older are not used. Any that is older than the refresh is traced again soon.
const MAX_AGE: Duration = Duration::from_hours(1);

/// Time between two writings.
const WRITE_EVERY: Duration = Duration::from_mins(1);

/// A source of paths that keeps the latest to each target in a file.
#[derive(Debug)]
pub(crate) struct Remembered {
    source: Arc<dyn PathSource>,
    clock: Arc<dyn Clock>,
    file: PathBuf,
    latest: Mutex<BTreeMap<IpAddr, (PathObservation, UtcTime)>>,
    has_news: AtomicBool,
}

/// Answers first questions from the file, if it is there and can be read, and all others by `source`.
pub(crate) fn recalled(
    file: &Path,
    grouping: PrefixGrouping,
    source: Arc<dyn PathSource>,
    clock: Arc<dyn Clock>,
) -> Arc<dyn PathSource> {
    if !file.exists() {
        return source;
    }
    let shown = file.display();
    let records = match load(file, None) {
        Ok(loaded) => loaded.import.records,
        Err(error) => {
            tracing::warn!(file = %shown, error = ?error, "remembered paths are not used");
            return source;
        }
    };
    tracing::info!(file = %shown, paths = records.len(), "paths remembered");
    let config = ImportedConfig {
        used: ImportedUse::Augment,
        max_age: Some(MAX_AGE),
        grouping: Some(grouping),
    };
    Arc::new(ImportedPaths::new(config, records, source, clock))
}

impl Remembered {
    pub(crate) fn new(file: PathBuf, source: Arc<dyn PathSource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            file,
            latest: Mutex::default(),
            has_news: AtomicBool::new(false),
        }
    }

    /// Writes the file every minute, if there is news, until the future is dropped.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(WRITE_EVERY).await;
            let this = Arc::clone(&self);
            let wrote = tokio::task::spawn_blocking(move || this.write()).await;
            if let Ok(Err(error)) = wrote {
                tracing::warn!(?error, "paths are not remembered");
            }
        }
    }

    /// Writes the file, if there is news.
    pub(crate) fn write(&self) -> Result<()> {
        if !self.has_news.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let latest = self.lock().clone();
        let shown = self.file.display();
        let fresh = self.file.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut out = BufWriter::new(private(&fresh)?);
            for (path, seen) in latest.into_values() {
                let path = PathObservation {
                    observed_at: MonotonicTime::ZERO,
                    ..path
                };
                let details = TraceDetails {
                    ended: Some(seen),
                    ..TraceDetails::default()
                };
                writeln!(out, "{}", write_json_line(&PathRecord { path, details }))?;
            }
            out.flush()?;
            std::fs::rename(&fresh, &self.file)
        };
        let wrote = write().with_context(|| format!("writing {shown}"));
        if wrote.is_err() {
            // It is tried again, whether or not anything new comes.
            self.has_news.store(true, Ordering::Relaxed);
        }
        wrote
    }

    fn note(&self, path: &PathObservation) {
        // It may come from a file itself, and be older than now.
        let age = self.clock.monotonic().since(path.observed_at).as_secs();
        let seen = UtcTime(self.clock.utc().0.saturating_sub(age));
        let mut latest = self.lock();
        if latest.len() < MOST || latest.contains_key(&path.target) {
            latest.insert(path.target, (path.clone(), seen));
            self.has_news.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<IpAddr, (PathObservation, UtcTime)>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new file that only its owner reads: it names clients.
fn private(file: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)
}

impl PathSource for Remembered {
    fn trace(
        &self,
        target: IpAddr,
        priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        Box::pin(async move {
            let path = self.source.trace(target, priority).await?;
            self.note(&path);
            Ok(path)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use edge_ports::SystemClock;
    use edge_types::{Hop, HopReply, PathEnd, Rtt};

    use super::*;

    /// Everybody is two hops away.
    #[derive(Debug, Default)]
    struct Asked(AtomicUsize);

    impl PathSource for Asked {
        fn trace(
            &self,
            target: IpAddr,
            _: TracePriority,
        ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let reply =
                |address, ms| Hop::Reply(HopReply::new(address, Rtt(Duration::from_millis(ms))));
            let path = PathObservation {
                target,
                observed_at: MonotonicTime::ZERO,
                hops: vec![reply("240.0.0.1".parse().unwrap(), 10), reply(target, 20)],
                further: Vec::new(),
                end: PathEnd::Reached,
                probes_sent: 2,
            };
            Box::pin(std::future::ready(Ok(path)))
        }
    }

    #[tokio::test]
    async fn the_next_process_asks_nobody_for_what_the_last_one_saw() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("paths.jsonl");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let (first, second) = (Arc::new(Asked::default()), Arc::new(Asked::default()));
        let targets: Vec<IpAddr> = (1..=3)
            .map(|n| format!("241.0.{n}.9").parse().unwrap())
            .collect();

        let source = recalled(&file, PrefixGrouping::SITE, first.clone(), clock.clone());
        let kept = Remembered::new(file.clone(), source, clock.clone());
        for target in &targets {
            kept.trace(*target, TracePriority::New).await.unwrap();
        }
        assert_eq!(first.0.load(Ordering::Relaxed), 3);
        kept.write().unwrap();

        let again = recalled(&file, PrefixGrouping::SITE, second.clone(), clock.clone());
        for target in &targets {
            let path = again.trace(*target, TracePriority::New).await.unwrap();
            assert_eq!((path.target, path.hops.len()), (*target, 2));
        }
        assert_eq!(second.0.load(Ordering::Relaxed), 0);
        again
            .trace(targets[0], TracePriority::Refresh)
            .await
            .unwrap();
        assert_eq!(
            second.0.load(Ordering::Relaxed),
            1,
            "what it is now is traced"
        );

        std::fs::write(&file, "{\"hops\":").unwrap();
        let damaged = recalled(&file, PrefixGrouping::SITE, second.clone(), clock);
        damaged.trace(targets[0], TracePriority::New).await.unwrap();
        assert_eq!(second.0.load(Ordering::Relaxed), 2);
    }
}
