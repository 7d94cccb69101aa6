//! How an endpoint misbehaves when told to.
//!
//! Owns the decisions only: which request fails and how, and when the endpoint hangs or is down.
//! Pure: time and request numbers are handed in.

use std::time::Duration;

/// The misbehaviour asked for; by default none.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Misbehaviour of the receiver")]
pub(crate) struct Faults {
    /// Wait this many milliseconds before each answer
    #[arg(long = "slow", value_name = "MS", default_value_t = 0)]
    pub(crate) slow_ms: u64,
    /// Statuses of failing requests, in turn [503 when only --fail-every or --fail-first is given]
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(300..=599))]
    pub(crate) fail_status: Vec<u16>,
    /// Every N-th request fails
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) fail_every: Option<u64>,
    /// The first N requests fail
    #[arg(long, value_name = "N")]
    pub(crate) fail_first: Option<u64>,
    /// `Retry-After` of failing requests, seconds
    #[arg(long, value_name = "S")]
    pub(crate) retry_after: Option<u64>,
    /// Failing requests are taken, but the connection closes half way through the answer
    #[arg(long)]
    pub(crate) close_mid_response: bool,
    /// For how long the endpoint accepts, but neither reads nor answers
    #[arg(long, value_name = "TIME", value_parser = crate::units::parse_duration)]
    pub(crate) hang_for: Option<Duration>,
    /// When it begins to hang; at once, if not given
    #[arg(long, value_name = "TIME", value_parser = crate::units::parse_duration)]
    pub(crate) hang_after: Option<Duration>,
    /// For how long the endpoint does not listen
    #[arg(long, value_name = "TIME", value_parser = crate::units::parse_duration)]
    pub(crate) down_for: Option<Duration>,
    /// When it stops listening; at once, if not given
    #[arg(long, value_name = "TIME", value_parser = crate::units::parse_duration)]
    pub(crate) down_after: Option<Duration>,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Stored and answered with 200.
    Accept,
    /// Read, not stored, answered with this status.
    Refuse(u16),
    /// Stored, but the sender does not get to know.
    CloseMidResponse,
}

impl Faults {
    /// The fate of the `number`-th request, counted from 1 over all connections.
    pub(super) fn fate(&self, number: u64) -> Fate {
        let selected = match (self.fail_every, self.fail_first) {
            (None, None) => self.close_mid_response || !self.fail_status.is_empty(),
            (every, first) => {
                every.is_some_and(|every| number.is_multiple_of(every))
                    || first.is_some_and(|first| number <= first)
            }
        };
        if !selected {
            return Fate::Accept;
        }
        let ways = self.fail_status.len() as u64 + u64::from(self.close_mid_response);
        if ways == 0 {
            return Fate::Refuse(503);
        }
        // The turn advances with each failing request, not with each request, or `every` and the
        // number of ways could conspire to use one way only.
        let turn = number
            .div_ceil(self.fail_every.unwrap_or(1))
            .saturating_sub(1)
            % ways;
        let status = usize::try_from(turn)
            .ok()
            .and_then(|turn| self.fail_status.get(turn));
        status.map_or(Fate::CloseMidResponse, |&status| Fate::Refuse(status))
    }

    /// How long the endpoint still hangs at `elapsed` since its start.
    pub(super) fn hang_left(&self, elapsed: Duration) -> Duration {
        window_left(self.hang_after, self.hang_for, elapsed)
    }

    /// How long the endpoint is still down at `elapsed` since its start.
    pub(super) fn down_left(&self, elapsed: Duration) -> Duration {
        window_left(self.down_after, self.down_for, elapsed)
    }
}

fn window_left(after: Option<Duration>, length: Option<Duration>, elapsed: Duration) -> Duration {
    let start = after.unwrap_or_default();
    match length {
        Some(length) if elapsed >= start => (start + length).saturating_sub(elapsed),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(faults: &Faults) -> Vec<Fate> {
        (1..=6).map(|number| faults.fate(number)).collect()
    }

    #[test]
    fn requests_fail_as_asked_and_in_turn() {
        use Fate::{Accept, CloseMidResponse, Refuse};
        assert_eq!(fates(&Faults::default()), [Accept; 6]);
        let always = Faults {
            fail_status: vec![500],
            ..Faults::default()
        };
        assert_eq!(fates(&always), [Refuse(500); 6]);
        let first = Faults {
            fail_first: Some(2),
            ..Faults::default()
        };
        assert_eq!(fates(&first)[..3], [Refuse(503), Refuse(503), Accept]);
        let turns = Faults {
            fail_status: vec![429],
            close_mid_response: true,
            fail_every: Some(2),
            ..Faults::default()
        };
        let expected = [
            Accept,
            Refuse(429),
            Accept,
            CloseMidResponse,
            Accept,
            Refuse(429),
        ];
        assert_eq!(fates(&turns), expected);
    }

    #[test]
    fn windows_have_a_start_and_an_end() {
        let seconds = Duration::from_secs;
        let faults = Faults {
            hang_after: Some(seconds(5)),
            hang_for: Some(seconds(10)),
            ..Faults::default()
        };
        let left = [0, 5, 12, 15, 60].map(|at| faults.hang_left(seconds(at)).as_secs());
        assert_eq!(left, [0, 10, 3, 0, 0]);
        assert_eq!(faults.down_left(seconds(1)), Duration::ZERO);
    }
}
