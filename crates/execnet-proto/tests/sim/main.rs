//! The resume protocol under every kind of failure. A seeded generator runs clients, a daemon, agents and
//! tunnels, joined by virtual links that it cuts, stalls and reopens, and restarts any part.
//!
//! `EXECNET_SIM_SEEDS=N` runs N worlds, from `EXECNET_SIM_FROM` on. A failure names its seed.

mod agent;
mod daemon;
mod host;
mod net;
mod plan;
mod program;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

/// Worlds in a usual run.
const SEEDS: u64 = 1_500;

/// Steps after which a world counts as spinning.
const MOST: u64 = 3_000_000;

#[allow(clippy::disallowed_methods)] // the crate reads no environment; its test may
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn whatever_breaks_every_byte_arrives_once_and_every_process_ends() {
    let (from, count) = (setting("EXECNET_SIM_FROM", 0), setting("EXECNET_SIM_SEEDS", SEEDS));
    let most = setting("EXECNET_SIM_STEPS", u64::MAX);
    let (mut steps, mut seeds, mut short) = (0, 0, 0);
    let mut outcomes: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in from..from.saturating_add(count) {
        let mut world = World::new(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run(MOST))) {
            eprintln!("seed {seed}: EXECNET_SIM_FROM={seed} EXECNET_SIM_SEEDS=1 runs it again");
            if setting("EXECNET_SIM_DUMP", 0) == 1 {
                eprintln!("{}", world.dump());
            }
            resume_unwind(panic);
        }
        steps += world.steps;
        seeds += 1;
        for (name, number) in &world.outcomes {
            *outcomes.entry(name).or_default() += number;
        }
        short += world.short();
        if steps >= most {
            break;
        }
    }
    println!("{seeds} worlds, {steps} steps, {short} frames the short way, processes {outcomes:?}");
    assert!(seeds < SEEDS || short > 10_000, "{short} frames took the short way");
    for outcome in ["ended", "kept work ended", "taken work ended", "reader ended", "lost: taken over"] {
        let few = seeds < SEEDS;
        assert!(few || outcomes.contains_key(outcome), "in none of {seeds} worlds one {outcome}");
    }
}
