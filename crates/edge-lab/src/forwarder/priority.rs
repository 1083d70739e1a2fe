//! A place before others on the processors, for packets to be in time.

/// How the forwarder's thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Before all ordinary threads (`SCHED_FIFO`).
    Realtime,
    /// Preferred among ordinary threads.
    Preferred,
    /// As any other: this user may not ask for more.
    Ordinary,
}

/// Real-time priority, the lowest but some: above ordinary threads is enough.
const REALTIME: libc::c_int = 10;

/// Nice value for where real time is not allowed.
const NICE: libc::c_int = -15;

/// Asks for the best place that the calling thread may have.
pub(super) fn raise() -> Priority {
    // Timers of ordinary threads are otherwise up to 50 us late by design. Refused for real-time threads, which
    // have no such slack.
    let _ = nix::sys::prctl::set_timerslack(1);
    let parameters = libc::sched_param {
        sched_priority: REALTIME,
    };
    #[expect(unsafe_code, reason = "no safe wrapper sets a thread's scheduling")]
    // SAFETY: 0 stands for the calling thread, and `parameters` outlives the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) } == 0 {
        return Priority::Realtime;
    }
    #[expect(unsafe_code, reason = "no safe wrapper sets a thread's nice value")]
    // SAFETY: no memory is passed; on Linux 0 stands for the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } == 0 {
        return Priority::Preferred;
    }
    Priority::Ordinary
}
