//! Packages from npm, for tests against their programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Installs an npm package, once for all tests of a program; the folder that has it.
pub fn install(package: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let name: String = package
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("npm{name}"));
    let done = dir.join("installed");
    if done.exists() {
        return dir;
    }
    std::fs::create_dir_all(&dir).unwrap();
    let output = Command::new("npm")
        .args(["install", "--no-save", "--no-audit", "--no-fund", package])
        .current_dir(&dir)
        .output()
        .unwrap_or_else(|error| panic!("this test needs npm (Debian: nodejs npm): {error}"));
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "npm install {package} failed: {problem}"
    );
    std::fs::write(done, "").unwrap();
    dir
}
