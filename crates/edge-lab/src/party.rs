//! A party of the lab: a network namespace with one TUN device, and ways into it.

mod netlink;
mod tun;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;

use crate::network::Party;
use netlink::{ANY, Netlink};
pub(crate) use tun::DEVICE as TUN_DEVICE;
pub(crate) use tun::open_device as open_tun_device;

/// The TUN device's name in every party.
pub const INTERFACE: &str = "lab0";

/// Largest packet that the lab carries, in octets.
pub const MTU: u16 = 1500;

/// Packets that a party's kernel queues for the forwarder before it drops.
const DEVICE_QUEUE: u32 = 8192;

/// Index of the loopback in a fresh namespace.
const LOOPBACK_INDEX: u32 = 1;

/// Settings below `/proc/sys/net`; where a kernel lacks one, its behaviour is not there either.
const SETTINGS: [(&str, &str); 20] = [
    // All addresses of a namespace share one ration of ICMP errors. The forwarder applies each host's own instead.
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv4/icmp_msgs_per_sec", "1000000"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/icmp/ratemask", "255"),
    // Sockets may use any address of an owned prefix.
    ("ipv4/ip_nonlocal_bind", "1"),
    ("ipv6/ip_nonlocal_bind", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Connections must not learn from each other: clients of one namespace are meant to be many hosts.
    ("ipv4/tcp_no_metrics_save", "1"),
    ("ipv4/ip_local_port_range", "2048 65000"),
    ("core/somaxconn", "8192"),
    ("ipv4/tcp_max_syn_backlog", "8192"),
    // What TCP may send at once goes to the forwarder at once, where it carries bursts.
    ("ipv4/tcp_min_tso_segs", "44"),
    // The interfaces say nothing unasked.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/autoconf", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
];

/// Why a party's namespace could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PartyError {
    /// `/dev/net/tun` is missing or not accessible.
    #[error("cannot open {TUN_DEVICE}: {}", tun_remedy(.0))]
    TunDevice(#[source] io::Error),
    /// The kernel refuses a TUN interface.
    #[error(
        "cannot make a TUN interface for {party}; it takes CAP_NET_ADMIN, as root or in a user namespace"
    )]
    TunInterface {
        /// The party.
        party: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refuses a network namespace.
    #[error("cannot make the network namespace of {party}")]
    Namespace {
        /// The party.
        party: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One step of its configuration failed.
    #[error("cannot configure the network of {party}: {step}")]
    Configure {
        /// The party.
        party: String,
        /// What was being set.
        step: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What to do about a device that does not open.
pub(crate) fn tun_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            "it does not exist; as root: mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "no permission; run as root, or as root once: chmod 666 /dev/net/tun (in a container: --device /dev/net/tun)"
        }
        Some(libc::ENODEV | libc::ENXIO) => {
            "this kernel has no TUN driver loaded; as root: modprobe tun"
        }
        _ => "the lab needs it for its virtual wires",
    }
}

/// A party's namespace. It lives as long as this value or any process inside.
#[derive(Debug)]
pub struct PartyNamespace {
    party: Party,
    namespace: File,
}

impl PartyNamespace {
    /// Makes the namespace and its TUN device; returns the device for the forwarder. With `carries_bursts` the wire
    /// takes TCP streams that are not yet cut into segments.
    ///
    /// The calling thread is in another namespace afterwards: call it on a thread made for it.
    pub(crate) fn make(party: Party, carries_bursts: bool) -> Result<(Self, File), PartyError> {
        let namespace = unshare(CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .and_then(|()| File::open("/proc/thread-self/ns/net"))
            .map_err(|source| PartyError::Namespace {
                party: party.name.clone(),
                source,
            })?;
        // An interface belongs to the namespace in which its device was opened.
        let device = tun::open_device().map_err(PartyError::TunDevice)?;
        for (name, value) in SETTINGS {
            let file = Path::new("/proc/sys/net").join(name);
            match std::fs::write(&file, value) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    return Err(configure(&party, file.display().to_string())(error));
                }
                // Some settings are the machine's before Linux 6; none of those is essential.
                _ => {}
            }
        }
        tun::make_interface(&device, INTERFACE, carries_bursts).map_err(|source| {
            PartyError::TunInterface {
                party: party.name.clone(),
                source,
            }
        })?;
        configure_interfaces(&party)?;
        Ok((Self { party, namespace }, device))
    }

    /// What it holds.
    pub const fn party(&self) -> &Party {
        &self.party
    }

    /// Its namespace, an open `/proc/…/ns/net`.
    pub const fn namespace(&self) -> &File {
        &self.namespace
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// Only for threads made for it; never for a worker of an async runtime.
    pub fn enter(&self) -> io::Result<()> {
        setns(&self.namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it. Sockets that it opens keep belonging
    /// to the namespace wherever they are used.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("in-party".to_owned())
                .spawn_scoped(scope, || self.enter().map(|()| work()))?;
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command whose process starts inside the namespace, with no signal blocked.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> io::Result<Command> {
        let namespace = self.namespace.try_clone()?;
        let mut command = Command::new(program);
        #[expect(
            unsafe_code,
            reason = "a child must enter the namespace between fork and exec"
        )]
        // SAFETY: the closure only calls setns and pthread_sigmask, which are async-signal-safe, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                setns(&namespace, CloneFlags::CLONE_NEWNET)?;
                SigSet::empty().thread_set_mask()?;
                Ok(())
            });
        }
        Ok(command)
    }
}

fn configure(party: &Party, step: String) -> impl FnOnce(io::Error) -> PartyError {
    let party = party.name.clone();
    move |source| PartyError::Configure {
        party,
        step,
        source,
    }
}

fn configure_interfaces(party: &Party) -> Result<(), PartyError> {
    let failed = |step: String| configure(party, step);
    let mut netlink = Netlink::open().map_err(failed("rtnetlink".to_owned()))?;
    let index = nix::net::if_::if_nametoindex(INTERFACE)
        .map_err(|errno| failed(format!("index of {INTERFACE}"))(errno.into()))?;
    netlink
        .bring_up(LOOPBACK_INDEX, None, None)
        .map_err(failed("bring lo up".to_owned()))?;
    netlink
        .bring_up(index, Some(u32::from(MTU)), Some(DEVICE_QUEUE))
        .map_err(failed(format!("bring {INTERFACE} up")))?;
    for address in interface_addresses(party) {
        netlink
            .add_address(index, address)
            .map_err(failed(format!("address {address}")))?;
    }
    for prefix in &party.prefixes {
        netlink
            .own_prefix(LOOPBACK_INDEX, *prefix)
            .map_err(failed(format!("own prefix {prefix}")))?;
    }
    for any in ANY {
        // A source for sockets that are bound to none.
        let source = interface_addresses(party)
            .into_iter()
            .find(|address| address.is_ipv4() == any.is_ipv4());
        if let Some(source) = source {
            netlink
                .add_default_route(index, any, source)
                .map_err(failed(format!("default route of {INTERFACE}")))?;
        }
    }
    Ok(())
}

/// The party's own addresses; for one that owns prefixes the first host of each family, since a kernel without any
/// address on the interface sends no ICMPv6 errors.
fn interface_addresses(party: &Party) -> Vec<IpAddr> {
    let mut addresses = party.addresses.clone();
    for any in ANY {
        let covered = addresses
            .iter()
            .any(|address| address.is_ipv4() == any.is_ipv4());
        let prefix = party
            .prefixes
            .iter()
            .find(|prefix| prefix.network().is_ipv4() == any.is_ipv4());
        if let (false, Some(prefix)) = (covered, prefix) {
            let first = match prefix.network() {
                IpAddr::V4(v4) => IpAddr::from((v4.to_bits() | 1).to_be_bytes()),
                IpAddr::V6(v6) => IpAddr::from((v6.to_bits() | 1).to_be_bytes()),
            };
            addresses.push(if prefix.contains(&first) {
                first
            } else {
                prefix.network()
            });
        }
    }
    addresses
}
