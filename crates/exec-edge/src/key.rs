//! `exec-edge key`: keys in encrypted files, and how the other commands come by theirs.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use edge_chain::LocalKey;
use edge_chain::keys::{KeyError, KeyFile, KeystoreError};
use edge_ports::Signer as _;
use serde_json::json;

use edge_console::exit::{EXIT_CODES, Exit, Failure};
use edge_console::output;

/// Names the file with the password where no option does.
const PASSWORD_VARIABLE: &str = "EXEC_EDGE_PASSWORD_FILE";
/// Longest password, octets.
const MAX_PASSWORD: u64 = 1024;
/// Shortest password of a new key, characters.
const MIN_PASSWORD: usize = 8;

/// Options of `exec-edge key`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXIT_CODES)]
pub(crate) enum Args {
    /// Make a key in a new file of mode 600, encrypted by a password (Web3 Secret Storage), and print its account.
    New {
        /// The new file.
        file: PathBuf,
        #[command(flatten)]
        password: Password,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Open a key file and print its account.
    Show {
        /// The file; a file descriptor is /dev/fd/N.
        file: PathBuf,
        #[command(flatten)]
        password: Password,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Where the password comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Password {
    /// File of mode 600, or /dev/fd/N, whose first line is the password; without it $EXEC_EDGE_PASSWORD_FILE, or a prompt.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (key, json) = match args {
        Args::New {
            file,
            password,
            json,
        } => {
            let password = password.of_new(file)?;
            let key = LocalKey::generate().map_err(Failure::runtime)?;
            key.write_encrypted(file, &password)
                .map_err(Failure::runtime)?;
            (key, json)
        }
        Args::Show {
            file,
            password,
            json,
        } => match read(file, password) {
            Ok(key) => (key, json),
            Err(Unread::WrongPassword(error)) => {
                output::error(&format!(
                    "{error}: the password is wrong, or the file is damaged"
                ));
                return Ok(Exit::Negative.into());
            }
            Err(Unread::Failed(failure)) => return Err(failure),
        },
    };
    let account = key.address().to_string();
    if *json {
        output::line(&json!({ "account": account }).to_string());
    } else {
        output::line(&account);
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the key that a configuration names; an encrypted one by the password that the environment or a person gives.
pub(crate) fn read_key(file: &Path) -> Result<LocalKey, Failure> {
    read_key_by(file, &Password::default())
}

/// Reads the key that an option names.
pub(crate) fn read_key_by(file: &Path, password: &Password) -> Result<LocalKey, Failure> {
    read(file, password).map_err(|unread| match unread {
        Unread::WrongPassword(error) => Failure::usage(error),
        Unread::Failed(failure) => failure,
    })
}

enum Unread {
    WrongPassword(KeyError),
    Failed(Failure),
}

fn read(file: &Path, password: &Password) -> Result<LocalKey, Unread> {
    let failed = |error| Unread::Failed(failure(file, error));
    let opened = KeyFile::open(file).map_err(failed)?;
    if !opened.is_encrypted() {
        return opened.plain().map_err(failed);
    }
    let password = password.of_file(file).map_err(Unread::Failed)?;
    opened.decrypt(&password).map_err(|error| match error {
        KeyError::Keystore {
            cause: KeystoreError::WrongPassword,
            ..
        } => Unread::WrongPassword(error),
        error => Unread::Failed(failure(file, error)),
    })
}

fn failure(file: &Path, error: KeyError) -> Failure {
    let shown = file.display();
    match error {
        KeyError::File { ref cause, .. } if cause.kind() == ErrorKind::NotFound => {
            Failure::usage(error).with_hint(format!(
                "make one: exec-edge key new {shown} (or, for a development chain, exec-edge chain key {shown})"
            ))
        }
        KeyError::Exposed { .. } => Failure::usage(error).with_hint(format!("chmod 600 {shown}")),
        _ => Failure::usage(error),
    }
}

impl Password {
    fn named(&self) -> Option<PathBuf> {
        let by_environment = || std::env::var_os(PASSWORD_VARIABLE).map(PathBuf::from);
        self.password_file.clone().or_else(by_environment)
    }

    fn of_file(&self, key: &Path) -> Result<String, Failure> {
        match self.named() {
            Some(file) => read_password(&file),
            None => prompt(&format!("Password of {}: ", key.display())),
        }
    }

    fn of_new(&self, key: &Path) -> Result<String, Failure> {
        let password = match self.named() {
            Some(file) => read_password(&file)?,
            None => {
                let first = prompt(&format!("Password for {}: ", key.display()))?;
                if first != prompt("The same again: ")? {
                    return Err(Failure::usage(anyhow::anyhow!("the two differ")));
                }
                first
            }
        };
        if password.chars().count() < MIN_PASSWORD {
            let error = anyhow::anyhow!("the password has less than {MIN_PASSWORD} characters");
            return Err(Failure::usage(error));
        }
        Ok(password)
    }
}

fn read_password(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let read = || -> std::io::Result<(u32, String)> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        let mut text = String::new();
        file.take(MAX_PASSWORD).read_to_string(&mut text)?;
        Ok((mode, text))
    };
    let (mode, text) = read()
        .with_context(|| format!("reading the password in {shown}"))
        .map_err(Failure::usage)?;
    if mode & 0o077 != 0 {
        let error = anyhow::anyhow!("password file {shown} is open to others (mode {mode:o})");
        return Err(Failure::usage(error).with_hint(format!("chmod 600 {shown}")));
    }
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn prompt(text: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage(anyhow::anyhow!("the key is encrypted")).with_hint(format!(
                "give its password by --password-file or ${PASSWORD_VARIABLE}"
            )),
        );
    }
    rpassword::prompt_password(text)
        .context("asking for the password")
        .map_err(Failure::runtime)
}
