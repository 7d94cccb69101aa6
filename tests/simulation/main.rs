//! The simulation: the real state machines of a node on the memory disk, under every fault
//! that the promise names, judged by an oracle at every step.
//!
//! One seed is one run. `WEIR_SIM_SEED=n` runs that one, `WEIR_SIM_SEEDS=n` sets how many
//! run, `WEIR_SIM_FIRST=n` where they begin. `faults` says what happens, `journal_shell` and
//! `lane_shell` do what the threads of the node do, `oracle` knows what was promised. Sockets,
//! threads and the kernel are left to `tests/integration`.

mod faults;
mod journal_shell;
mod lane_shell;
mod oracle;
mod random;
mod run;
mod trace;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use run::Run;
use trace::Trace;

/// Seeds of `make test`.
const SEEDS: u64 = 2_000;

/// Runs a seed; gives its trace's fingerprint, or what it says of its failure.
fn run_seed(seed: u64) -> Result<(u64, u64), String> {
    let trace = Trace::default();
    let kept = trace.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| Run::new(seed, trace).run()));
    match ran {
        Ok(()) => Ok(kept.fingerprint()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_default();
            Err(format!(
                "{}\nseed {seed}: {text}\nWEIR_SIM_SEED={seed} replays it",
                kept.tail()
            ))
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
fn whatever_happens_every_acknowledged_event_keeps_its_promise() {
    if let Some(seed) = number("WEIR_SIM_SEED") {
        run_seed(seed).unwrap_or_else(|why| panic!("{why}"));
        return;
    }
    let first = number("WEIR_SIM_FIRST").unwrap_or(0);
    let end = first.saturating_add(number("WEIR_SIM_SEEDS").unwrap_or(SEEDS));
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|worker| {
                let work = || {
                    let mut failures = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end || failures.len() > 2 {
                            return failures;
                        }
                        failures.extend(run_seed(seed).err());
                    }
                };
                std::thread::Builder::new()
                    .name(format!("sim-{worker}"))
                    .spawn_scoped(scope, work)
                    .expect("a thread")
            })
            .collect();
        let ended = running.into_iter();
        ended
            .flat_map(|worker| worker.join().expect("a worker ends"))
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    for seed in 0..20 {
        assert_eq!(run_seed(seed), run_seed(seed), "seed {seed}");
    }
}
