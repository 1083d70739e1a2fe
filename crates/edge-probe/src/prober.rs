//! The thread that ties decisions and sockets together.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use edge_ports::{BoxFuture, Clock, PathSource, SystemClock, TraceError, TracePriority};
use edge_types::{MonotonicTime, PathObservation};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use tokio::sync::oneshot;

use crate::config::ProberConfig;
use crate::engine::{Action, Engine, ProbeCounters, Trail};
use crate::probe::Probe;
use crate::socket::{Link, Received, source_for};
use crate::start::{BackendInUse, StartError};

/// Replies read before it is somebody else's turn.
const BATCH: usize = 64;
/// Targets drawn from streams before replies are read again.
const DRAWN_AT_ONCE: usize = 256;
/// Requests that may wait for the thread.
const QUEUE: usize = 4096;
/// Trails kept for somebody to take.
const MOST_TRAILS: usize = 8192;

pub(crate) type Answer = Result<PathObservation, TraceError>;

/// Where an answer goes.
enum Asker {
    /// To one who waits for this target alone.
    One(oneshot::Sender<Answer>),
    /// To one who takes the answers for many targets as they come.
    Stream(mpsc::Sender<Answer>),
}

impl Asker {
    fn answer(self, answer: Answer) {
        // Whoever asked may have gone away.
        let _gone = match self {
            Self::One(one) => one.send(answer).is_err(),
            Self::Stream(stream) => stream.send(answer).is_err(),
        };
    }
}

/// Many targets, to be drawn one by one.
struct Stream {
    targets: Box<dyn Iterator<Item = IpAddr> + Send>,
    answers: mpsc::Sender<Answer>,
}

enum Request {
    One {
        target: IpAddr,
        priority: TracePriority,
        asker: Asker,
    },
    Many(Stream),
}

/// Traces paths to many targets from a few sockets per IP version.
///
/// The sockets and the thread live in the network namespace of the thread that calls [`Prober::start`]. Dropping the
/// prober stops the thread; traces under way end with [`TraceError::Stopped`].
#[derive(Debug)]
pub struct Prober {
    backend: BackendInUse,
    requests: Option<mpsc::SyncSender<Request>>,
    wake: Arc<EventFd>,
    counters: Arc<SharedCounters>,
    trails: Arc<Trails>,
    thread: Option<JoinHandle<()>>,
}

/// How paths were found, until somebody takes it.
type Trails = Mutex<BTreeMap<IpAddr, Trail>>;

#[derive(Debug, Default)]
struct SharedCounters {
    sent: AtomicU64,
    replies: AtomicU64,
    rejected: AtomicU64,
}

impl Prober {
    /// Opens the sockets and starts the thread. `PathObservation::observed_at` counts from now.
    pub fn start(config: ProberConfig) -> Result<Self, StartError> {
        Self::start_with_clock(config, SystemClock::start())
    }

    /// Like [`Prober::start`], with observation times by `clock`.
    pub fn start_with_clock(config: ProberConfig, clock: SystemClock) -> Result<Self, StartError> {
        let system = |what| move |cause: io::Error| StartError::System { what, cause };
        let (link, backend) = Link::open(&config)?;
        tracing::info!(%backend, method = ?config.method, "prober started");
        if config.origins.is_none() {
            tracing::info!("no table of origins: there are no probe budgets per autonomous system");
        }
        let config = ProberConfig {
            source_port: link.source_port().or(config.source_port),
            ..config
        };
        let wake = Arc::new(
            EventFd::from_value(0).map_err(|errno| system("a wake-up descriptor")(errno.into()))?,
        );
        let mut key = [0; 16];
        getrandom::fill(&mut key)
            .map_err(|error| system("a random key")(io::Error::other(error)))?;
        let counters = Arc::new(SharedCounters::default());
        let trails = Arc::new(Trails::default());
        let (requests, inbox) = mpsc::sync_channel(QUEUE);
        let worker = Worker {
            engine: Engine::new(config, key),
            link,
            clock,
            inbox,
            streams: Vec::new(),
            traces: BTreeMap::new(),
            wake: Arc::clone(&wake),
            counters: Arc::clone(&counters),
            trails: Arc::clone(&trails),
        };
        let thread = std::thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || worker.run())
            .map_err(system("a thread"))?;
        Ok(Self {
            backend,
            requests: Some(requests),
            wake,
            counters,
            trails,
            thread: Some(thread),
        })
    }

    /// Which sockets are in use, and why.
    pub const fn backend(&self) -> BackendInUse {
        self.backend
    }

    /// What was sent and received since the start.
    pub fn counters(&self) -> ProbeCounters {
        let counters = &self.counters;
        ProbeCounters {
            sent: counters.sent.load(Ordering::Relaxed),
            replies: counters.replies.load(Ordering::Relaxed),
            rejected: counters.rejected.load(Ordering::Relaxed),
        }
    }

    /// How the path to `target` was found, if [`ProberConfig::explain`] is set and it was given out lately; the second
    /// time `None`.
    pub fn take_trail(&self, target: IpAddr) -> Option<Trail> {
        let mut trails = self.trails.lock().unwrap_or_else(PoisonError::into_inner);
        trails.remove(&target)
    }

    /// Traces all `targets` at once and waits for the last. Not for asynchronous code: it blocks the thread.
    pub fn trace_all(
        &self,
        targets: impl IntoIterator<Item = IpAddr>,
    ) -> Vec<Result<PathObservation, TraceError>> {
        let answers: Vec<_> = targets
            .into_iter()
            .map(|target| self.request(target, TracePriority::New))
            .collect();
        answers
            .into_iter()
            .map(|answer| answer?.blocking_recv().unwrap_or(Err(TraceError::Stopped)))
            .collect()
    }

    /// Traces `targets`, drawn as they can be started; what comes of each goes into `answers`.
    pub(crate) fn trace_into(
        &self,
        targets: impl Iterator<Item = IpAddr> + Send + 'static,
        answers: &mpsc::Sender<Answer>,
    ) {
        let stream = Stream {
            targets: Box::new(targets),
            answers: answers.clone(),
        };
        let taken = self.requests.as_ref().is_some_and(|requests| {
            requests.send(Request::Many(stream)).is_ok() && self.wake.write(1).is_ok()
        });
        if !taken {
            Asker::Stream(answers.clone()).answer(Err(TraceError::Stopped));
        }
    }

    fn request(
        &self,
        target: IpAddr,
        priority: TracePriority,
    ) -> Result<oneshot::Receiver<Answer>, TraceError> {
        let (answer, receiver) = oneshot::channel();
        let request = Request::One {
            target,
            priority,
            asker: Asker::One(answer),
        };
        let requests = self.requests.as_ref().ok_or(TraceError::Stopped)?;
        requests.try_send(request).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => TraceError::OverBudget {
                target,
                scope: edge_ports::BudgetScope::Global,
            },
            mpsc::TrySendError::Disconnected(_) => TraceError::Stopped,
        })?;
        self.wake.write(1).map_err(|_| TraceError::Stopped)?;
        Ok(receiver)
    }
}

impl PathSource for Prober {
    fn trace(
        &self,
        target: IpAddr,
        priority: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        let answer = self.request(target, priority);
        Box::pin(async move { answer?.await.unwrap_or(Err(TraceError::Stopped)) })
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        drop(self.requests.take());
        if self.wake.write(1).is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the prober thread panicked");
        }
    }
}

/// A trace under way and who waits for it.
struct Trace {
    source: IpAddr,
    has_sent: bool,
    waiting: Vec<Asker>,
}

struct Worker {
    engine: Engine,
    link: Link,
    clock: SystemClock,
    inbox: mpsc::Receiver<Request>,
    streams: Vec<Stream>,
    traces: BTreeMap<IpAddr, Trace>,
    wake: Arc<EventFd>,
    counters: Arc<SharedCounters>,
    trails: Arc<Trails>,
}

impl Worker {
    fn run(mut self) {
        while self.take_requests() {
            let is_drawing = self.draw();
            while let Some(action) = self.engine.poll(self.clock.monotonic()) {
                match action {
                    Action::Send(probe) => self.send(&probe),
                    Action::Done(observation) => {
                        self.publish_trail(observation.target);
                        if let Some(trace) = self.traces.remove(&observation.target) {
                            for asker in trace.waiting {
                                asker.answer(Ok(observation.clone()));
                            }
                        }
                    }
                }
            }
            self.publish_counters();
            self.sleep(is_drawing);
            for _ in 0..BATCH {
                match self.link.receive() {
                    Some(Received::Reply { reply, queued_for }) => {
                        let now = self.clock.monotonic();
                        let received = MonotonicTime(now.0.saturating_sub(queued_for));
                        self.engine.on_reply(&reply, received, now);
                    }
                    Some(Received::Other) => {}
                    None => break,
                }
            }
        }
    }

    /// Takes in what was asked for; false once the prober is gone.
    fn take_requests(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Request::One {
                    target,
                    priority,
                    asker,
                }) => self.begin(target, priority, asker),
                Ok(Request::Many(stream)) => self.streams.push(stream),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Draws some targets from the streams if they can be started soon; true if more can.
    fn draw(&mut self) -> bool {
        for _ in 0..DRAWN_AT_ONCE {
            if !self.engine.wants_more() {
                return false;
            }
            let Some(stream) = self.streams.first_mut() else {
                return false;
            };
            match stream.targets.next() {
                Some(target) => {
                    let asker = Asker::Stream(stream.answers.clone());
                    self.begin(target, TracePriority::New, asker);
                }
                None => drop(self.streams.remove(0)),
            }
        }
        true
    }

    fn begin(&mut self, target: IpAddr, priority: TracePriority, asker: Asker) {
        if let Some(trace) = self.traces.get_mut(&target) {
            trace.waiting.push(asker);
            return;
        }
        let now = self.clock.monotonic();
        let begun = self.engine.begin(now, target, priority);
        let begun = begun.and_then(|gave_way| {
            if let Some(last) = gave_way
                && let Some(trace) = self.traces.remove(&last)
            {
                for asker in trace.waiting {
                    asker.answer(Err(TraceError::LeftOut(last)));
                }
            }
            source_for(target).map_err(|cause| {
                self.engine.abandon(target, now);
                TraceError::Send { target, cause }
            })
        });
        match begun {
            Ok(source) => {
                let trace = Trace {
                    source,
                    has_sent: false,
                    waiting: vec![asker],
                };
                self.traces.insert(target, trace);
            }
            Err(error) => asker.answer(Err(error)),
        }
    }

    fn send(&mut self, probe: &Probe) {
        let Some(trace) = self.traces.get_mut(&probe.target) else {
            return;
        };
        let text = &self.engine.config().identification;
        match self.link.send(probe, trace.source, text) {
            Ok(()) => trace.has_sent = true,
            Err(cause) if !trace.has_sent && !is_transient(&cause) => {
                self.engine.abandon(probe.target, self.clock.monotonic());
                if let Some(trace) = self.traces.remove(&probe.target) {
                    for asker in trace.waiting {
                        let cause = match cause.raw_os_error() {
                            Some(code) => io::Error::from_raw_os_error(code),
                            None => cause.kind().into(),
                        };
                        let target = probe.target;
                        asker.answer(Err(TraceError::Send { target, cause }));
                    }
                }
            }
            // Like a probe lost on the way.
            Err(cause) => tracing::debug!(target = %probe.target, %cause, "probe not sent"),
        }
    }

    /// Waits for a reply, a request, or the engine's next deadline; not at all if there is more to do.
    fn sleep(&self, is_busy: bool) {
        let deadline = self.engine.next_deadline();
        let timeout = if is_busy {
            Some(Duration::ZERO)
        } else {
            deadline.map(|at| at.since(self.clock.monotonic()))
        };
        let mut descriptors: Vec<PollFd<'_>> = self
            .link
            .receivers()
            .into_iter()
            .chain([self.wake.as_fd()])
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
            .collect();
        let woken = ppoll(&mut descriptors, timeout.map(TimeSpec::from_duration), None);
        match woken {
            Ok(_) => {
                let is_asked = descriptors.last().and_then(PollFd::any).unwrap_or(false);
                if is_asked {
                    // Resets the count of wake-ups; nothing can be wrong with it.
                    let _ = self.wake.read();
                }
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                tracing::warn!(%errno, "waiting for replies failed");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn publish_trail(&mut self, target: IpAddr) {
        if let Some(trail) = self.engine.take_trail(target) {
            let mut trails = self.trails.lock().unwrap_or_else(PoisonError::into_inner);
            if trails.len() >= MOST_TRAILS {
                trails.pop_first(); // nobody seems to take them
            }
            trails.insert(target, trail);
        }
    }

    fn publish_counters(&self) {
        let counters = self.engine.counters();
        let shared = &self.counters;
        shared.sent.store(counters.sent, Ordering::Relaxed);
        shared.replies.store(counters.replies, Ordering::Relaxed);
        shared.rejected.store(counters.rejected, Ordering::Relaxed);
    }
}

fn is_transient(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::WouldBlock
        || cause.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32)
}
