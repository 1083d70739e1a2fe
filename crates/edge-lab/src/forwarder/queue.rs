//! Packets under way, ordered by when something happens to them next.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Octets of the sizes of buffers: acknowledgements, probes and ICMP errors; single packets; the first window of a TCP
/// connection; the longest burst.
const SIZES: [usize; 4] = [256, 1536, 16 << 10, 64 << 10];

/// Packets under way at most: about as many as a 10 Gbit/s path of 100 ms holds.
const MAX_PACKETS: usize = 1 << 17;

/// Octets of buffers at most.
const MAX_OCTETS: usize = 96 << 20;

/// Buffers for packets, used again and again.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// By position in [`SIZES`].
    free: [Vec<Box<[u8]>>; SIZES.len()],
    allocated: usize,
}

/// One packet's octets.
#[derive(Debug)]
pub(super) struct Buffer {
    octets: Box<[u8]>,
    len: usize,
}

impl Buffer {
    pub(super) fn packet(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    pub(super) fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.octets[..self.len]
    }
}

impl Pool {
    /// A copy of `packet`; `None` if it is too long or memory is used up.
    pub(super) fn copy(&mut self, packet: &[u8]) -> Option<Buffer> {
        let fits = SIZES.iter().position(|size| packet.len() <= *size)?;
        let size = SIZES[fits];
        let mut octets = match self.free[fits].pop() {
            Some(octets) => octets,
            None if self.allocated + size <= MAX_OCTETS => {
                self.allocated += size;
                vec![0; size].into_boxed_slice()
            }
            None => return None,
        };
        octets[..packet.len()].copy_from_slice(packet);
        Some(Buffer {
            octets,
            len: packet.len(),
        })
    }

    pub(super) fn give_back(&mut self, buffer: Buffer) {
        let size = buffer.octets.len();
        if let Some(fits) = SIZES.iter().position(|known| *known == size) {
            self.free[fits].push(buffer.octets);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    due: Duration,
    sequence: u64,
    slot: u32,
}

impl Ord for Entry {
    /// The greatest is the earliest; of equals, the first that came.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.sequence).cmp(&(self.due, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Things with a time each, taken out in order of time, then of arrival.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    heap: BinaryHeap<Entry>,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    sequence: u64,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
        }
    }
}

impl<T> Schedule<T> {
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Adds; gives the thing back where there are too many.
    pub(super) fn push(&mut self, due: Duration, thing: T) -> Result<(), T> {
        if self.heap.len() >= MAX_PACKETS {
            return Err(thing);
        }
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(thing);
            slot
        } else {
            let Ok(slot) = u32::try_from(self.slots.len()) else {
                return Err(thing);
            };
            self.slots.push(Some(thing));
            slot
        };
        self.sequence += 1;
        self.heap.push(Entry {
            due,
            sequence: self.sequence,
            slot,
        });
        Ok(())
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.heap.peek().map(|entry| entry.due)
    }

    /// The earliest thing, if it is due.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<(Duration, T)> {
        if self.next_due()? > now {
            return None;
        }
        let entry = self.heap.pop()?;
        self.free.push(entry.slot);
        let thing = self.slots[entry.slot as usize].take()?;
        Some((entry.due, thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_order_of_time_then_of_arrival() {
        let mut schedule = Schedule::default();
        for (due, name) in [(3, 'd'), (1, 'a'), (2, 'b'), (2, 'c')] {
            schedule.push(Duration::from_millis(due), name).unwrap();
        }
        let mut order = String::new();
        while let Some((_, name)) = schedule.pop_due(Duration::from_millis(2)) {
            order.push(name);
        }
        assert_eq!(order, "abc");
        assert_eq!(schedule.next_due(), Some(Duration::from_millis(3)));
        assert_eq!(schedule.len(), 1);
    }

    #[test]
    fn buffers_are_used_again() {
        let mut pool = Pool::default();
        let buffer = pool.copy(&[7; 300]).unwrap();
        assert_eq!(buffer.packet(), [7; 300]);
        pool.give_back(buffer);
        let allocated = pool.allocated;
        assert_eq!(pool.copy(&[8; 1500]).unwrap().packet(), [8; 1500]);
        assert_eq!(pool.allocated, allocated);
        assert!(pool.copy(&vec![0; SIZES[3] + 1]).is_none());
    }
}
