//! What a kernel leaves to the wire: a checksum to complete, a stretch of a TCP stream to be cut into segments.
//!
//! A TUN device can take from its kernel what a network card with segmentation offload would: up to 64 KiB of one TCP
//! stream as one packet, with a header that says how it is to be cut. The receiving kernel takes it in the same form. The
//! lab carries such a burst as one, and counts the segments that it stands for: they would follow each other at once
//! anyway, and it costs a fraction of the work.

use edge_packet::checksum;

use super::statistics::Volume;

/// Octets of the header in front of each packet, `struct virtio_net_hdr` of `linux/virtio_net.h`, in host order.
pub(super) const OFFLOAD_OCTETS: usize = 10;

/// The transport checksum is yet to be completed.
const NEEDS_CHECKSUM: u8 = 1;

/// The header in front of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offload([u8; OFFLOAD_OCTETS]);

impl Offload {
    /// Reads the header; `None` if there is less.
    pub(super) fn split(octets: &mut [u8]) -> Option<(Self, &mut [u8])> {
        let (header, packet) = octets.split_first_chunk_mut()?;
        Some((Self(*header), packet))
    }

    pub(super) const fn octets(&self) -> &[u8; OFFLOAD_OCTETS] {
        &self.0
    }

    fn word(self, at: usize) -> usize {
        usize::from(u16::from_ne_bytes([self.0[at], self.0[at + 1]]))
    }

    /// Payload octets of each segment but the last; `None` for a packet that is to stay whole.
    fn segment_octets(self) -> Option<usize> {
        Some(self.word(4)).filter(|octets| self.0[1] != 0 && *octets > 0)
    }

    /// What `packet` is on the wire, cut into its segments.
    pub(super) fn volume(self, packet: &[u8]) -> Volume {
        let octets = packet.len() as u64;
        let whole = Volume { packets: 1, octets };
        let Some(each) = self.segment_octets() else {
            return whole;
        };
        // The transport header starts where its checksum does, and TCP's says how long it is.
        let transport = self.word(6);
        let Some(offset) = packet.get(transport + 12) else {
            return whole;
        };
        let header = transport + usize::from(offset >> 4) * 4;
        let segments = packet.len().saturating_sub(header).div_ceil(each).max(1) as u64;
        Volume {
            packets: segments,
            octets: octets + (segments - 1) * header as u64,
        }
    }

    /// Completes the transport checksum of a packet that stays whole, so that whoever looks at it or quotes it finds what
    /// a wire would have carried. A burst's is left to the receiving kernel, which needs none.
    pub(super) fn complete_checksum(&mut self, packet: &mut [u8]) {
        if self.0[0] & NEEDS_CHECKSUM == 0 || self.segment_octets().is_some() {
            return;
        }
        let (start, at) = (self.word(6), self.word(6) + self.word(8));
        let Some(covered) = packet.get(start..).filter(|_| at + 2 <= packet.len()) else {
            return;
        };
        // The field holds the sum of the pseudo header so far. No sum is zero in UDP (RFC 768), nor does it harm in TCP.
        let sum = match checksum::of(covered) {
            0 => 0xffff,
            sum => sum,
        };
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use edge_packet::{UdpPacket, UdpView};

    use super::*;

    fn header(needs_checksum: bool, segment: u16, start: u16, offset: u16) -> Offload {
        let mut octets = [0; OFFLOAD_OCTETS];
        octets[0] = needs_checksum.into();
        octets[1] = u8::from(segment > 0);
        for (at, word) in [(4, segment), (6, start), (8, offset)] {
            octets[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
        Offload(octets)
    }

    #[test]
    fn a_burst_counts_as_the_segments_that_it_stands_for() {
        let mut packet = vec![0; 20 + 32 + 2500];
        packet[20 + 12] = 8 << 4;
        let burst = header(true, 1000, 20, 16);
        let want = Volume {
            packets: 3,
            octets: 3 * 52 + 2500,
        };
        assert_eq!(burst.volume(&packet), want);
        let mut kept = burst;
        kept.complete_checksum(&mut packet);
        assert_eq!(kept, burst);
        let whole = Volume {
            packets: 1,
            octets: 2552,
        };
        assert_eq!(Offload::default().volume(&packet), whole);
    }

    #[test]
    fn the_checksum_of_a_whole_packet_is_completed() {
        let packet = UdpPacket {
            source: [240, 0, 0, 10].into(),
            destination: [240, 16, 2, 10].into(),
            hop_limit: 9,
            ident: 1,
            flow_label: 0,
            source_port: 4711,
            destination_port: 9,
            payload: b"odd",
        };
        let mut right = vec![0; packet.len()];
        packet.write(&mut right).unwrap();
        let mut open = right.clone();
        let so_far = !checksum::Sum::new()
            .pseudo_header(packet.source, packet.destination, 17, 8 + 3)
            .checksum();
        open[26..28].copy_from_slice(&so_far.to_be_bytes());
        let mut offload = header(true, 0, 20, 6);
        offload.complete_checksum(&mut open);
        assert_eq!(open, right);
        assert_eq!(offload, Offload::default());
        assert!(UdpView::parse_packet(&open).is_ok());
    }

    #[test]
    fn headers_that_point_nowhere_are_survived() {
        for start in [0, 19, 30, 60000] {
            for offset in [0, 1, 16, 60000] {
                let mut packet = [0x45; 31];
                let mut offload = header(true, 0, start, offset);
                offload.complete_checksum(&mut packet);
                let burst = header(true, 1, start, offset).volume(&packet);
                assert!(burst.packets >= 1 && burst.octets >= 31);
            }
        }
    }
}
