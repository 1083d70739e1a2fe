//! Zones signed rightly and wrongly: with BIND's tools, rightly also with Knot's and ldns's, or by the servers themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::place::Host;

use crate::servers::ZoneFile;

/// How a zone is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signing {
    /// Not at all.
    None,
    /// Rightly, and its parent vouches for it.
    Good,
    /// The same, denying names by hash (RFC 5155).
    Hashed,
    /// Rightly, but its parent does not vouch for it, so nobody can tell.
    NoDs,
    /// Its signatures have run out.
    Expired,
    /// The parent vouches for another key.
    WrongKey,
    /// Not at all, though the parent vouches for it.
    Stripped,
    /// Port 8080 of its SRV records became 8081 after they were signed.
    Forged,
    /// Rightly, in another way than [`Signing::Good`] is: by BIND's tools, with ECDSA P-256, denying names in the clear.
    By(Signer),
    /// Rightly, by the server itself while it runs. NSD cannot, so ldns does it beforehand.
    Own,
}

/// Who signs a zone, with what, and how absent names are denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// BIND's tools with RSA, one key for the keys and another for the rest.
    BindRsa,
    /// ldns with RSA, denying by hash.
    LdnsRsaHashed,
    /// ldns with ECDSA P-384.
    LdnsP384,
    /// Knot with Ed25519.
    KnotEd25519,
    /// Knot with ECDSA P-256, denying by hash.
    KnotHashed,
}

impl Signer {
    const fn is_hashed(self) -> bool {
        matches!(self, Self::LdnsRsaHashed | Self::KnotHashed)
    }
}

/// Writes a zone; returns what to serve and the DS record that its parent is to have, if any.
pub(crate) fn write(
    apex: &str,
    text: &str,
    signing: Signing,
    host: Host,
    directory: &Path,
) -> (ZoneFile, String) {
    let name = if apex.is_empty() { "root" } else { apex };
    let plain = directory.join(format!("{name}.zone"));
    fs::write(&plain, text).unwrap();
    let mut zone = ZoneFile {
        apex: apex.to_owned(),
        file: plain.clone(),
        is_signed: false,
        is_hashed: match signing {
            Signing::By(signer) => signer.is_hashed(),
            other => other == Signing::Hashed,
        },
        own_key: None,
        for_unbound: None,
    };
    let origin = format!("{apex}.");
    let by = match signing {
        Signing::None => return (zone, String::new()),
        Signing::By(signer) => Some(signer),
        Signing::Own if host == Host::Nsd => Some(Signer::LdnsP384),
        Signing::Own => {
            let key = make_own_key(&origin, directory);
            let ds = ds_of(&key, directory);
            zone.own_key = Some(directory.join(key));
            return (zone, ds);
        }
        _ => None,
    };
    if let Some(signer) = by {
        zone.is_signed = true;
        let ds;
        (zone.file, ds) = sign_by(signer, &origin, &plain, directory);
        return (zone, ds);
    }
    let key = make_key(&origin, directory);
    let ds = match signing {
        Signing::NoDs => String::new(),
        Signing::WrongKey => ds_of(&make_key(&origin, directory), directory),
        _ => ds_of(&key, directory),
    };
    if signing != Signing::Stripped {
        zone.file = directory.join(format!("{name}.signed"));
        zone.is_signed = true;
        let out = zone.file.display().to_string();
        let mut sign = Command::new("dnssec-signzone");
        sign.args(["-q", "-z", "-P", "-o", &origin, "-f", &out]);
        if signing == Signing::Expired {
            sign.args(["-s", "20200101000000", "-e", "20200201000000"]);
        }
        if signing == Signing::Hashed {
            sign.args(["-3", "-", "-H", "0"]);
        }
        let public = fs::read_to_string(directory.join(format!("{key}.key"))).unwrap();
        fs::write(&plain, format!("{text}{public}")).unwrap();
        run(sign.arg(&plain).arg(&key).current_dir(directory));
    }
    if signing == Signing::Forged {
        let signed = fs::read_to_string(&zone.file).unwrap();
        assert!(signed.contains(" 8080 "), "{signed}");
        fs::write(&zone.file, signed.replace(" 8080 ", " 8081 ")).unwrap();
    }
    (zone, ds)
}

/// Signs the zone in the file `plain`; returns the signed one and the DS record.
fn sign_by(signer: Signer, origin: &str, plain: &Path, directory: &Path) -> (PathBuf, String) {
    match signer {
        Signer::BindRsa => sign_by_bind(origin, plain, directory),
        Signer::LdnsRsaHashed => sign_by_ldns(
            "RSASHA256",
            &["-n", "-t", "0", "-s", ""],
            origin,
            plain,
            directory,
        ),
        Signer::LdnsP384 => sign_by_ldns("ECDSAP384SHA384", &[], origin, plain, directory),
        Signer::KnotEd25519 => sign_by_knot("ED25519", "off", origin, plain),
        Signer::KnotHashed => sign_by_knot("ECDSAP256SHA256", "on", origin, plain),
    }
}

fn sign_by_bind(origin: &str, plain: &Path, directory: &Path) -> (PathBuf, String) {
    let make = |more: &[&str]| {
        let mut keygen = Command::new("dnssec-keygen");
        keygen.args(["-q", "-a", "RSASHA256", "-b", "2048"]);
        line_of(keygen.args(more).arg(origin).current_dir(directory))
    };
    let of_keys = make(&["-f", "KSK"]);
    make(&[]);
    let signed = plain.with_extension("signed");
    let mut sign = Command::new("dnssec-signzone");
    // It finds the keys by itself.
    sign.args(["-q", "-S", "-P", "-o", origin, "-f"])
        .arg(&signed);
    run(sign.arg(plain).current_dir(directory));
    (signed, ds_of(&of_keys, directory))
}

fn sign_by_ldns(
    algorithm: &str,
    denial: &[&str],
    origin: &str,
    plain: &Path,
    directory: &Path,
) -> (PathBuf, String) {
    let mut keygen = Command::new("ldns-keygen");
    keygen.args(["-k", "-a", algorithm, "-b", "2048", origin]);
    let key = line_of(keygen.current_dir(directory));
    let signed = plain.with_extension("signed");
    let mut sign = Command::new("ldns-signzone");
    sign.args(denial).args(["-o", origin, "-f"]).arg(&signed);
    run(sign.arg(plain).arg(&key).current_dir(directory));
    (signed, ds_of(&key, directory))
}

fn sign_by_knot(algorithm: &str, nsec3: &str, origin: &str, plain: &Path) -> (PathBuf, String) {
    let home = plain.with_extension("knot");
    fs::create_dir_all(&home).unwrap();
    let config = home.join("knot.conf");
    let (storage, file) = (home.display(), plain.display());
    let text = format!(
        "database:\n  storage: {storage}\npolicy:\n  - id: own\n    algorithm: {algorithm}\n    single-type-signing: on\n\
         \x20   nsec3: {nsec3}\n    nsec3-iterations: 0\n    nsec3-salt-length: 0\nzone:\n  - domain: {origin}\n\
         \x20   file: {file}\n    dnssec-signing: on\n    dnssec-policy: own\n"
    );
    fs::write(&config, text).unwrap();
    let keymgr = |arguments: &[&str]| {
        let mut command = Command::new("keymgr");
        run(command.arg("-c").arg(&config).arg(origin).args(arguments))
    };
    let algorithm = format!("algorithm={algorithm}");
    keymgr(&["generate", &algorithm, "ksk=yes", "zsk=yes"]);
    let said = String::from_utf8(keymgr(&["ds"]).stdout).unwrap();
    let ds = said.lines().next().unwrap().replacen(" DS ", " IN DS ", 1) + "\n";
    let signed = home.join("signed");
    fs::create_dir_all(&signed).unwrap();
    let mut sign = Command::new("kzonesign");
    run(sign
        .arg("-c")
        .arg(&config)
        .arg("-o")
        .arg(&signed)
        .arg(origin));
    (signed.join(plain.file_name().unwrap()), ds)
}

/// The policy by which BIND signs itself, in the language of its configuration.
pub(crate) const OWN_POLICY: &str =
    "dnssec-policy own { keys { csk lifetime unlimited algorithm ecdsap256sha256; }; };\n";

/// Makes a key with which a server signs by itself; returns its name.
fn make_own_key(origin: &str, directory: &Path) -> String {
    let policy = directory.join("own-policy.conf");
    fs::write(&policy, OWN_POLICY).unwrap();
    let mut keygen = Command::new("dnssec-keygen");
    keygen
        .args(["-q", "-k", "own", "-l"])
        .arg(&policy)
        .arg(origin);
    line_of(keygen.current_dir(directory))
}

/// The DNSKEY record of the root's key.
pub(crate) fn key_of_root(directory: &Path) -> String {
    let mut files = fs::read_dir(directory).unwrap().flatten();
    let is_key = |name: &str| name.starts_with("K.+") && name.ends_with(".key");
    let file = files
        .find(|file| is_key(&file.file_name().to_string_lossy()))
        .unwrap();
    fs::read_to_string(file.path()).unwrap()
}

/// Makes a key that signs everything; returns its name.
fn make_key(origin: &str, directory: &Path) -> String {
    line_of(
        Command::new("dnssec-keygen")
            .args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", origin])
            .current_dir(directory),
    )
}

fn ds_of(key: &str, directory: &Path) -> String {
    let output = run(Command::new("dnssec-dsfromkey")
        .args(["-2", key])
        .current_dir(directory));
    String::from_utf8(output.stdout).unwrap()
}

fn line_of(command: &mut Command) -> String {
    let output = run(command);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} does not start ({error}); `cargo xtask test` installs what tests need")
    });
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}
