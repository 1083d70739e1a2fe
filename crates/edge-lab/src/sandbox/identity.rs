//! Names of running labs.

use std::fmt;
use std::str::FromStr;

/// A lab's name on this machine: its outermost process, and when that started, so that a reused process number is not
/// taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabId {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub started: u64,
}

/// Text that names no lab.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not name a lab")]
pub struct LabIdError(String);

impl LabId {
    /// The lab that the calling process would hold.
    pub fn of_this_process() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// The lab that a process would hold; `None` where there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let started = start_time(&stat)?;
        Some(Self { pid, started })
    }

    /// Does the process still run?
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// Field 22, counted after the command in parentheses, which may hold spaces and parentheses itself. A zombie has none:
/// it holds nothing any more.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl fmt::Display for LabId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.pid, self.started)
    }
}

impl FromStr for LabId {
    type Err = LabIdError;

    fn from_str(text: &str) -> Result<Self, LabIdError> {
        let parse = || {
            let (pid, started) = text.split_once('-')?;
            Some(Self {
                pid: pid.parse().ok()?,
                started: started.parse().ok()?,
            })
        };
        parse().ok_or_else(|| LabIdError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_read_behind_any_command_name() {
        let stat = "7 (a) b ) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2 3";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time(&stat.replace(" S ", " Z ")), None);
        assert_eq!(start_time("7 (a"), None);
    }

    #[test]
    fn text_round_trips_and_only_names_are_read() {
        let id = LabId {
            pid: 12,
            started: 34,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "12", "12-", "-1", "12-34-5", "../x"] {
            assert_eq!(bad.parse::<LabId>(), Err(LabIdError(bad.to_owned())));
        }
    }

    #[test]
    fn this_process_is_alive_and_a_former_one_is_not() {
        let own = LabId::of_this_process().unwrap();
        assert!(own.is_alive());
        let former = LabId {
            started: own.started + 1,
            ..own
        };
        assert!(!former.is_alive());
    }
}
