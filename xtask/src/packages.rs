//! What the tests need beyond a Rust toolchain and a C compiler: the real peers to test against.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Debian packages by a program that each brings.
const DEBIAN: &[(&str, &str)] = &[
    ("traceroute", "traceroute"),
    ("scamper", "scamper"),
    ("nmap", "nmap"),
    ("dig", "bind9-dnsutils"),
    ("named", "bind9"),
    ("dnssec-signzone", "bind9-utils"),
    ("knotd", "knot"),
    ("kzonesign", "knot-dnssecutils"),
    ("ldns-signzone", "ldnsutils"),
    ("nsd", "nsd"),
    ("pdns_server", "pdns-server"),
    ("pdnsutil", "pdns-backend-bind"),
    ("unbound", "unbound"),
    ("skopeo", "skopeo"),
    ("docker-registry", "docker-registry"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("curl", "curl"),
    ("npm", "npm"),
    ("virtualenv", "virtualenv"),
];

/// Installs what is missing, as root on Debian; otherwise says what is missing. Returns the programs still missing.
pub(crate) fn install_missing() -> Result<Vec<&'static str>> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(missing);
    }
    let packages: Vec<&str> = DEBIAN
        .iter()
        .filter(|(program, _)| missing.contains(program))
        .map(|(_, package)| *package)
        .collect();
    let root = std::fs::read_to_string("/proc/self/status")?
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    if !root || !shell::on_path("apt-get") {
        shell::say(&format!(
            "not root on Debian, so the peers of some tests are missing; to get them: apt-get install {}",
            packages.join(" ")
        ));
        return Ok(missing);
    }
    shell::run(shell::command("apt-get", &["update", "-qq"]))?;
    let _no_start = NoServices::begin().context("keeping packages from starting services")?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&packages);
    let mut install = shell::command("apt-get", &arguments);
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::process::Stdio::null());
    shell::run(install)?;
    let still = self::missing();
    if !still.is_empty() {
        bail!("apt-get installed {packages:?}, but {still:?} cannot be found");
    }
    Ok(still)
}

/// Where Debian's packages ask whether they may start their services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While this lives, no package starts a service: the tests start servers of their own, and the machine needs none.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;

        let is_ours = !Path::new(POLICY).exists();
        if is_ours {
            // Exit code 101 forbids the action.
            std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { is_ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}

fn missing() -> Vec<&'static str> {
    DEBIAN
        .iter()
        .map(|(program, _)| *program)
        .filter(|program| !shell::on_path(program))
        .collect()
}
