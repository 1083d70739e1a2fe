//! The resolver against authoritative servers from Debian, on a loopback port of their own.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A server process, ended when dropped.
struct Peer {
    process: Child,
    _directory: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A loopback port that nobody uses for UDP or TCP.
fn free_address() -> SocketAddr {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free loopback port");
}

/// Writes the zones, one file each; apex and file name.
fn write_zones(directory: &Path) -> Vec<(String, String)> {
    support::zones('/')
        .into_iter()
        .map(|(apex, text)| {
            let file = format!("{}.zone", apex.replace('/', "_"));
            std::fs::write(directory.join(&file), text).unwrap();
            (apex, file)
        })
        .collect()
}

fn start(package: &str, program: &str, arguments: &[&str], directory: TempDir) -> Peer {
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let process = Command::new(program)
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program} does not start ({error}); it is in the Debian package {package}")
        });
    Peer {
        process,
        _directory: directory,
    }
}

#[tokio::test]
async fn peer_bind9_answers_as_expected() {
    let directory = TempDir::new().unwrap();
    let home = directory.path().display().to_string();
    let address = free_address();
    let mut config = format!(
        "options {{ directory \"{home}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         recursion no; pid-file none; lock-file none; session-keyfile none; dnssec-validation no;\n\
         notify no; empty-zones-enable no; }};\ncontrols {{ }};\n",
        address.port()
    );
    for (apex, file) in write_zones(directory.path()) {
        let _ = writeln!(
            config,
            "zone \"{apex}\" {{ type primary; file \"{file}\"; check-names ignore; }};"
        );
    }
    std::fs::write(directory.path().join("named.conf"), config).unwrap();
    let file = format!("{home}/named.conf");
    let _peer = start(
        "bind9",
        "/usr/sbin/named",
        &["-g", "-n", "1", "-c", &file],
        directory,
    );
    support::check_server(address).await;
}

#[tokio::test]
async fn peer_knot_answers_as_expected() {
    let directory = TempDir::new().unwrap();
    let home = directory.path().display().to_string();
    let address = free_address();
    let mut config = format!(
        "server:\n  rundir: {home}\n  listen: 127.0.0.1@{}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: {home}\n\
         log:\n  - target: stderr\n    any: info\n\
         template:\n  - id: default\n    storage: {home}\n    semantic-checks: off\n\
         zone:\n",
        address.port()
    );
    for (apex, file) in write_zones(directory.path()) {
        let _ = writeln!(config, "  - domain: \"{apex}\"\n    file: \"{file}\"");
    }
    std::fs::write(directory.path().join("knot.conf"), config).unwrap();
    let file = format!("{home}/knot.conf");
    let _peer = start("knot", "/usr/sbin/knotd", &["-c", &file], directory);
    support::check_server(address).await;
}
