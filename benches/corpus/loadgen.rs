//! The audit events that `loadgen` sends, made by its own code: what the main path is measured with.

#[path = "../../loadgen/src/event/audit.rs"]
mod audit;
#[path = "../../loadgen/src/event/random.rs"]
#[allow(dead_code, reason = "audit events need a part of it")]
mod random;

use std::fmt::Write as _;

/// Audit events of about this many bytes together, each stamped as `loadgen` stamps them. The same seed gives the same
/// bytes.
pub(crate) fn audit_events(bytes: usize, seed: u64) -> Vec<Vec<u8>> {
    let random = &mut random::Random::new(seed);
    let account = &mut audit::Account::draw(random);
    let (mut lines, mut length) = (Vec::new(), 0);
    while length < bytes {
        let mut text = String::new();
        audit::write_event(&mut text, random, account);
        write!(
            text,
            r#","run":"a{seed:07x}","sender":"00007","seq":{},"sent_us":{}}}"#,
            1_000_000_000_000_000 + lines.len(),
            1_763_712_000_000_000 + 650 * lines.len(),
        )
        .expect("a string takes all");
        length += text.len();
        lines.push(text.into_bytes());
    }
    lines
}
