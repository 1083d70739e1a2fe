//! The system calls that a workload may make.
//!
//! An allow-list fit for a network server. Everything else fails with `EPERM`: mounting, namespaces, tracing, keys,
//! BPF, performance counters, `io_uring`, user faults, kernel modules, kexec, clocks, other processes' memory. `clone3`
//! fails with `ENOSYS`, since its flags lie in memory that a filter cannot see; the C library then uses `clone`, whose
//! flags are checked for new namespaces. Sockets are of the Unix and the two Internet families, since some others
//! (vsock) do not respect network namespaces.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP) as u64;

/// The filters of a workload, in the order in which to install them.
pub(crate) fn filters() -> Result<Vec<BpfProgram>, Error> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let no_clone3 = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno(libc::ENOSYS)),
        arch,
    )?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    rules.extend(OLD_CALLS.iter().map(|call| (*call, Vec::new())));
    rules.insert(
        libc::SYS_clone,
        vec![one_of(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?],
    );
    rules.insert(libc::SYS_socket, any_of(0, SOCKET_FAMILIES)?);
    rules.insert(libc::SYS_socketpair, any_of(0, &[libc::AF_UNIX])?);
    rules.insert(libc::SYS_prctl, any_of(0, PRCTL)?);
    #[expect(
        clippy::unnecessary_cast,
        reason = "the type of requests differs between C libraries"
    )]
    let ioctls = IOCTLS
        .iter()
        .map(|request| one_of(1, SeccompCmpOp::Eq, *request as u64))
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_ioctl, ioctls);
    let allow_list = SeccompFilter::new(
        rules,
        SeccompAction::Errno(errno(libc::EPERM)),
        SeccompAction::Allow,
        arch,
    )?;
    // The allow-list comes last, since it lets no further filter be installed.
    Ok(vec![no_clone3.try_into()?, allow_list.try_into()?])
}

fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}

fn any_of(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, Error> {
    values
        .iter()
        .map(|value| one_of(argument, SeccompCmpOp::Eq, u64::from(value.unsigned_abs())))
        .collect()
}

fn one_of(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

const SOCKET_FAMILIES: &[i32] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

const PRCTL: &[i32] = &[
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_PDEATHSIG,
    libc::PR_GET_PDEATHSIG,
    libc::PR_SET_DUMPABLE,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_SET_TIMERSLACK,
    libc::PR_GET_TIMERSLACK,
];

const IOCTLS: &[libc::Ioctl] = &[
    libc::FIONREAD,
    libc::FIONBIO,
    libc::FIOCLEX,
    libc::FIONCLEX,
    libc::TCGETS,
    libc::TIOCGWINSZ,
];

const ALWAYS: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_chdir,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone3, // refused by the other filter
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_connect,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getitimer,
    libc::SYS_getpeername,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_kill,
    libc::SYS_linkat,
    libc::SYS_listen,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mkdirat,
    libc::SYS_mlock,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munlock,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_prlimit64,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendfile,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_setitimer,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sysinfo,
    libc::SYS_tee,
    libc::SYS_tgkill,
    libc::SYS_timer_create,
    libc::SYS_timer_delete,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_gettime,
    libc::SYS_timer_settime,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_times,
    libc::SYS_tkill,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[i64] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_fork,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_setrlimit,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[i64] = &[];

#[cfg(test)]
mod tests {
    use std::io;
    use std::thread;

    use super::*;

    /// The error of a system call made under the filters, 0 when it worked. Filters hold for one thread only.
    fn under_filters(call: fn() -> libc::c_long) -> i32 {
        thread::spawn(move || {
            for filter in filters().unwrap() {
                seccompiler::apply_filter(&filter).unwrap();
            }
            match call() {
                -1 => io::Error::last_os_error().raw_os_error().unwrap(),
                _ => 0,
            }
        })
        .join()
        .unwrap()
    }

    macro_rules! call {
        ($($argument:expr),+) => {{
            #[expect(unsafe_code, reason = "the call itself is under test")]
            // SAFETY: the arguments hold no pointer that the kernel would write through.
            unsafe { libc::syscall($($argument),+) }
        }};
    }

    #[test]
    fn dangerous_calls_fail_and_a_server_can_work() {
        type Call = fn() -> libc::c_long;
        let refused: &[(&str, Call)] = &[
            ("unshare", || call!(libc::SYS_unshare, libc::CLONE_NEWUSER)),
            ("setns", || call!(libc::SYS_setns, -1, 0)),
            ("mount", || call!(libc::SYS_mount, 0, 0, 0, 0, 0)),
            ("ptrace", || {
                call!(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0)
            }),
            ("bpf", || call!(libc::SYS_bpf, 0, 0, 0)),
            ("keyctl", || call!(libc::SYS_keyctl, 0, 0, 0, 0, 0)),
            ("perf", || call!(libc::SYS_perf_event_open, 0, 0, 0, 0, 0)),
            ("uring", || call!(libc::SYS_io_uring_setup, 1, 0)),
            ("fault", || call!(libc::SYS_userfaultfd, 0)),
            ("module", || call!(libc::SYS_init_module, 0, 0, 0)),
            ("kexec", || call!(libc::SYS_kexec_load, 0, 0, 0, 0)),
            ("chroot", || call!(libc::SYS_chroot, 0)),
            ("clone", || {
                call!(libc::SYS_clone, libc::CLONE_NEWNS, 0, 0, 0, 0)
            }),
            ("vsock", || {
                call!(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0)
            }),
            ("netlink", || {
                call!(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 0)
            }),
            ("packet", || {
                call!(libc::SYS_socket, libc::AF_PACKET, libc::SOCK_RAW, 0)
            }),
            ("tiocsti", || call!(libc::SYS_ioctl, 0, libc::TIOCSTI, 0)),
            ("seccomp", || call!(libc::SYS_seccomp, 1, 0, 0)),
        ];
        for (name, call) in refused {
            assert_eq!(under_filters(*call), libc::EPERM, "{name}");
        }
        assert_eq!(
            under_filters(|| call!(libc::SYS_clone3, 0, 0)),
            libc::ENOSYS
        );
        assert_eq!(
            under_filters(|| {
                let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let address = server.local_addr().unwrap();
                thread::spawn(move || std::net::TcpStream::connect(address).map(drop).unwrap());
                server.accept().map_or(-1, |_| 0)
            }),
            0
        );
    }
}
