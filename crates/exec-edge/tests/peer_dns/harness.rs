//! Tests that are processes: each runs this program again as the outermost process of a sandbox.

use std::io::Write as _;
use std::process::{Command, ExitCode};

use edge_lab::sandbox::{self, Begin, Inside};
use libtest_mimic::{Arguments, Failed, Trial};

/// First argument of a sandbox's processes.
const RUN: &str = "run-in-sandbox";

/// A test, by its name. It fails by panicking.
pub(crate) type Test = (&'static str, fn(Inside));

/// The whole of `main`.
pub(crate) fn run(tests: &'static [Test]) -> ExitCode {
    let arguments = std::env::args_os().skip(1).collect();
    let (arguments, inside) = match sandbox::begin(arguments).unwrap() {
        Begin::Finished(code) => return code,
        Begin::Proceed { arguments, inside } => (arguments, inside),
    };
    if arguments.first().is_none_or(|first| first != RUN) {
        return conclude(tests);
    }
    let Some(inside) = inside else {
        return sandbox::enclose(&arguments).unwrap();
    };
    let (_, test) = tests
        .iter()
        .find(|(name, _)| arguments[1] == **name)
        .unwrap();
    test(inside);
    ExitCode::SUCCESS
}

fn conclude(tests: &'static [Test]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share the machine's processors.
    arguments.test_threads = Some(1);
    let shows = arguments.nocapture;
    let trials = tests.iter().map(|(name, _)| {
        Trial::test(*name, move || {
            let program = std::env::current_exe()?;
            let output = Command::new(program).args([RUN, name]).output()?;
            if shows {
                std::io::stdout().write_all(&output.stdout)?;
            }
            if output.status.success() {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&output.stderr);
            Err(Failed::from(format!("{}\n{text}", output.status)))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
