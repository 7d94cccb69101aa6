//! The simulation: the real state machines of a node on the memory disk, under every fault
//! that the promise names, judged by an oracle at every step.
//!
//! One seed is one run. `WEIR_SIM_SEED=n` runs that one, `WEIR_SIM_SEEDS=n` sets how many
//! run, `WEIR_SIM_FIRST=n` where they begin. `faults` and `rot` say what happens, the shells
//! do what the threads of the node do, `oracle` and `lane_oracle` know what was promised,
//! `drain` ends a run. `mutations` break the promise on purpose, to show that it is seen.
//! Sockets, threads and the kernel are left to `tests/integration`.

mod drain;
mod faults;
mod internal_shell;
mod journal_shell;
mod keeper_shell;
mod lane_oracle;
mod lane_shell;
mod mutations;
mod oracle;
mod promise;
mod random;
mod rot;
mod run;
mod trace;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mutations::Mutation;
use run::Run;
use trace::Trace;

/// Seeds of `make test`.
const SEEDS: u64 = 2_000;

/// Seeds within which every mutation is seen.
const MUTATION_SEEDS: u64 = 400;

/// Why a run failed.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    /// What the oracle, or the code under test, said.
    why: String,
    /// The last of what the run did.
    tail: String,
}

/// Runs a seed; gives its trace's fingerprint.
fn run_seed(seed: u64, mutation: Option<Mutation>) -> Result<(u64, u64), Failure> {
    let trace = Trace::default();
    let kept = trace.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| Run::new(seed, trace, mutation).run()));
    match ran {
        Ok(()) => Ok(kept.fingerprint()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Failure {
                why: text.unwrap_or_default(),
                tail: kept.tail(),
            })
        }
    }
}

fn told(seed: u64, failure: &Failure) -> String {
    format!(
        "{}\nseed {seed}: {}\nreplay: WEIR_SIM_SEED={seed} cargo test --test simulation whatever_happens",
        failure.tail, failure.why
    )
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

#[test]
fn whatever_happens_every_acknowledged_event_keeps_its_promise() {
    if let Some(seed) = number("WEIR_SIM_SEED") {
        if let Err(failure) = run_seed(seed, None) {
            panic!("{}", told(seed, &failure));
        }
        return;
    }
    let first = number("WEIR_SIM_FIRST").unwrap_or(0);
    let end = first.saturating_add(number("WEIR_SIM_SEEDS").unwrap_or(SEEDS));
    let begun = Instant::now();
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
                        if let Err(failure) = run_seed(seed, None) {
                            let told = told(seed, &failure);
                            // At once: a soak may run for days before it ends.
                            eprintln!("{told}");
                            failures.push(told);
                        }
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
    println!("{} seeds in {:?}", end - first, begun.elapsed());
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    let mut traces = HashSet::new();
    for seed in 0..40 {
        let first = run_seed(seed, None);
        assert_eq!(first, run_seed(seed, None), "seed {seed}");
        traces.insert(first.expect("a run without a failure"));
    }
    assert_eq!(traces.len(), 40, "every seed is a run of its own");
}

#[test]
fn every_broken_promise_is_seen() {
    for (mutation, promises) in Mutation::ALL {
        let seen = (0..MUTATION_SEEDS).find_map(|seed| {
            let failure = run_seed(seed, Some(mutation)).err()?;
            Some((seed, failure.why))
        });
        let Some((seed, why)) = seen else {
            panic!("{mutation:?} is not seen in {MUTATION_SEEDS} seeds");
        };
        println!("{mutation:?}: seed {seed}: {why}");
        let named = |promise: &&&str| why.starts_with(&format!("[{promise}]"));
        assert!(
            promises.iter().any(|promise| named(&promise)),
            "{mutation:?}, seed {seed}: another promise than {promises:?} was broken: {why}"
        );
    }
}
