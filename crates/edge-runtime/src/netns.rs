//! Sockets inside a container's network namespace.
//!
//! A socket belongs for its life to the namespace of the thread that made it. One thread per container enters the
//! namespace and makes sockets; the runtime's threads use them and never change namespace.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

const BACKLOG: i32 = 128;
const STACK_BYTES: usize = 64 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// A way into one network namespace; the thread behind it ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct NetworkNamespace {
    jobs: mpsc::Sender<Job>,
}

impl NetworkNamespace {
    /// Enters the namespace of the process `pid` and brings its loopback interface up.
    pub(crate) async fn enter(pid: i32) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (entered, result) = oneshot::channel();
        thread::Builder::new()
            .name("container-sockets".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let done = File::open(format!("/proc/{pid}/ns/net"))
                    .and_then(|namespace| {
                        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
                    })
                    .and_then(|()| bring_loopback_up());
                let failed = done.is_err();
                if entered.send(done).is_err() || failed {
                    return;
                }
                while let Ok(job) = queue.recv() {
                    job();
                }
            })?;
        result.await.map_err(io::Error::other)??;
        Ok(Self { jobs })
    }

    async fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _caller_gone = answer.send(work());
        });
        self.jobs
            .send(job)
            .map_err(|_| io::Error::other("the thread in the namespace has ended"))?;
        result.await.map_err(io::Error::other)?
    }

    /// An unconnected socket.
    pub(crate) async fn socket(&self) -> io::Result<TcpSocket> {
        self.inside(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            Ok(TcpSocket::from_std_stream(socket.into()))
        })
        .await
    }

    /// A listener on the loopback interface.
    pub(crate) async fn listen(&self, port: u16) -> io::Result<TcpListener> {
        let listener = self
            .inside(move || {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_nonblocking(true)?;
                socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
                socket.listen(BACKLOG)?;
                Ok(std::net::TcpListener::from(socket))
            })
            .await?;
        TcpListener::from_std(listener)
    }
}

fn bring_loopback_up() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    #[expect(unsafe_code, reason = "interface flags are set by ioctl")]
    // SAFETY: `request` is a zeroed, valid `ifreq` with a terminated name, and lives through both calls.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
        #[expect(clippy::cast_possible_truncation, reason = "IFF_UP is 1")]
        {
            request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
