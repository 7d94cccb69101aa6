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
    /// A power of two; a child whose slot is taken is in the next that is free.
    slots: Box<[Slot]>,
    /// Chosen so that few children want the same slot, mostly none.
    factor: u32,
    /// Bits of a product that are no slot's number.
    shift: u32,
    /// How far at most a child is from the slot it wants.
    distance_max: usize,
    /// Every key, with a quote at both ends, fills an [`ending`].
    all_fill_endings: bool,
}

/// A child. Its key is here with its quotes, as it stands in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::filter) struct Slot {
    /// Its [`ending`]; 0 in a free slot.
    ending: u32,
    pub(in crate::filter) node: u32,
    /// Bytes of the key and its quotes.
    quoted_bytes: u32,
    /// Bits of `first` above them.
    other_bits: u8,
    /// A path ends here.
    pub(in crate::filter) wanted: bool,
    /// It has children.
    pub(in crate::filter) has_children: bool,
    /// The first eight of them, and above them 0.
    first: u64,
    /// The last eight of them, if they are that many.
    last: u64,
}

const FREE: Slot = Slot {
    ending: 0,
    node: ROOT,
    quoted_bytes: 0,
    other_bits: 0,
    wanted: false,
    has_children: false,
    first: 0,
    last: 0,
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
        let ending = ending(key);
        (0..=table.distance_max)
            .map(|distance| table.slot(ending, distance))
            .find(|slot| slot.ending == ending && self.key(slot.node) == key)
    }

    /// The child whose key, without escapes, ends with its quote right before the colon. `Err` when the key cannot be
    /// read this way: behind white space, or near an end of the line.
    #[inline(always)]
    pub(in crate::filter) fn child_before<'t>(
        &self,
        table: &'t Table,
        line: &[u8],
        colon: usize,
    ) -> Result<Option<&'t Slot>, Unread> {
        let before = line.get(..colon).ok_or(Unread)?;
        let ending = u32::from_le_bytes(*before.last_chunk().ok_or(Unread)?);
        if ending >> 24 != u32::from(b'"') || !table.all_fill_endings {
            return Err(Unread);
        }
        let mut distance = 0;
        loop {
            let slot = table.slot(ending, distance);
            if slot.ending == ending
                && let Some(start) = colon.checked_sub(slot.quoted_bytes as usize)
            {
                let first = line.get(start..).and_then(<[u8]>::first_chunk);
                if slot.begins_with(u64::from_le_bytes(*first.ok_or(Unread)?))
                    && (slot.is_told_by_first_and_ending() || self.ends(slot, &before[start..]))
                {
                    return Ok(Some(slot));
                }
            }
            if distance == table.distance_max {
                return Ok(None);
            }
            distance += 1;
        }
    }

    /// The last bytes of the key and its quotes, of which as many are given, are these; the first eight are.
    #[inline(always)]
    fn ends(&self, slot: &Slot, quoted: &[u8]) -> bool {
        quoted
            .last_chunk()
            .is_some_and(|last| slot.last == u64::from_le_bytes(*last))
            && (quoted.len() <= 2 * WORD_BYTES
                || self.key(slot.node) == &quoted[1..quoted.len() - 1])
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
            .min_by_key(|table| table.distance_max)
            .unwrap_or_default();
    }
}

/// Factors that are tried, odd multiples of this.
const FACTORS: u32 = 64;
const FACTOR: u32 = 0x9e37_79b1;

impl Slot {
    fn new(node: u32, below: &Node) -> Self {
        let key = below.key.as_bytes();
        let quoted = [b"\"", key, b"\""].concat();
        let last = quoted.last_chunk().copied().unwrap_or_default();
        let mut first = [0; WORD_BYTES];
        for (to, from) in first.iter_mut().zip(&quoted) {
            *to = *from;
        }
        Self {
            ending: ending(key),
            node,
            quoted_bytes: u32::try_from(quoted.len()).expect("keys are shorter than 4 GiB"),
            other_bits: 8 * 8_u8.saturating_sub(u8::try_from(quoted.len()).unwrap_or(8)),
            wanted: below.wanted,
            has_children: !below.children.is_empty(),
            first: u64::from_le_bytes(first),
            last: u64::from_le_bytes(last),
        }
    }

    #[inline(always)]
    fn begins_with(&self, first: u64) -> bool {
        (first ^ self.first).wrapping_shl(self.other_bits.into()) == 0
    }

    #[inline(always)]
    fn is_told_by_first_and_ending(&self) -> bool {
        self.quoted_bytes as usize <= WORD_BYTES + ENDING_BYTES
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
        let slots = (children.len() * SLOTS_A_CHILD)
            .next_power_of_two()
            .max(SLOTS_MIN);
        let mut table = Self {
            slots: vec![FREE; slots].into(),
            factor,
            shift: u32::BITS - slots.ilog2(),
            distance_max: 0,
            all_fill_endings: (children.iter())
                .all(|child| child.quoted_bytes as usize >= ENDING_BYTES),
        };
        for child in children {
            let mut distance = 0;
            while *table.slot(child.ending, distance) != FREE {
                distance += 1;
            }
            let at = table.place(child.ending, distance);
            table.slots[at] = *child;
            table.distance_max = table.distance_max.max(distance);
        }
        table
    }

    #[inline(always)]
    fn slot(&self, ending: u32, distance: usize) -> &Slot {
        &self.slots[self.place(ending, distance)]
    }

    /// Where a child with this ending is looked for.
    #[inline(always)]
    fn place(&self, ending: u32, distance: usize) -> usize {
        let first = ending.wrapping_mul(self.factor) >> self.shift;
        (first as usize + distance) & (self.slots.len() - 1)
    }
}

/// A key that has to be read with more care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::filter) struct Unread;

/// Bytes of the words that begin and end a slot's key.
const WORD_BYTES: usize = 8;

/// Bytes of an [`ending`].
const ENDING_BYTES: usize = 4;

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
