//! `exec-edge key`: encrypted files, passwords from files and descriptors, and who may read them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod program;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use program::{Answer, program, run};

const PATIENCE: Duration = Duration::from_secs(60);

fn key(arguments: &[&str]) -> Answer {
    run(program(&["key"]).args(arguments), PATIENCE)
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Security rule 13.
#[test]
fn a_new_key_is_encrypted_and_opened_by_its_password_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    private(&path("password"), "correct horse battery\n");
    private(&path("wrong"), "correct horse\n");
    private(&path("short"), "horse\n");

    let (file, right) = (text("key"), text("password"));
    let short = key(&["new", &file, "--password-file", &text("short")]);
    assert_eq!(short.code, Some(64), "{short:?}");
    let asked = key(&["new", &file]);
    assert_eq!(asked.code, Some(64), "nobody can be asked: {asked:?}");
    assert!(asked.err.contains("--password-file"), "{asked:?}");
    let made = key(&["new", &file, "--password-file", &right]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let again = key(&["new", &file, "--password-file", &right]);
    assert_eq!(
        again.code,
        Some(2),
        "a key is never written over: {again:?}"
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    let shown = key(&["show", &file, "--password-file", &right]);
    assert_eq!((shown.code, &shown.out), (Some(0), &made.out));
    let by_environment = run(
        program(&["key", "show", &file]).env("EXEC_EDGE_PASSWORD_FILE", &right),
        PATIENCE,
    );
    assert_eq!(by_environment.out, made.out, "{by_environment:?}");
    let wrong = key(&["show", &file, "--password-file", &text("wrong")]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");

    for open in ["key", "password"] {
        fs::set_permissions(path(open), Permissions::from_mode(0o640)).unwrap();
        let told = key(&["show", &file, "--password-file", &right]);
        assert_eq!(told.code, Some(64), "{told:?}");
        assert!(told.err.contains("chmod 600"), "{told:?}");
        fs::set_permissions(path(open), Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn a_key_comes_from_a_file_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let file = file.to_str().unwrap();
    let made = run(&mut program(&["chain", "key", file]), PATIENCE);
    let piped = format!("cat {file} | {} key show /dev/fd/3 3<&0", program::BINARY);
    let mut shell = std::process::Command::new("sh");
    let told = run(shell.args(["-c", &piped]), PATIENCE);
    assert_eq!((told.code, &told.out), (Some(0), &made.out), "{told:?}");
}
