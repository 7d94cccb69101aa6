//! The shared field table: all key paths that rules or templates ask for, as one tree of keys.
//!
//! Owns: the numbering of paths and the lookup of a key among the children of a node. Promises: the same path always
//! has the same id; a lookup costs one table access when the key is not asked for. Leaves to others: the walk over a
//! line ([`walk`](super::walk)).

/// Number of a path within its [`Paths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PathId(u32);

impl PathId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Key paths, each key stored once below its parent.
#[derive(Debug, Clone)]
pub struct Paths {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    key: Box<str>,
    parent: u32,
    /// The next sibling with the same bucket; 0 for none, for the root is nobody's sibling.
    next: u32,
    /// A path ends here: its value will be asked for.
    wanted: bool,
    children: Vec<u32>,
    /// Bit `length % 64` for each child's key.
    lengths: u64,
    /// First child of each bucket; 0 for none.
    buckets: Option<Box<Buckets>>,
}

#[derive(Debug, Clone)]
struct Buckets {
    /// Chosen so that few children share a bucket, mostly none.
    factor: u32,
    first: [u32; BUCKETS],
}

const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 6;

/// The root: the path without keys.
pub(super) const ROOT: u32 = 0;

impl Default for Paths {
    fn default() -> Self {
        Self::new()
    }
}

impl Paths {
    /// No path but the empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: vec![Node::new("", ROOT)],
        }
    }

    /// The id of `path`; new paths are added.
    ///
    /// # Panics
    /// Beyond 2^32 keys.
    pub fn add(&mut self, path: &[Box<str>]) -> PathId {
        let mut at = ROOT;
        for key in path {
            at = match self.child(at, key.as_bytes()) {
                Some(child) => child,
                None => self.add_child(at, key),
            };
        }
        self.nodes[at as usize].wanted = true;
        PathId(at)
    }

    /// The keys of a path.
    #[must_use]
    pub fn keys(&self, path: PathId) -> Vec<&str> {
        let mut keys: Vec<&str> = self.way(path).map(|node| &*self.nodes[node].key).collect();
        keys.reverse();
        keys
    }

    /// The nodes of a path from its end up to, and without, the root.
    pub(super) fn way(&self, path: PathId) -> impl Iterator<Item = usize> {
        let mut at = path.0;
        std::iter::from_fn(move || {
            let node = at;
            at = self.nodes[node as usize].parent;
            (node != ROOT).then_some(node as usize)
        })
    }

    /// Nodes, of which the root is the first.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True when a path ends here.
    #[inline(always)]
    pub(super) fn is_wanted(&self, node: u32) -> bool {
        self.nodes[node as usize].wanted
    }

    #[inline(always)]
    pub(super) fn children(&self, node: u32) -> &[u32] {
        &self.nodes[node as usize].children
    }

    /// Bit `length % 64` is set for the key of each child.
    #[inline(always)]
    pub(super) fn lengths(&self, node: u32) -> u64 {
        self.nodes[node as usize].lengths
    }

    /// The child of `node` with this decoded key.
    #[inline(always)]
    pub(super) fn child(&self, node: u32, key: &[u8]) -> Option<u32> {
        let buckets = self.nodes[node as usize].buckets.as_deref()?;
        let mut at = buckets.first[bucket(key, buckets.factor)];
        while at != 0 {
            let child = &self.nodes[at as usize];
            if is_same(child.key.as_bytes(), key) {
                return Some(at);
            }
            at = child.next;
        }
        None
    }

    fn add_child(&mut self, parent: u32, key: &str) -> u32 {
        let id = u32::try_from(self.nodes.len()).expect("rules have fewer than 2^32 keys");
        self.nodes.push(Node::new(key, parent));
        let above = &mut self.nodes[parent as usize];
        above.children.push(id);
        above.lengths |= 1 << (key.len() % 64);
        self.spread(parent);
        id
    }

    /// Spreads the children of a node over its buckets, with the best of a few factors.
    fn spread(&mut self, parent: u32) {
        let children = self.nodes[parent as usize].children.clone();
        let shared = |factor: &u32| {
            let taken = children.iter().fold(0_u64, |taken, child| {
                taken | 1 << bucket(self.nodes[*child as usize].key.as_bytes(), *factor)
            });
            children.len() - taken.count_ones() as usize
        };
        let factor = (1..=FACTORS)
            .map(|draw: u32| draw.wrapping_mul(0x9e37_79b9) | 1)
            .min_by_key(shared)
            .unwrap_or(1);
        let mut first = [0; BUCKETS];
        for child in children {
            let node = &mut self.nodes[child as usize];
            let place = &mut first[bucket(node.key.as_bytes(), factor)];
            node.next = std::mem::replace(place, child);
        }
        self.nodes[parent as usize].buckets = Some(Box::new(Buckets { factor, first }));
    }
}

/// Factors that are tried.
const FACTORS: u32 = 64;

impl Node {
    fn new(key: &str, parent: u32) -> Self {
        Self {
            key: key.into(),
            parent,
            next: 0,
            wanted: false,
            children: Vec::new(),
            lengths: 0,
            buckets: None,
        }
    }
}

/// Equality of short texts without a call.
#[inline(always)]
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (one.len(), one.first_chunk::<8>(), one.first_chunk::<4>()) {
        (8..=16, Some(first), _) => {
            other.first_chunk() == Some(first) && one.last_chunk::<8>() == other.last_chunk()
        }
        (4..8, _, Some(first)) => {
            other.first_chunk() == Some(first) && one.last_chunk::<4>() == other.last_chunk()
        }
        _ => one == other,
    }
}

/// Length and the bytes at both ends tell most keys apart.
#[inline(always)]
fn bucket(key: &[u8], factor: u32) -> usize {
    let length = key.len().to_le_bytes()[0];
    let ends = match key {
        [first, .., last] => [*first, *last],
        [only] => [*only, 0],
        [] => [0, 0],
    };
    let sum = u32::from_le_bytes([ends[0], ends[1], length, 0]);
    (sum.wrapping_mul(factor) >> (u32::BITS - BUCKET_BITS)) as usize
}
