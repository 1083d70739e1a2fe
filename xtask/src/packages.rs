//! What the tests need beyond a Rust toolchain and a C compiler: the real peers to test against.

use anyhow::{Result, bail};

use crate::shell;

/// Debian packages by a program that each brings.
const DEBIAN: &[(&str, &str)] = &[
    ("traceroute", "traceroute"),
    ("scamper", "scamper"),
    ("nmap", "nmap"),
    ("dig", "bind9-dnsutils"),
    ("named", "bind9"),
    ("knotd", "knot"),
    ("skopeo", "skopeo"),
    ("docker-registry", "docker-registry"),
    ("ip", "iproute2"),
    ("curl", "curl"),
    ("npm", "npm"),
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

fn missing() -> Vec<&'static str> {
    DEBIAN
        .iter()
        .map(|(program, _)| *program)
        .filter(|program| !shell::on_path(program))
        .collect()
}
