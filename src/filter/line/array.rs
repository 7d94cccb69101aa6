//! The elements of a raw array, one after the other.
//!
//! Owns: cutting an array into the raw bytes of its elements. Promises: each element of a valid array; of other bytes
//! some slices, and an end. Leaves to others: what they mean. Arrays that rules look into are short, so this goes byte
//! by byte.

/// Elements of the array that `raw` is, brackets included.
pub(in crate::filter) fn elements(raw: &[u8]) -> Elements<'_> {
    Elements {
        rest: raw.strip_prefix(b"[").unwrap_or_default(),
    }
}

/// See [`elements`].
pub(in crate::filter) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self
            .rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b','))?;
        let rest = &self.rest[start..];
        let end = match rest.first()? {
            b']' => return None,
            b'"' => string_end(rest),
            b'{' | b'[' => container_end(rest),
            _ => rest
                .iter()
                .position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b']'))
                .unwrap_or(rest.len()),
        };
        self.rest = &rest[end..];
        Some(&rest[..end])
    }
}

/// Behind the string that `rest` begins with.
fn string_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Behind the container that `rest` begins with.
fn container_end(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = rest.get(at) {
        match byte {
            b'"' => {
                at += string_end(&rest[at..]);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    rest.len()
}
