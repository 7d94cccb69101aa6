//! How long to wait before a failed parcel is tried again. Pure arithmetic: the caller
//! brings the random number and keeps the clock.
//!
//! Exponential with full jitter: the bound doubles from `delay_min` to `delay_max`, and the
//! delay is drawn evenly between nothing and the bound, so that streams which failed
//! together do not come back together. There is no give-up.

use std::time::Duration;

use super::settings::Backoff;

/// Longest wait a destination may ask for with `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The delay before try `attempt + 1`.
///
/// `attempt` is the number of the try that failed, 0 for the first; `random` is any evenly
/// drawn number; `asked` is what the destination asked for. The delay is never below `asked`
/// (cut to [`RETRY_AFTER_MAX`]) and never above the larger of `asked` and `delay_max`.
#[must_use]
pub fn delay(settings: &Backoff, attempt: u32, random: u64, asked: Option<Duration>) -> Duration {
    let drawn = fraction(bound(settings, attempt), random);
    let asked = asked.unwrap_or_default().min(RETRY_AFTER_MAX);
    drawn.max(asked)
}

/// `delay_min · 2^attempt`, at most `delay_max`.
fn bound(settings: &Backoff, attempt: u32) -> Duration {
    2_u32
        .checked_pow(attempt)
        .and_then(|factor| settings.delay_min.checked_mul(factor))
        .map_or(settings.delay_max, |grown| grown.min(settings.delay_max))
}

/// `whole · random / 2^64`.
fn fraction(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let drawn = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(drawn).expect("a fraction of a u64 fits in one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: Backoff = Backoff {
        delay_min: Duration::from_millis(200),
        delay_max: Duration::from_secs(60),
    };

    #[test]
    fn bound_doubles_until_the_maximum() {
        let bounds: Vec<u128> = (0..12)
            .map(|attempt| bound(&SETTINGS, attempt).as_millis())
            .collect();
        assert_eq!(
            bounds,
            [
                200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000, 60_000
            ]
        );
    }

    #[test]
    fn half_of_the_random_range_gives_half_of_the_bound() {
        assert_eq!(
            delay(&SETTINGS, 3, 1 << 63, None),
            Duration::from_millis(800)
        );
        assert_eq!(delay(&SETTINGS, 3, 0, None), Duration::ZERO);
    }

    #[test]
    fn what_the_destination_asks_for_is_a_floor_of_at_most_an_hour() {
        let asked = |seconds| delay(&SETTINGS, 0, u64::MAX, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(30), Duration::from_secs(30));
        assert_eq!(asked(86_400), RETRY_AFTER_MAX);
        assert_eq!(asked(0), delay(&SETTINGS, 0, u64::MAX, None));
    }

    proptest! {
        #[test]
        fn delay_stays_between_what_was_asked_and_the_bound(
            min in 0_u64..10_000, more in 0_u64..10_000_000, attempt: u32, random: u64,
            asked in proptest::option::of(0_u64..10_000_000),
        ) {
            let settings = Backoff {
                delay_min: Duration::from_millis(min),
                delay_max: Duration::from_millis(min + more),
            };
            let asked = asked.map(Duration::from_millis);
            let floor = asked.unwrap_or_default().min(RETRY_AFTER_MAX);
            let drawn = delay(&settings, attempt, random, asked);
            prop_assert!(drawn >= floor);
            prop_assert!(drawn <= floor.max(settings.delay_max));
        }

        #[test]
        fn a_later_attempt_with_the_same_draw_never_waits_less(attempt in 0_u32..200, random: u64) {
            let now = delay(&SETTINGS, attempt, random, None);
            prop_assert!(delay(&SETTINGS, attempt + 1, random, None) >= now);
        }
    }
}
