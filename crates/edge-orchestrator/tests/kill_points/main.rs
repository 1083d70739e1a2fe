//! Both sides of many agreements as real processes that are killed at their write points, again and again, over a real
//! development chain and real HTTP. In the end no money is lost, nothing was paid twice, and no capacity is held.
//!
//! Run with `soak N` it kills N times; `cargo xtask soak agreement` does that.

#![expect(
    clippy::unwrap_used,
    reason = "tests; clippy does not see that of a harness of its own"
)]

mod judge;
mod parts;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Kills of the short form.
const FEW: usize = 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["provider", folder] => parts::provider(folder.as_ref()),
        ["buyer", folder] => parts::buyer(folder.as_ref()),
        ["soak", kills] => match run(kills.parse().unwrap()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failed) => {
                world::say(&format!("FALLS SHORT: {}", failed.message().unwrap_or("")));
                ExitCode::FAILURE
            }
        },
        _ => {
            let short = Trial::test("killed_processes_lose_no_money_and_no_capacity", || {
                run(FEW)
            });
            let notice = Trial::test(
                "a_site_that_is_taken_back_is_left_and_paid_pro_rata",
                take_back,
            );
            let key = Trial::test(
                "a_site_that_changes_its_tls_key_within_a_lease_is_believed_by_its_zone",
                change_key,
            );
            // One after the other: their processes listen at the same addresses.
            let arguments = Arguments {
                test_threads: Some(1),
                ..Arguments::from_args()
            };
            libtest_mimic::run(&arguments, vec![short, notice, key]).exit_code()
        }
    }
}

/// Nobody loses anything by it: the zone tells of the new key, and the agreement goes on.
fn change_key() -> Result<(), Failed> {
    let mut world = world::World::unharmed();
    let changed = world.change_key();
    let told = changed.steps.iter().map(|(_, step)| step.as_str());
    if told
        .filter(|step| *step == "other TLS keys, as its zone says")
        .count()
        == 1
    {
        Ok(())
    } else {
        Err(format!("{:?}", changed.steps).into())
    }
}

/// Nobody is killed, but the provider's owner takes the hardware of a running lease back.
fn take_back() -> Result<(), Failed> {
    let mut world = world::World::unharmed();
    let (offer, stop) = world.take_back();
    world.wind_down();
    judge::taken_back(&world, &offer, stop)?;
    let verdict = judge::judge(&world);
    let wrong: Vec<String> = [verdict.lost, verdict.twice, verdict.leaked].concat();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

fn run(kills: usize) -> Result<(), Failed> {
    let mut world = world::World::new();
    world.kill(kills);
    world.wind_down();
    let verdict = judge::judge(&world);
    world::say(&format!(
        "{} kills, {} agreements, {} of them served and were paid; {} lost, {} escrowed twice, {} leases of capacity leaked",
        kills,
        verdict.agreements,
        verdict.paid,
        verdict.lost.len(),
        verdict.twice.len(),
        verdict.leaked.len(),
    ));
    for (point, times) in &world.points {
        world::say(&format!("{times:>5} at {point}"));
    }
    let wrong: Vec<String> = [verdict.lost, verdict.twice, verdict.leaked].concat();
    if !wrong.is_empty() {
        world.keep();
        return Err(wrong.join("\n").into());
    }
    if verdict.paid == 0 {
        return Err("nothing was ever served, so nothing is shown".into());
    }
    Ok(())
}
