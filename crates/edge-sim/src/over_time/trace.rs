//! Requests per minute from a file of them.

/// Longest trace that is read, in minutes: ten years.
pub const LONGEST_TRACE: usize = 10 * 366 * 1440;

/// A line of a trace cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// It is not `YEAR-MONTH-DAY HOUR:MINUTE:SECOND,REQUESTS`.
    #[error(
        "line {line} is not a minute and a number of requests, such as 1998-06-10 15:30:00,128565"
    )]
    Malformed {
        /// Its number, from 1.
        line: usize,
    },
    /// It is not later than the line before it.
    #[error("line {line} is not later than the one before it")]
    OutOfOrder {
        /// Its number, from 1.
        line: usize,
    },
    /// It is more than [`LONGEST_TRACE`] after the first.
    #[error("line {line} is more than ten years after the first")]
    TooLong {
        /// Its number, from 1.
        line: usize,
    },
}

/// Requests of each minute from the first one told to the last; minutes that are left out had none. A first line without a digit is taken
/// for a heading.
///
/// # Errors
/// [`TraceError`], for the first line that is not as it should be.
pub fn requests_per_minute(text: &str) -> Result<Vec<u64>, TraceError> {
    let mut counts = Vec::new();
    let mut first = None;
    for (number, line) in text.lines().enumerate() {
        let is_heading = number == 0 && !line.contains(|c: char| c.is_ascii_digit());
        if line.trim().is_empty() || is_heading {
            continue;
        }
        let line_number = number + 1;
        let (minute, count) = parsed(line).ok_or(TraceError::Malformed { line: line_number })?;
        let first = *first.get_or_insert(minute);
        let position = usize::try_from(minute - first)
            .ok()
            .filter(|position| *position >= counts.len())
            .ok_or(TraceError::OutOfOrder { line: line_number })?;
        if position >= LONGEST_TRACE {
            return Err(TraceError::TooLong { line: line_number });
        }
        counts.resize(position, 0);
        counts.push(count);
    }
    Ok(counts)
}

/// The minute since a fixed one, and the count.
fn parsed(line: &str) -> Option<(i64, u64)> {
    let (time, count) = line.trim().split_once(',')?;
    let (date, clock) = time.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut clock = clock.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute) = (clock.next()?.ok()?, clock.next()?.ok()?);
    let is_time = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute);
    if !is_time {
        return None;
    }
    // Years begin with March here, so that the odd day is the last of its year.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some((days * 1440 + hour * 60 + minute, count.trim().parse().ok()?))
}
