//! The shared field table: all key paths that rules or templates ask for, as one tree of keys.
//!
//! Owns: the numbering of paths and the lookup of a key among the children of a node. Promises: the same path always
//! has the same id; a lookup costs one table access, mostly, whether the key is asked for or not. Leaves to others: the
//! walk over a line ([`walk`](super::walk)).
//!
//! A key is looked for by its last three bytes and the quote behind them, as one word: nearly all keys that are not
//! asked for end there. Its other bytes are compared eight at once.

/// Number of a path within its [`Paths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PathId(u32);

impl PathId {
    pub(in crate::filter) fn index(self) -> usize {
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
    /// A path ends here: its value will be asked for.
    wanted: bool,
    children: Vec<u32>,
    table: Table,
}

/// The children of a node by their keys.
#[derive(Debug, Clone)]
pub(in crate::filter) struct Table {
    /// First a power of two of slots, in one of which a child is looked for; then those of children that want a slot
    /// which is taken, linked from it.
    slots: Box<[Slot]>,
    /// Chosen so that few children want the same slot, mostly none.
    factor: u32,
    /// Bits of a product that are no slot's number.
    shift: u32,
    /// A key, with a quote at both ends, is shorter than an [`ending`].
    has_short: bool,
}

/// A child. Its key is here with its quotes, as it stands in a line.
#[derive(Debug, Clone, Copy)]
pub(in crate::filter) struct Slot {
    /// The last eight bytes of the key and its quotes; all of them, in the highest places, when they are fewer.
    last: u64,
    /// The first eight of them, when they are more.
    first: u64,
    pub(in crate::filter) node: u32,
    /// Bytes of the key and its quotes.
    quoted_bytes: u32,
    /// The next slot that may be meant; 0: none.
    next: u32,
    /// Bits of `last` that are not of the key: the lowest.
    other_bits: u8,
    /// A path ends here.
    pub(in crate::filter) wanted: bool,
    /// It has children.
    pub(in crate::filter) has_children: bool,
}

/// Of no key: no key is that long.
const FREE: Slot = Slot {
    last: u64::MAX,
    first: 0,
    node: ROOT,
    quoted_bytes: u32::MAX,
    next: 0,
    other_bits: 0,
    wanted: false,
    has_children: false,
};

/// Slots for each child at least: then most keys that are not asked for meet a free slot, or another ending.
const SLOTS_A_CHILD: usize = 4;
const SLOTS_MIN: usize = 16;

/// Nodes beyond which paths are many.
const MANY: usize = 8;

/// The root: the path without keys.
pub(in crate::filter) const ROOT: u32 = 0;

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
            at = match self.child(self.table(at), key.as_bytes()) {
                Some(child) => child.node,
                None => self.add_child(at, key),
            };
        }
        let end = &mut self.nodes[at as usize];
        end.wanted = true;
        let parent = end.parent;
        self.spread(parent);
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
    pub(in crate::filter) fn way(&self, path: PathId) -> impl Iterator<Item = usize> {
        let mut at = path.0;
        std::iter::from_fn(move || {
            let node = at;
            at = self.nodes[node as usize].parent;
            (node != ROOT).then_some(node as usize)
        })
    }

    /// Nodes, of which the root is the first.
    pub(in crate::filter) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// So many that of most events several are asked for.
    pub(in crate::filter) fn are_many(&self) -> bool {
        self.nodes.len() > MANY
    }

    #[inline(always)]
    pub(in crate::filter) fn children(&self, node: u32) -> &[u32] {
        &self.nodes[node as usize].children
    }

    /// The children of a node by their keys.
    #[inline(always)]
    pub(in crate::filter) fn table(&self, node: u32) -> &Table {
        &self.nodes[node as usize].table
    }

    /// The child in `table` with this decoded key.
    pub(in crate::filter) fn child<'t>(&self, table: &'t Table, key: &[u8]) -> Option<&'t Slot> {
        let mut slot = table.home(ending(key));
        while slot.quoted_bytes as usize != key.len() + 2 || self.key(slot.node) != key {
            slot = table.next(slot)?;
        }
        Some(slot)
    }

    /// The child whose key, without escapes, ends with its quote right before the colon. `Err` when the key cannot be
    /// read this way: behind white space, very short, or near the beginning of the line.
    #[inline(always)]
    pub(in crate::filter) fn child_before<'t>(
        &self,
        table: &'t Table,
        line: &[u8],
        colon: usize,
    ) -> Result<Option<&'t Slot>, Unread> {
        let before = line.get(..colon).ok_or(Unread)?;
        let last = u64::from_le_bytes(*before.last_chunk().ok_or(Unread)?);
        let mut slot = table.home((last >> u32::BITS) as u32);
        while (last ^ slot.last) >> slot.other_bits != 0 || !self.begins(slot, before) {
            match table.next(slot) {
                Some(next) => slot = next,
                None if last >> (u64::BITS - 8) != u64::from(b'"') || table.has_short => {
                    return Err(Unread);
                }
                None => return Ok(None),
            }
        }
        Ok(Some(slot))
    }

    /// The key with its quotes is all of what `before` ends with, of which the last bytes were compared.
    #[inline(always)]
    fn begins(&self, slot: &Slot, before: &[u8]) -> bool {
        let quoted_bytes = slot.quoted_bytes as usize;
        if quoted_bytes <= WORD_BYTES {
            return true;
        }
        let Some(start) = before.len().checked_sub(quoted_bytes) else {
            return false;
        };
        let quoted = &before[start..];
        quoted
            .first_chunk()
            .is_some_and(|first| slot.first == u64::from_le_bytes(*first))
            && (quoted_bytes <= 2 * WORD_BYTES
                || self.key(slot.node) == &quoted[1..quoted_bytes - 1])
    }

    fn key(&self, node: u32) -> &[u8] {
        self.nodes[node as usize].key.as_bytes()
    }

    fn add_child(&mut self, parent: u32, key: &str) -> u32 {
        let id = u32::try_from(self.nodes.len()).expect("rules have fewer than 2^32 keys");
        self.nodes.push(Node::new(key, parent));
        let above = &mut self.nodes[parent as usize];
        above.children.push(id);
        self.spread(parent);
        // It has children now.
        self.spread(self.nodes[parent as usize].parent);
        id
    }

    /// Spreads the children of a node over a new table, with the best of a few factors.
    fn spread(&mut self, parent: u32) {
        let children = &self.nodes[parent as usize].children;
        let slots: Vec<Slot> = children
            .iter()
            .map(|child| Slot::new(*child, &self.nodes[*child as usize]))
            .collect();
        self.nodes[parent as usize].table = (0..FACTORS)
            .map(|draw| Table::new(&slots, FACTOR.wrapping_mul(2 * draw + 1)))
            .min_by_key(|table| table.slots.len())
            .unwrap_or_default();
    }
}

/// Factors that are tried, odd multiples of this.
const FACTORS: u32 = 64;
const FACTOR: u32 = 0x9e37_79b1;

impl Slot {
    fn new(node: u32, below: &Node) -> Self {
        let quoted = [b"\"", below.key.as_bytes(), b"\""].concat();
        let (mut first, mut last) = ([0; WORD_BYTES], [0; WORD_BYTES]);
        for (to, from) in first.iter_mut().zip(&quoted) {
            *to = *from;
        }
        for (to, from) in last.iter_mut().rev().zip(quoted.iter().rev()) {
            *to = *from;
        }
        Self {
            last: u64::from_le_bytes(last),
            first: u64::from_le_bytes(first),
            node,
            quoted_bytes: u32::try_from(quoted.len()).expect("keys are shorter than 4 GiB"),
            next: 0,
            other_bits: 8 * 8_u8.saturating_sub(u8::try_from(quoted.len()).unwrap_or(8)),
            wanted: below.wanted,
            has_children: !below.children.is_empty(),
        }
    }
}

/// Of no children.
impl Default for Table {
    fn default() -> Self {
        Self::new(&[], FACTOR)
    }
}

impl Table {
    fn new(children: &[Slot], factor: u32) -> Self {
        let homes = (children.len() * SLOTS_A_CHILD)
            .next_power_of_two()
            .max(SLOTS_MIN);
        let shift = u32::BITS - homes.ilog2();
        let mut slots = vec![FREE; homes];
        for child in children {
            let mut at = home(child.ending(), factor, shift);
            if slots[at].quoted_bytes != FREE.quoted_bytes {
                while slots[at].next != 0 {
                    at = slots[at].next as usize;
                }
                slots[at].next = u32::try_from(slots.len()).expect("keys are fewer than 2^32");
                at = slots.len();
                slots.push(FREE);
            }
            slots[at] = *child;
        }
        Self {
            slots: slots.into(),
            factor,
            shift,
            has_short: (children.iter()).any(|child| (child.quoted_bytes as usize) < ENDING_BYTES),
        }
    }

    /// Where a child with this ending is looked for first.
    #[inline(always)]
    fn home(&self, ending: u32) -> &Slot {
        &self.slots[home(ending, self.factor, self.shift)]
    }

    /// Where it is looked for after this slot.
    #[inline(always)]
    fn next(&self, slot: &Slot) -> Option<&Slot> {
        (slot.next != 0).then(|| &self.slots[slot.next as usize])
    }
}

#[inline(always)]
fn home(ending: u32, factor: u32, shift: u32) -> usize {
    (ending.wrapping_mul(factor) >> shift) as usize
}

/// A key that has to be read with more care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::filter) struct Unread;

/// Bytes of the words that begin and end a slot's key.
const WORD_BYTES: usize = 8;

/// Bytes of an [`ending`].
const ENDING_BYTES: usize = 4;

impl Slot {
    /// [`ending`] of its key.
    fn ending(&self) -> u32 {
        (self.last >> u32::BITS) as u32
    }
}

/// The last four bytes of a key in quotes as one word, the last in the highest place. If they are fewer, the lowest are
/// 0: no byte of a key.
fn ending(key: &[u8]) -> u32 {
    let start = key.len().saturating_sub(ENDING_BYTES - 1);
    let quote = (key.len() < ENDING_BYTES - 1).then_some(b'"');
    let bytes = quote.iter().chain(&key[start..]).chain(b"\"");
    bytes.fold(0, |word, byte| word >> 8 | u32::from(*byte) << 24)
}

impl Node {
    fn new(key: &str, parent: u32) -> Self {
        Self {
            key: key.into(),
            parent,
            wanted: false,
            children: Vec::new(),
            table: Table::default(),
        }
    }
}

/// Equality of short texts without a call.
#[inline(always)]
pub(in crate::filter) fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    // Both ends, which may overlap.
    match one.len() {
        17..=32 => are_ends_same::<16>(one, other),
        8..=16 => are_ends_same::<8>(one, other),
        4..8 => are_ends_same::<4>(one, other),
        2..4 => are_ends_same::<2>(one, other),
        _ => one == other,
    }
}

#[inline(always)]
fn are_ends_same<const BYTES: usize>(one: &[u8], other: &[u8]) -> bool {
    one.first_chunk::<BYTES>() == other.first_chunk()
        && one.last_chunk::<BYTES>() == other.last_chunk()
}
