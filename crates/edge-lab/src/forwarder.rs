//! Carries packets between the parties' TUN devices, as the network's routers and links would.

mod awake;
mod burst;
mod engine;
mod priority;
mod queue;
mod ration;
mod statistics;

use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::network::Network;
use awake::Awake;
use burst::{OFFLOAD_OCTETS, Offload};
use engine::{AHEAD, Engine};
pub use priority::Priority;
pub use ration::Rations;
pub use statistics::{DropReason, Lateness, Statistics, StatisticsSnapshot, TrafficClass, Volume};

/// Packets read from one device before the others get their turn.
const READ_BATCH: usize = 64;

/// Packets read before what is due meanwhile is delivered.
const READ_STRIDE: usize = 16;

/// Octets read at once: the longest packet that IP allows, and what is in front of it.
const READ_OCTETS: usize = OFFLOAD_OCTETS + 65_535;

const STOP: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// The running forwarder. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Forwarder {
    thread: Option<JoinHandle<io::Result<()>>>,
    stop: Arc<EventFd>,
    priority: Priority,
    awake: Awake,
}

impl Forwarder {
    /// Starts the forwarder's thread. `devices[i]` is the TUN device of party `i` of the network.
    pub(crate) fn start(
        network: Arc<Network>,
        statistics: Arc<Statistics>,
        devices: Vec<File>,
    ) -> io::Result<Self> {
        let stop = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
        )?);
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        // Edge-triggered: setting the timer again is all the reset that it needs.
        epoll.add(
            &timer,
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER),
        )?;
        for (index, device) in (0u64..).zip(&devices) {
            epoll.add(device, EpollEvent::new(EpollFlags::EPOLLIN, index))?;
        }
        let (ready, is_ready) = mpsc::channel();
        let stays = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("forwarder".to_owned())
            .spawn(move || {
                let _stop = stays;
                let _ = ready.send(priority::raise());
                Wires {
                    epoll,
                    timer,
                    devices,
                    start: Instant::now(),
                }
                .carry(&mut Engine::new(network, statistics))
            })?;
        let priority = is_ready.recv().map_err(io::Error::other)?;
        Ok(Self {
            thread: Some(thread),
            stop,
            priority,
            awake: Awake::ask(),
        })
    }

    pub(crate) const fn priority(&self) -> Priority {
        self.priority
    }

    pub(crate) const fn keeps_processors_awake(&self) -> bool {
        self.awake.is_granted()
    }

    /// Ends the thread; packets under way are lost.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.stop.write(1)?;
        thread
            .join()
            .map_err(|_| io::Error::other("the forwarder's thread panicked"))?
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!(%error, "the forwarder ended early");
        }
    }
}

struct Wires {
    epoll: Epoll,
    timer: TimerFd,
    devices: Vec<File>,
    start: Instant,
}

impl Wires {
    fn carry(&self, engine: &mut Engine) -> io::Result<()> {
        let clock = || self.start.elapsed();
        let mut deliver = |device: usize, offload: &Offload, packet: &[u8]| {
            let parts = [IoSlice::new(offload.octets()), IoSlice::new(packet)];
            self.devices
                .get(device)
                .is_some_and(|mut device| device.write_vectored(&parts).is_ok())
        };
        let mut events = [EpollEvent::empty(); 64];
        let mut octets = vec![0; READ_OCTETS];
        let mut armed = None;
        loop {
            engine.run_due(&clock, &mut deliver);
            let timeout = self.arm(engine.next_due(), clock(), &mut armed)?;
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            for event in &events[..count] {
                let index = match event.data() {
                    STOP => return Ok(()),
                    TIMER => {
                        armed = None;
                        continue;
                    }
                    index => usize::try_from(index).unwrap_or(usize::MAX),
                };
                let Some(mut device) = self.devices.get(index) else {
                    continue;
                };
                for read in 1..=READ_BATCH {
                    match device.read(&mut octets) {
                        Ok(length) => {
                            if let Some((offload, packet)) = Offload::split(&mut octets[..length]) {
                                engine.receive(clock(), index, offload, packet);
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => break,
                    }
                    if read % READ_STRIDE == 0 {
                        engine.run_due(&clock, &mut deliver);
                    }
                }
            }
        }
    }

    /// Sets the timer for the next event, unless it is `armed` for an earlier one; says how long to wait for anything
    /// else meanwhile.
    fn arm(
        &self,
        due: Option<Duration>,
        now: Duration,
        armed: &mut Option<Duration>,
    ) -> io::Result<EpollTimeout> {
        let Some(due) = due else {
            return Ok(EpollTimeout::NONE);
        };
        if due <= now + AHEAD {
            return Ok(EpollTimeout::ZERO);
        }
        if armed.is_some_and(|at| at <= due) {
            return Ok(EpollTimeout::NONE);
        }
        *armed = Some(due);
        self.timer.set(
            Expiration::OneShot(TimeSpec::from_duration(due.saturating_sub(now))),
            TimerSetTimeFlags::empty(),
        )?;
        Ok(EpollTimeout::NONE)
    }
}
