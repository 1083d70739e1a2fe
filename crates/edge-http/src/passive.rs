//! What the kernel knows of a connection's round trips: a measure of the way to a client that costs no probe.

use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use edge_types::Rtt;

/// The shortest round trip of a TCP connection; `None` if there was none to measure (the handshake went by SYN
/// cookies) or the kernel does not say.
///
/// Right after a connection was accepted it is that of the handshake, between the two kernels, so that neither program's
/// delay is in it. A peer can make it longer, but hardly shorter: its acknowledgment has to name our sequence number.
pub fn shortest_round_trip(connection: &impl AsFd) -> Option<Rtt> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    #[expect(
        unsafe_code,
        reason = "no safe interface copes with kernels whose structure is shorter"
    )]
    // SAFETY: the descriptor is open for the time of the call, the kernel writes no more than `length` bytes, and the
    // structure is of integers, so that what it leaves zeroed is valid too.
    let (status, info) = unsafe {
        let status = libc::getsockopt(
            connection.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        );
        (status, info.assume_init())
    };
    if status != 0 {
        return None;
    }
    let is_there = |end: usize| length as usize >= end;
    let shortest = is_there(offset_of!(libc::tcp_info, tcpi_min_rtt) + size_of::<u32>())
        .then_some(info.tcpi_min_rtt)
        .filter(|shortest| ![0, u32::MAX].contains(shortest));
    let smoothed = is_there(offset_of!(libc::tcp_info, tcpi_rtt) + size_of::<u32>())
        .then_some(info.tcpi_rtt)
        .filter(|smoothed| *smoothed != 0);
    let micros = shortest.or(smoothed)?;
    Some(Rtt(Duration::from_micros(u64::from(micros))))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn a_handshake_tells_its_round_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let rtt = shortest_round_trip(&accepted).unwrap();
        assert!(
            rtt.0 > Duration::ZERO && rtt.0 < Duration::from_secs(1),
            "{rtt:?}"
        );
    }

    #[test]
    fn what_is_no_connection_has_no_round_trip() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(shortest_round_trip(&socket), None);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(shortest_round_trip(&listener), None);
    }
}
