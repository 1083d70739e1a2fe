//! forge and the compiler, from npm, and projects for them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Answers as a compiler's program would, since npm brings it as a library only.
const COMPILER: &str = r#"#!/usr/bin/env node
const solc = require("solc");
if (process.argv.includes("--version")) {
  console.log("solc, the solidity compiler commandline interface\nVersion: " + solc.version());
} else {
  let input = "";
  process.stdin.on("data", (part) => (input += part));
  process.stdin.on("end", () => process.stdout.write(solc.compile(input)));
}
"#;

/// Both, installed below `target/peers/forge`.
pub(super) struct Forge {
    folder: PathBuf,
    program: PathBuf,
}

/// A copy of the contract and its tests.
pub(super) struct Project {
    folder: PathBuf,
    program: PathBuf,
}

/// How often something of the handler was called, and how often that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) calls: u64,
    pub(super) reverts: u64,
}

/// What came of a test run.
pub(super) struct Outcome {
    pub(super) passed: bool,
    pub(super) handlers: BTreeMap<String, Calls>,
    pub(super) output: String,
}

impl Outcome {
    /// The first test that failed, or why there was none to fail.
    pub(super) fn killer(&self) -> Option<&str> {
        if self.passed {
            return None;
        }
        let failed = self.output.lines().find(|line| line.contains("[FAIL"));
        Some(failed.unwrap_or("nothing was tested").trim())
    }
}

fn contracts() -> PathBuf {
    shell::root().join("contracts")
}

/// The hand-made faults.
pub(super) fn mutants() -> Result<Vec<PathBuf>> {
    let folder = contracts().join("test/mutants");
    let mut patches = fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    patches.sort();
    Ok(patches)
}

/// Installs npm packages below `target/peers/NAME`; the folder.
pub(super) fn install(packages: &[&str], name: &str) -> Result<PathBuf> {
    let folder = shell::target().join("peers").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let quiet = [
        "install",
        "--no-save",
        "--no-audit",
        "--no-fund",
        "--silent",
    ];
    let mut install = shell::command("npm", &[&quiet[..], packages].concat());
    install.current_dir(&folder);
    shell::run(install)?;
    Ok(folder)
}

/// A program of foundry's in such a folder.
pub(super) fn program(folder: &Path, name: &str) -> Result<PathBuf> {
    fs::read_dir(folder.join("node_modules/@foundry-rs"))
        .with_context(|| format!("looking for {name}"))?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
        .find(|path| path.is_file())
        .with_context(|| format!("npm brought no {name} for this machine"))
}

impl Forge {
    pub(super) fn install() -> Result<Self> {
        let folder = install(&["solc@0.8.37", "@foundry-rs/forge@1.7.1"], "forge")?;
        let compiler = folder.join("solc.cjs");
        fs::write(&compiler, COMPILER).context("writing the compiler's program")?;
        fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755))?;
        let program = program(&folder, "forge")?;
        Ok(Self { folder, program })
    }

    /// A fresh copy of the contract, with a fault if wanted.
    pub(super) fn project(&self, name: &str, fault: Option<&Path>) -> Result<Project> {
        let folder = self.folder.join(name);
        let _none_yet = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("test")).context("making a project")?;
        let contract = folder.join("ExecEscrow.sol");
        fs::copy(contracts().join("ExecEscrow.sol"), &contract)?;
        for entry in fs::read_dir(contracts().join("test"))? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "sol") {
                let to = folder
                    .join("test")
                    .join(file.file_name().unwrap_or_default());
                fs::copy(&file, to)?;
            }
        }
        if let Some(fault) = fault {
            let mut patch = shell::command("patch", &["--silent", "ExecEscrow.sol"]);
            patch.current_dir(&folder).arg(fault);
            shell::run(patch)?;
        }
        let compiler = self.folder.join("solc.cjs");
        // halmos wants the syntax tree.
        fs::write(
            folder.join("foundry.toml"),
            format!(
                "[profile.default]\nsrc = \".\"\ntest = \"test\"\nout = \"out\"\nlibs = []\nsolc = {compiler:?}\noffline = true\n\
                 evm_version = \"cancun\"\nast = true\noptimizer = true\noptimizer_runs = 200\n",
            ),
        )?;
        Ok(Project {
            folder,
            program: self.program.clone(),
        })
    }
}

impl Project {
    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program that finds forge on its path, in the project's folder.
    pub(super) fn beside_forge(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let mut path = vec![self.program.parent().unwrap_or(Path::new("")).to_owned()];
        path.extend(program.parent().map(Path::to_owned));
        path.extend(
            std::env::var_os("PATH")
                .iter()
                .flat_map(std::env::split_paths),
        );
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command.current_dir(&self.folder);
        command
    }

    /// Runs all tests, the invariants over `runs` sequences of `depth` calls.
    pub(super) fn test(&self, runs: u32, depth: u32) -> Result<Outcome> {
        let mut command = Command::new(&self.program);
        command
            .args(["test", "--color", "never", "--fuzz-seed", "0x5eed"])
            .env("FOUNDRY_INVARIANT_RUNS", runs.to_string())
            .env("FOUNDRY_INVARIANT_DEPTH", depth.to_string())
            .current_dir(&self.folder);
        let output = command.output().context("starting forge")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !text.contains("Ran ") {
            let problem = String::from_utf8_lossy(&output.stderr);
            bail!("forge ran nothing: {text}{problem}");
        }
        Ok(Outcome {
            passed: output.status.success(),
            handlers: handlers(&text),
            output: text,
        })
    }
}

/// The rows of the table `| Handler | selector | calls | reverts | discards |`.
fn handlers(text: &str) -> BTreeMap<String, Calls> {
    text.lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let (contract, name) = (cells.next()?, cells.next()?);
            let calls = cells.next()?.parse().ok()?;
            let reverts = cells.next()?.parse().ok()?;
            (contract == "Handler").then(|| (name.to_owned(), Calls { calls, reverts }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_calls_is_read() {
        let text = "\
| Contract | Selector | Calls | Reverts | Discards |
+==================================================+
| Handler  | advance  | 276   | 0       | 0        |
|----------+----------+-------+---------+----------|
| Handler  | claim    | 290   | 202     | 0        |";
        let read = handlers(text);
        assert_eq!(read.len(), 2);
        let claim = Calls {
            calls: 290,
            reverts: 202,
        };
        assert_eq!(read["claim"], claim);
    }
}
