//! What the endpoint kept, body by body, with the identity each came under.
//!
//! Owns reading the folder `loadgen receive --store` fills (one head of 40 bytes, identity and body
//! a record) for the one question the load generator's own verdict leaves open: whether one
//! identity always stands for the same bytes.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// One body as it came.
pub(crate) struct Body {
    /// Place in the order of receipt.
    pub(crate) ordinal: u64,
    /// Its `Idempotency-Key`.
    pub(crate) identity: String,
    /// Its events, decoded.
    pub(crate) text: Vec<u8>,
}

/// All bodies of the folder in the order of receipt.
pub(crate) fn read(folder: &Path) -> Vec<Body> {
    let mut bodies = Vec::new();
    for entry in fs::read_dir(folder).expect("the endpoint's folder") {
        let path = entry.expect("the endpoint's folder").path();
        let bytes = fs::read(&path).expect("read stored bodies");
        let mut rest = bytes.as_slice();
        while let Some((head, after)) = rest.split_at_checked(HEAD_BYTES) {
            assert_eq!(&head[..8], b"LGBODY01", "{}", path.display());
            let identity_bytes = usize::try_from(word(head, 24) >> 32).expect("a length");
            let body_bytes = usize::try_from(word(head, 32)).expect("a length");
            // An endpoint that was killed may leave half a record, which it answered nobody for.
            if after.len() < identity_bytes + body_bytes {
                break;
            }
            let (identity, after) = after.split_at(identity_bytes);
            let (body, after) = after.split_at(body_bytes);
            rest = after;
            bodies.push(Body {
                ordinal: word(head, 8),
                identity: String::from_utf8(identity.to_vec()).expect("an identity is text"),
                text: decoded(body, word(head, 24) & 1 == 1),
            });
        }
    }
    bodies.sort_by_key(|body| body.ordinal);
    bodies
}

/// Fails unless every identity stands for the same bytes each time; gives back how many bodies came
/// again.
pub(crate) fn assert_identities_name_bytes(folder: &Path) -> usize {
    let bodies = read(folder);
    let mut first: HashMap<&str, &Body> = HashMap::new();
    for body in &bodies {
        assert!(!body.identity.is_empty(), "body {} has none", body.ordinal);
        let known = first.entry(&body.identity).or_insert(body);
        let same = known.text == body.text;
        let (identity, before, now) = (&body.identity, known.ordinal, body.ordinal);
        assert!(same, "{identity}: bodies {before} and {now} differ");
    }
    bodies.len() - first.len()
}

fn word(head: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"))
}

fn decoded(body: &[u8], gzip: bool) -> Vec<u8> {
    if !gzip {
        return body.to_vec();
    }
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(body).read_to_end(&mut text);
    read.expect("a body is whole gzip");
    text
}

const HEAD_BYTES: usize = 40;
