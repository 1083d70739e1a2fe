//! TUN devices: the wire between a party's kernel and the forwarder.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// The character device that makes TUN devices.
pub(crate) const DEVICE: &str = "/dev/net/tun";

nix::ioctl_write_ptr_bad!(
    /// Makes or attaches to the named interface, `linux/if_tun.h`.
    tun_set_iff,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::ifreq
);

nix::ioctl_write_int_bad!(
    /// Says what the kernel may leave to the wire, `linux/if_tun.h`.
    tun_set_offload,
    nix::request_code_write!(b'T', 208, size_of::<libc::c_uint>())
);

/// `TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6`: checksums, and the segments of TCP streams.
const BURSTS: libc::c_int = 0x01 | 0x02 | 0x04;

/// Opens the device, without making an interface yet.
pub(crate) fn open_device() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(DEVICE)
}

/// Makes a TUN interface in the network namespace of the calling thread; packets are read from and written to the
/// file behind a `virtio_net_hdr`. With `carries_bursts` the kernel may hand over and takes TCP streams uncut.
pub(crate) fn make_interface(device: &File, name: &str, carries_bursts: bool) -> io::Result<()> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let request = libc::ifreq {
        ifr_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    #[expect(
        unsafe_code,
        reason = "TUNSETIFF is the only way to make a TUN interface"
    )]
    // SAFETY: the descriptor is open, and `request` is a whole ifreq that outlives the call.
    unsafe { tun_set_iff(device.as_raw_fd(), &raw const request) }?;
    let offload = if carries_bursts { BURSTS } else { 0 };
    #[expect(
        unsafe_code,
        reason = "TUNSETOFFLOAD is the only way to ask a TUN interface for bursts"
    )]
    // SAFETY: the descriptor is open, and no memory is passed.
    unsafe { tun_set_offload(device.as_raw_fd(), offload) }?;
    Ok(())
}
