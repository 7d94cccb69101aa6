//! Which shard takes a new connection.

/// The shard with the fewest open connections; of several, the one behind `last`, so that a
/// run of short connections does not all land on the first.
#[must_use]
pub fn place(open_connections: &[u64], last: usize) -> usize {
    let shards = open_connections.len();
    (1..=shards)
        .map(|step| (last + step) % shards)
        .min_by_key(|shard| open_connections[*shard])
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_fewest_are_and_round_when_equal() {
        assert_eq!(place(&[3, 1, 2], 0), 1);
        assert_eq!(place(&[1, 1], 0), 1);
        assert_eq!(place(&[1, 1], 1), 0);
        assert_eq!(place(&[5], 0), 0);
    }

    #[test]
    fn sixteen_connections_on_two_shards_are_eight_each() {
        let mut open = [0, 0];
        let mut last = 0;
        for _ in 0..16 {
            last = place(&open, last);
            open[last] += 1;
        }
        assert_eq!(open, [8, 8]);
    }
}
