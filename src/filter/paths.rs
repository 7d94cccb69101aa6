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
    /// First child of each bucket; 0 for none.
    buckets: Option<Box<[u32; BUCKETS]>>,
}

const BUCKETS: usize = 32;

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

    /// The child of `node` with this decoded key.
    #[inline(always)]
    pub(super) fn child(&self, node: u32, key: &[u8]) -> Option<u32> {
        let buckets = self.nodes[node as usize].buckets.as_deref()?;
        let mut at = buckets[bucket(key)];
        while at != 0 {
            let child = &self.nodes[at as usize];
            if child.key.as_bytes() == key {
                return Some(at);
            }
            at = child.next;
        }
        None
    }

    fn add_child(&mut self, parent: u32, key: &str) -> u32 {
        let id = u32::try_from(self.nodes.len()).expect("rules have fewer than 2^32 keys");
        let mut node = Node::new(key, parent);
        let above = &mut self.nodes[parent as usize];
        above.children.push(id);
        let buckets = above.buckets.get_or_insert_with(|| Box::new([0; BUCKETS]));
        node.next = std::mem::replace(&mut buckets[bucket(key.as_bytes())], id);
        self.nodes.push(node);
        id
    }
}

impl Node {
    fn new(key: &str, parent: u32) -> Self {
        Self {
            key: key.into(),
            parent,
            next: 0,
            wanted: false,
            children: Vec::new(),
            buckets: None,
        }
    }
}

/// Length and the bytes at both ends tell most keys apart.
#[inline(always)]
fn bucket(key: &[u8]) -> usize {
    match (key.first(), key.last()) {
        (Some(first), Some(last)) => {
            (key.len() + usize::from(*first) * 3 + usize::from(*last) * 5) % BUCKETS
        }
        _ => 0,
    }
}
