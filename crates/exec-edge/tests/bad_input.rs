//! What the program says to input that it cannot use and to systems that it cannot run on: one line, with the file and
//! the field or the device, and the remedy; and nothing stays.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
mod program;
#[path = "support/remains.rs"]
mod remains;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use program::{BINARY, program, run, scenario};
use remains::Run;

/// A refusal is given at once; this is for busy machines.
const PATIENCE: Duration = Duration::from_secs(20);

/// Refusals that are not as they should be.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    /// Is the command refused with this code, by one line that holds all `parts`, and does it leave nothing?
    fn check(&mut self, command: &mut Command, code: i32, parts: &[&str]) {
        let marked = Run::mark(command);
        let answer = run(command, PATIENCE);
        let mut wrong = Vec::new();
        if answer.code != Some(code) {
            wrong.push(format!("exit code {:?} instead of {code}", answer.code));
        }
        if !answer.out.is_empty()
            || answer.err.lines().count() != 1
            || !answer.err.starts_with("error: ")
        {
            wrong.push("not one line that begins with \"error: \"".to_owned());
        }
        let missing = parts.iter().filter(|part| !answer.err.contains(**part));
        wrong.extend(missing.map(|part| format!("{part:?} is missing")));
        if !wrong.is_empty() {
            let said = format!("{}{}", answer.out, answer.err);
            self.0
                .push(format!("{command:?}\n  {}:\n{said}", wrong.join("; ")));
        }
        marked.holdings().expect_gone(PATIENCE);
    }

    fn expect_none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}

/// As [`Complaints::check`], for one command.
fn refused(command: &mut Command, code: i32, parts: &[&str]) {
    let mut complaints = Complaints::default();
    complaints.check(command, code, parts);
    complaints.expect_none();
}

/// Replaces what must be there.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in {text}");
    text.replacen(from, to, 1)
}

const BAD_SCENARIOS: &[(&str, &str, &str, &[&str])] = &[
    (
        "an unknown field",
        "seed = 7",
        "seed = 7\nsede = 7",
        &[".toml:14: ", "unknown field `sede`", "correct this line"],
    ),
    (
        "an unknown field of a link",
        "delay_ms = 6 }",
        "delay_ms = 6, colour = 1 }",
        &["unknown field `colour`", "correct this line"],
    ),
    (
        "a value of another type",
        "seed = 7",
        "seed = \"seven\"",
        &[".toml:13: ", "invalid type", "correct this line"],
    ),
    (
        "a file cut short",
        "[[providers]]\ndomain = \"nordlink",
        "[[providers",
        &[".toml:", "correct this line"],
    ),
    (
        "a link to itself",
        "b = \"nyc\", delay_ms = 2 }",
        "b = \"iad\", delay_ms = 2 }",
        &[
            "links[0].b: ",
            "a cycle: iad is linked to itself",
            "remove the link",
        ],
    ),
    (
        "a cost that allows cycles",
        "delay_ms = 6 }",
        "delay_ms = 6, cost = 0 }",
        &["links[1].cost: ", "cycle", "give a cost of at least 1"],
    ),
    (
        "a link to a missing router",
        "b = \"nyc\", delay_ms = 2 }",
        "b = \"nowhere\", delay_ms = 2 }",
        &["links[0].b: ", "no router \"nowhere\"", "add it to routers"],
    ),
    (
        "clients of a missing router",
        "router = \"sfo\", weight = 2",
        "router = \"lax\", weight = 2",
        &[
            "clients[0].router: ",
            "no router \"lax\"",
            "add it to routers",
        ],
    ),
    (
        "a site at a missing router",
        "router = \"chi\", addresses = [\"240.32.0.1\"",
        "router = \"ord\", addresses = [\"240.32.0.1\"",
        &[
            "providers[0].sites[0].router: ",
            "no router \"ord\"",
            "add it to routers",
        ],
    ),
    (
        "a router without a way to it",
        "  { a = \"chi\", b = \"sfo\", delay_ms = 15 },\n",
        "",
        &[
            "links: ",
            "router \"sfo\" has no way to the cloud",
            "add a link",
        ],
    ),
    (
        "a prefix twice",
        "prefix = \"240.16.1.0/24\"",
        "prefix = \"240.16.0.0/24\"",
        &[
            "clients[1].prefix: ",
            "240.16.0.0/24 overlaps 240.16.0.0/24",
            "share no address",
        ],
    ),
    (
        "a prefix within another",
        "prefix = \"240.16.1.0/24\"",
        "prefix = \"240.16.0.0/16\"",
        &["].prefix: ", "overlaps 240.16.0.0/16", "share no address"],
    ),
    (
        "a prefix over a router",
        "prefix = \"240.16.1.0/24\"",
        "prefix = \"240.1.1.0/24\"",
        &[
            "clients[1].prefix: ",
            "240.1.1.0/24 overlaps 240.1.1.1 of router nyc",
            "share no address",
        ],
    ),
    (
        "an address of real hosts",
        "addresses = [\"240.0.0.53\"",
        "addresses = [\"192.0.2.53\"",
        &[
            "dns.addresses: ",
            "192.0.2.53 is outside the lab's ranges",
            "use 240.0.0.0/4 or 3fff::/20",
        ],
    ),
    (
        "an address twice",
        "addresses = [\"240.0.0.53\"",
        "addresses = [\"240.0.0.80\"",
        &[
            "chain.addresses: ",
            "240.0.0.80 is used twice",
            "give each its own",
        ],
    ),
    (
        "a loss of everything",
        "delay_ms = 6 }",
        "delay_ms = 6, loss = 1.0 }",
        &[
            "links[1].loss: ",
            "1 is out of range",
            "give a number from 0 to 0.999",
        ],
    ),
];

#[test]
fn bad_scenarios_are_refused_by_every_command_that_takes_one() {
    let mut complaints = Complaints::default();
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    for (_, from, to, parts) in BAD_SCENARIOS {
        let file = scenario(directory.path(), "two-continents.toml", |text| {
            replace(&text, from, to)
        });
        let name = file.display().to_string();
        let parts: Vec<&str> = [name.as_str()]
            .into_iter()
            .chain(parts.iter().copied())
            .collect();
        complaints.check(program(&["lab", "show"]).arg(&file), 64, &parts);
        complaints.check(program(&["lab", "up"]).arg(&file), 64, &parts);
        complaints.check(
            program(&["lab", "run"]).arg(&file).args(["--", "true"]),
            64,
            &parts,
        );
        complaints.check(
            program(&["demo", "--scenario"])
                .arg(&file)
                .arg("--report")
                .arg(&report),
            64,
            &parts,
        );
        assert!(!report.exists());
    }
    complaints.expect_none();
}

#[test]
fn missing_and_unreadable_scenarios_are_refused() {
    let mut complaints = Complaints::default();
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    for file in [missing.as_path(), directory.path()] {
        let parts = [
            file.to_str().unwrap(),
            "give the path of a readable TOML file",
        ];
        complaints.check(program(&["lab", "up"]).arg(file), 64, &parts);
        complaints.check(program(&["demo", "--scenario"]).arg(file), 64, &parts);
    }
    let binary = directory.path().join("binary.toml");
    fs::write(&binary, [0xff_u8, 0, 0xfe]).unwrap();
    complaints.check(
        program(&["lab", "up"]).arg(&binary),
        64,
        &[binary.to_str().unwrap()],
    );
    let huge = directory.path().join("huge.toml");
    fs::write(&huge, vec![b'#'; (8 << 20) + 1]).unwrap();
    complaints.check(
        program(&["lab", "up"]).arg(&huge),
        64,
        &[huge.to_str().unwrap(), "give a smaller scenario"],
    );
    complaints.expect_none();
}

/// A provider's configuration that only lacks a chain.
fn provider_config(directory: &Path) -> String {
    let key = directory.join("provider.key");
    if !key.exists() {
        let made = run(program(&["chain", "key"]).arg(&key), PATIENCE);
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let template = run(&mut program(&["provider", "template"]), PATIENCE).out;
    let text = replace(
        &template,
        "/var/lib/exec-edge/provider.key",
        key.to_str().unwrap(),
    );
    let state = directory.join("state");
    let text = replace(&text, "/var/lib/exec-edge/state", state.to_str().unwrap());
    replace(&text, "http://127.0.0.1:8545", "http://127.0.0.1:1")
}

const BAD_PROVIDERS: &[(&str, &str, &[&str])] = &[
    ("chain_id = 1337", "chian_id = 1337", &["chian_id"]),
    ("port = 80\n", "port = 80000\n", &["port"]),
    (
        "service_ports = [20000, 20099]",
        "service_ports = [20099, 20000]",
        &["edge.isp.example", "service_ports"],
    ),
    (
        "memory_mib = 2048",
        "memory_mib = 0",
        &["edge.isp.example", "memory_mib"],
    ),
    (
        "\"1000000000000\"",
        "\"1e12\"",
        &["edge.isp.example", "price_per_second_wei", "wei"],
    ),
    (
        "0x0000000000000000000000000000000000000001",
        "0x01",
        &["ledger.contract", "40 hexadecimal digits"],
    ),
    (
        "confirmations = 1",
        "confirmations = 0",
        &["ledger.confirmations", "at least 1"],
    ),
    (
        "allow_addresses = []",
        "allow_addresses = [\"lab\"]",
        &["allow_addresses", "240.0.0.0/4"],
    ),
];

#[test]
fn bad_provider_configurations_are_refused() {
    let mut complaints = Complaints::default();
    let directory = tempfile::tempdir().unwrap();
    let good = provider_config(directory.path());
    let file = directory.path().join("provider.toml");
    for (from, to, parts) in BAD_PROVIDERS {
        fs::write(&file, replace(&good, from, to)).unwrap();
        let parts: Vec<&str> = [file.to_str().unwrap()]
            .into_iter()
            .chain(parts.iter().copied())
            .collect();
        complaints.check(program(&["provider", "--config"]).arg(&file), 64, &parts);
        assert!(!directory.path().join("state").exists());
    }
    let at = good.lines().position(|line| line == "chain_id = 1337");
    let place = format!("{}:{}:", file.display(), at.unwrap() + 1);
    fs::write(&file, replace(&good, "chain_id = 1337", "chian_id = 1337")).unwrap();
    complaints.check(program(&["provider", "--config"]).arg(&file), 64, &[&place]);
    let missing = directory.path().join("missing.toml");
    complaints.check(
        program(&["provider", "--config"]).arg(&missing),
        64,
        &[missing.to_str().unwrap()],
    );
    fs::write(&file, replace(&good, "provider.key", "other.key")).unwrap();
    complaints.check(
        program(&["provider", "--config"]).arg(&file),
        64,
        &["other.key"],
    );
    complaints.expect_none();
}

fn orchestrator_config(directory: &Path) -> String {
    format!(
        r#"registry = "127.0.0.1:0"
state_directory = "{state}"
[application]
name = "gallery"
listen = ["127.0.0.1:0"]
hosts = ["app.cloud.example"]

[[application.services]]
placement = "cloud"
name = "origin"
address = "127.0.0.1:1"

[[application.services]]
placement = "edge"
name = "objects"
image = "{image}"
digest = "sha256:{digest}"
port = 8080
health = "/healthz"
needs = {{ milli_cpu = 500, memory_mib = 64, pids = 32 }}

[resolver]
addresses = ["127.0.0.1:1"]

[wallet]
key_file = "{key}"
chain_id = 1337
rpc = "127.0.0.1:1"
escrow = "0x0000000000000000000000000000000000000001"

[budget]
wei_per_hour = "1000"
wei_per_day = "1000"
wei_per_site = "100"

[policy]
lease_s = 30
"#,
        image = directory.join("image").display(),
        digest = "0".repeat(64),
        key = directory.join("orchestrator.key").display(),
        state = directory.join("orchestrator").display(),
    )
}

const BAD_ORCHESTRATORS: &[(&str, &str, &[&str])] = &[
    ("chain_id = 1337", "chian_id = 1337", &["27", "chian_id"]),
    (
        "lease_s = 30",
        "lease_s = 0",
        &["policy.lease_s", "at least"],
    ),
    ("lease_s = 30", "group_v4 = 33", &["policy.group_v4"]),
    (
        "addresses = [\"127.0.0.1:1\"]",
        "addresses = []",
        &["resolver.addresses", "at least one"],
    ),
    (
        "wei_per_day = \"1000\"",
        "wei_per_day = \"1 ETH\"",
        &["budget.units_per_day", "smallest units"],
    ),
    (
        "escrow = \"0x0000000000000000000000000000000000000001\"",
        "escrow = \"0x1\"",
        &["wallet.escrow"],
    ),
    (
        "hosts = [\"app.cloud.example\"]",
        "hosts = []",
        &["application.hosts", "at least one"],
    ),
    (
        "lease_s = 30",
        "algorithm = \"best\"",
        &["policy.algorithm", "betweenness"],
    ),
    (
        "lease_s = 30",
        "key_binding = \"trust\"",
        &["policy.key_binding", "dnssec"],
    ),
    ("sha256:", "md5:", &["digest"]),
];

#[test]
fn bad_orchestrator_configurations_are_refused() {
    let mut complaints = Complaints::default();
    let directory = tempfile::tempdir().unwrap();
    let good = orchestrator_config(directory.path());
    let made = run(
        program(&["chain", "key"]).arg(directory.path().join("orchestrator.key")),
        PATIENCE,
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = directory.path().join("orchestrator.toml");
    for (from, to, parts) in BAD_ORCHESTRATORS {
        fs::write(&file, replace(&good, from, to)).unwrap();
        let parts: Vec<&str> = [file.to_str().unwrap()]
            .into_iter()
            .chain(parts.iter().copied())
            .collect();
        complaints.check(
            program(&["orchestrator", "--config"]).arg(&file),
            64,
            &parts,
        );
    }
    let missing = directory.path().join("missing.toml");
    complaints.check(
        program(&["orchestrator", "--config"]).arg(&missing),
        64,
        &[missing.to_str().unwrap()],
    );
    fs::write(&file, replace(&good, "orchestrator.key", "other.key")).unwrap();
    complaints.check(
        program(&["orchestrator", "--config"]).arg(&file),
        64,
        &["other.key"],
    );
    complaints.expect_none();
}

/// A port of loopback that is taken as long as the listener lives.
fn taken_port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn a_chain_whose_port_is_in_use_leaves_no_files() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("chain");
    let (_held, address) = taken_port();
    let mut command = program(&["chain", "dev", "--listen", &address, "--data"]);
    refused(command.arg(&data), 2, &[&address, "in use", "--listen"]);
    assert!(!data.exists());
}

/// As root, since it starts a prober first.
#[test]
fn netns_an_orchestrator_whose_port_is_in_use_says_so() {
    let mut complaints = Complaints::default();
    let directory = tempfile::tempdir().unwrap();
    let made = run(
        program(&["chain", "key"]).arg(directory.path().join("orchestrator.key")),
        PATIENCE,
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    let (_held, address) = taken_port();
    let file = directory.path().join("orchestrator.toml");
    let good = orchestrator_config(directory.path());
    let free = "127.0.0.1:0";
    for (field, value) in [("registry", "\"ADDRESS\""), ("listen", "[\"ADDRESS\"]")] {
        let line = |address| format!("{field} = {}", value.replace("ADDRESS", address));
        fs::write(&file, replace(&good, &line(free), &line(&address))).unwrap();
        let mut command = program(&["orchestrator", "--config"]);
        complaints.check(command.arg(&file), 2, &[&address, "in use", field]);
    }
    complaints.expect_none();
}

#[test]
fn a_provider_whose_port_is_in_use_leaves_no_files() {
    let directory = tempfile::tempdir().unwrap();
    let (_held, address) = taken_port();
    let file = directory.path().join("provider.toml");
    let text = provider_config(directory.path());
    let text = replace(
        &text,
        "listen = \"192.0.2.1:80\"",
        &format!("listen = \"{address}\""),
    );
    fs::write(
        &file,
        replace(
            &text,
            "service_address = \"192.0.2.1\"",
            "service_address = \"127.0.0.1\"",
        ),
    )
    .unwrap();
    refused(
        program(&["provider", "--config"]).arg(&file),
        2,
        &[&address, "in use", "listen"],
    );
    assert!(!directory.path().join("state").exists());
}

/// A command in a mount namespace of its own, in which `prepare` has run as root.
fn prepared(prepare: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("{prepare} \"$0\" \"$@\"");
    command
        .args(["--mount", "sh", "-c", &script, BINARY])
        .args(arguments);
    command
}

#[test]
fn netns_without_a_tun_device_the_remedy_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let file = file.to_str().unwrap();
    for arguments in [
        &["lab", "up", file][..],
        &["lab", "run", file, "--", "true"],
        &["demo", "--headless"],
    ] {
        let mut missing = prepared("mount -t tmpfs none /dev/net && exec", arguments);
        let parts = ["/dev/net/tun", "mknod -m 666"];
        refused(missing.current_dir(directory.path()), 2, &parts);
    }
}

#[test]
fn netns_without_permission_the_remedy_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let file = file.to_str().unwrap();
    let unprivileged = "exec setpriv --reuid 65534 --regid 65534 --clear-groups";
    open_to_all(directory.path());
    let device = "mount -t tmpfs none /dev/net && mknod -m 600 /dev/net/tun c 10 200 &&";
    let mut command = prepared(&format!("{device} {unprivileged}"), &["lab", "up", file]);
    refused(&mut command, 2, &["/dev/net/tun", "chmod 666 /dev/net/tun"]);
    let mut command = prepared(unprivileged, &["trace", "--backend", "raw", "127.0.0.1"]);
    refused(&mut command, 2, &["CAP_NET_RAW", "run as root"]);
}

/// Root of a user namespace that may make no others.
#[test]
fn netns_without_user_namespaces_the_remedy_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all \
                  \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            script,
            BINARY,
            "lab",
            "up",
        ])
        .arg(&file);
    refused(
        &mut command,
        2,
        &["user namespace", "user.max_user_namespaces"],
    );
}

/// Lets everybody read the directory.
fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}
