//! The OCI runtime specification of a workload's container.

use libcontainer::oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::protocol::ContainerRequest;

/// User and group inside the container.
pub(crate) const USER: u32 = 65_534;
/// Length of the range of ids that a user namespace maps.
pub(crate) const ID_RANGE: u32 = 65_536;

const CPU_PERIOD_MICROS: u64 = 100_000;
/// The kernel refuses smaller quotas.
const CPU_QUOTA_MIN_MICROS: u64 = 1_000;

/// What a container must not see, since it tells about the host or lets it be changed.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Builds the specification; the image is at `root`.
pub(crate) fn specification(
    request: &ContainerRequest,
    root: &str,
) -> Result<Spec, serde_json::Error> {
    let quota = u64::from(request.milli_cpu) * CPU_PERIOD_MICROS / 1000;
    let memory = if request.limit_swap {
        json!({"limit": request.memory_bytes, "swap": request.memory_bytes})
    } else {
        json!({"limit": request.memory_bytes})
    };
    let mut namespaces: Vec<Value> = ["pid", "mount", "ipc", "uts", "network", "cgroup"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    let mut linux = json!({
        "cgroupsPath": format!("/{}", request.cgroup),
        "resources": {
            "cpu": {"quota": quota.max(CPU_QUOTA_MIN_MICROS), "period": CPU_PERIOD_MICROS},
            "memory": memory,
            "pids": {"limit": request.pids},
            "devices": [{"allow": false, "access": "rwm"}],
        },
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
    });
    if let Some(first) = request.first_host_id {
        namespaces.push(json!({"type": "user"}));
        let mapping = json!([{"containerID": 0, "hostID": first, "size": ID_RANGE}]);
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    linux["namespaces"] = namespaces.into();
    let nothing: [&str; 0] = [];
    serde_json::from_value(json!({
        "ociVersion": "1.0.2",
        "hostname": "site",
        "root": {"path": root, "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": USER, "gid": USER, "umask": 0o022},
            "args": request.arguments,
            "env": request.environment,
            "cwd": request.working_directory,
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": nothing,
                "effective": nothing,
                "inheritable": nothing,
                "permitted": nothing,
                "ambient": nothing,
            },
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": request.open_files, "hard": request.open_files},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            ],
        },
        "mounts": [
            {
                "destination": "/proc",
                "type": "proc",
                "source": "proc",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=65536"],
            },
            {
                "destination": "/tmp",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": [
                    "nosuid",
                    "nodev",
                    "noexec",
                    "mode=1777",
                    format!("size={}", request.temporary_bytes),
                    "nr_inodes=4096",
                ],
            },
        ],
        "linux": linux,
    }))
}
