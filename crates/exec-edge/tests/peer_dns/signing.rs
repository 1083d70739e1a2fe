//! Zones signed rightly and wrongly, with BIND's tools.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

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
}

/// Writes a zone; returns what to serve and the DS record that its parent is to have, if any.
pub(crate) fn write(
    apex: &str,
    text: &str,
    signing: Signing,
    directory: &Path,
) -> (ZoneFile, String) {
    let name = if apex.is_empty() { "root" } else { apex };
    let plain = directory.join(format!("{name}.zone"));
    fs::write(&plain, text).unwrap();
    let mut zone = ZoneFile {
        apex: apex.to_owned(),
        file: plain.clone(),
        is_signed: false,
        is_hashed: signing == Signing::Hashed,
    };
    if signing == Signing::None {
        return (zone, String::new());
    }
    let origin = format!("{apex}.");
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
    let output = run(Command::new("dnssec-keygen")
        .args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", origin])
        .current_dir(directory));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn ds_of(key: &str, directory: &Path) -> String {
    let output = run(Command::new("dnssec-dsfromkey")
        .args(["-2", key])
        .current_dir(directory));
    String::from_utf8(output.stdout).unwrap()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} does not start ({error}); `cargo xtask test` installs what tests need")
    });
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}
