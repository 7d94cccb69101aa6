//! The lazy walker: finds the values of paths in the raw bytes of a line, and no more than it is asked for.
//!
//! Owns: following keys from the top, first key first, on the bit masks of [`Index`]. Promises: every byte of a line
//! is walked over at most once however many paths are asked for; the walk stops where the answer is known and goes on
//! from there; on bytes that are no JSON object it ends with some answer, without panic. Leaves to others: what a
//! value means.
//!
//! How: within an object only colons and brackets are visited. A colon's key stands before it, and its value behind.
//! A value that is not asked for costs nothing when it is a scalar, and one pass over the brackets of its masks when
//! it is a container.

use std::ops::Range;

use super::index::{Index, run};
use super::paths::{PathId, Paths, ROOT, Slot, Table};
use super::text;
use crate::os::simd::{CHUNK_BYTES, Job, Level, Vector};

/// Where the value of a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// First byte, or one of the two marks below.
    start: u32,
    /// Behind the last byte; 0 when not yet known.
    end: u32,
}

/// The walk has not come to it.
const UNKNOWN: u32 = u32::MAX;
/// It is not in the line.
const ABSENT: u32 = u32::MAX - 1;

impl Place {
    const UNKNOWN: Self = Self {
        start: UNKNOWN,
        end: 0,
    };
    const ABSENT: Self = Self {
        start: ABSENT,
        end: ABSENT,
    };
}

/// An object that is being walked.
#[derive(Debug, Clone, Copy)]
struct Frame {
    node: u32,
    /// Children not met yet; with none left the rest of the object is skipped.
    left: u32,
}

/// The walk over one line. Its memory is used again for the next.
pub struct Walker {
    level: Option<Level>,
    index: Index,
    places: Vec<Place>,
    open: Vec<Frame>,
    /// Where the walk goes on.
    at: usize,
    /// A decoded key.
    key: Vec<u8>,
}

impl Default for Walker {
    fn default() -> Self {
        Self::new()
    }
}

impl Walker {
    /// With the widest instructions of this CPU.
    #[must_use]
    pub fn new() -> Self {
        Self::with_level(Level::best())
    }

    /// With the given instructions; `None` is the portable way. For tests and benches.
    #[must_use]
    pub fn with_level(level: Option<Level>) -> Self {
        Self {
            level,
            index: Index::default(),
            places: Vec::new(),
            open: Vec::new(),
            at: 0,
            key: Vec::new(),
        }
    }

    /// The instructions it walks with.
    pub(in crate::filter) fn level(&self) -> Option<Level> {
        self.level
    }

    /// Turns to a new line. All later calls up to the next `begin` must come with the same paths and line.
    #[inline]
    pub fn begin(&mut self, paths: &Paths, line: &[u8]) {
        self.index.reset(line.len());
        self.restart(paths, line);
    }

    /// To the top of the line again; the masks stay.
    #[inline]
    fn restart(&mut self, paths: &Paths, line: &[u8]) {
        self.places.clear();
        self.places.resize(paths.len(), Place::UNKNOWN);
        self.open.clear();
        let top = skip_space(line, 0);
        // Places are 32 bits wide; a longer line is treated as one without fields.
        if line.get(top) == Some(&b'{') && line.len() < ABSENT as usize {
            self.places[ROOT as usize].start = narrow(top);
            self.open.push(Frame {
                node: ROOT,
                left: narrow(paths.children(ROOT).len()),
            });
            self.at = top + 1;
        } else {
            self.places.fill(Place::ABSENT);
        }
    }

    /// The raw bytes of a path's value, quotes and brackets included.
    #[inline]
    pub fn find(&mut self, paths: &Paths, line: &[u8], path: PathId) -> Option<Range<usize>> {
        let (start, end) = self.span(paths, line, path);
        (start != ABSENT as usize).then_some(start..end)
    }

    /// As [`Self::find`]: the bytes, none when the path is not there.
    #[inline(always)]
    pub(in crate::filter) fn value<'l>(
        &mut self,
        paths: &Paths,
        line: &'l [u8],
        path: PathId,
    ) -> &'l [u8] {
        let place = self.places[path.index()];
        let (start, end) = if place.end == 0 {
            self.span(paths, line, path)
        } else {
            (place.start as usize, place.end as usize)
        };
        // Of an absent value both are beyond the line.
        line.get(start..end).unwrap_or_default()
    }

    /// The line from where the value of a path begins; nothing when the path is not there.
    #[inline(always)]
    pub(in crate::filter) fn value_and_rest<'l>(
        &mut self,
        paths: &Paths,
        line: &'l [u8],
        path: PathId,
    ) -> &'l [u8] {
        if self.places[path.index()].start == UNKNOWN {
            self.walk(paths, line, path.index());
        }
        let start = self.places[path.index()].start as usize;
        line.get(start..).unwrap_or_default()
    }

    /// Where the value of a path begins and ends.
    #[inline(never)]
    fn span(&mut self, paths: &Paths, line: &[u8], path: PathId) -> (usize, usize) {
        if self.places[path.index()].start == UNKNOWN {
            self.walk(paths, line, path.index());
        }
        let place = self.places[path.index()];
        let start = place.start as usize;
        if place.end != 0 {
            return (start, place.end as usize);
        }
        let end = match line.get(start) {
            Some(b'{' | b'[') => self.container_end(line, start + 1),
            Some(_) => scalar_end(line, start),
            None => return (ABSENT as usize, ABSENT as usize),
        };
        self.places[path.index()].end = narrow(end);
        (start, end)
    }

    /// Bytes of the line whose masks were made, rounded up.
    #[inline]
    pub(in crate::filter) fn walked_bytes(&self) -> usize {
        self.index.ready_bytes()
    }

    /// True when what was walked over has a backslash; a value found without has no escapes.
    #[inline]
    pub(in crate::filter) fn has_backslash(&self) -> bool {
        self.index.has_backslash()
    }

    #[inline(never)]
    fn walk(&mut self, paths: &Paths, line: &[u8], target: usize) {
        self.walk_for::<false>(paths, line, target, &mut []);
    }

    #[inline]
    fn walk_for<const MARKS: bool>(
        &mut self,
        paths: &Paths,
        line: &[u8],
        target: usize,
        marks: &mut [bool],
    ) {
        let job = Walk::<MARKS> {
            index: &mut self.index,
            level: self.level,
            places: &mut self.places,
            open: &mut self.open,
            at: &mut self.at,
            key: &mut self.key,
            paths,
            line,
            target,
            marks,
        };
        run(self.level, job);
    }

    fn container_end(&mut self, line: &[u8], from: usize) -> usize {
        let index = &mut self.index;
        let level = self.level;
        let job = ContainerEnd {
            index,
            level,
            line,
            from,
        };
        run(level, job)
    }

    /// Marks the nodes whose key the object on their way holds twice. Fields are found anew afterwards.
    pub(in crate::filter) fn duplicates(
        &mut self,
        paths: &Paths,
        line: &[u8],
        marks: &mut Vec<bool>,
    ) {
        marks.clear();
        marks.resize(paths.len(), false);
        self.restart(paths, line);
        if let Some(top) = self.open.last_mut() {
            top.left = NEVER_DONE;
        }
        self.walk_for::<true>(paths, line, ROOT as usize, marks);
    }
}

/// Finds the end of a container.
struct ContainerEnd<'a> {
    index: &'a mut Index,
    level: Option<Level>,
    line: &'a [u8],
    from: usize,
}

impl Job for ContainerEnd<'_> {
    type Output = usize;
    #[inline(always)]
    fn run<V: Vector>(self, _: V) -> usize {
        self.index
            .skip_containers(self.level, self.line, self.from, 1)
    }
}

/// Walks until the target is known, or, to mark equal keys, to the end of the line.
struct Walk<'a, const MARKS: bool> {
    /// These are the walker's.
    index: &'a mut Index,
    level: Option<Level>,
    places: &'a mut [Place],
    open: &'a mut Vec<Frame>,
    at: &'a mut usize,
    key: &'a mut Vec<u8>,

    paths: &'a Paths,
    line: &'a [u8],
    target: usize,
    marks: &'a mut [bool],
}

/// Children left of an object that is walked to its end.
const NEVER_DONE: u32 = u32::MAX;

/// What a colon leads to.
enum Met<'a> {
    /// A key that is not asked for, or was met before.
    Other,
    /// A value that is no object, or nothing in it is asked for.
    Value,
    /// An object to walk into.
    Object(&'a Slot, usize),
}

/// Where the walk is.
struct Position<'a> {
    frame: Frame,
    /// Of the frame's node.
    table: &'a Table,
    at: usize,
    /// Objects and arrays around `at` to leave first.
    skipped: u32,
    /// The bracket of the object that was walked into last.
    entered: usize,
}

impl<const MARKS: bool> Job for Walk<'_, MARKS> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(mut self, _: V) {
        let Some(frame) = self.open.pop() else {
            return;
        };
        let mut position = Position {
            frame,
            table: self.paths.table(frame.node),
            at: *self.at,
            skipped: 0,
            entered: usize::MAX,
        };
        while self.leave_done(&mut position) && self.visit(&mut position) {}
    }
}

impl<'a, const MARKS: bool> Walk<'a, MARKS> {
    /// Leaves what nothing more is asked for within; false when that is everything.
    #[inline(always)]
    fn leave_done(&mut self, position: &mut Position<'a>) -> bool {
        while position.frame.left == 0 {
            if !self.leave(position) {
                return false;
            }
            position.skipped += 1;
        }
        if position.skipped > 0 {
            let (at, skipped) = (position.at, position.skipped);
            position.at = (self.index).skip_containers(self.level, self.line, at, skipped);
            position.skipped = 0;
        }
        true
    }

    /// To what is around the object; false when nothing is.
    #[inline(always)]
    fn leave(&mut self, position: &mut Position<'a>) -> bool {
        let Some(above) = self.open.pop() else {
            return false;
        };
        position.frame = above;
        position.table = self.paths.table(above.node);
        true
    }

    /// Visits colons and brackets until something is to be left; false when the walk is over for now.
    #[inline(always)]
    fn visit(&mut self, position: &mut Position<'a>) -> bool {
        let (line, level) = (self.line, self.level);
        // Of many paths others will be asked for soon: what has masks is walked over at once.
        let many = self.paths.are_many();
        let mut chunk = position.at / CHUNK_BYTES;
        let mut mask = u64::MAX << (position.at % CHUNK_BYTES);
        loop {
            if !self.index.is_ready(chunk) {
                if self.is_known() {
                    return self.pause(position.frame, position.at.max(chunk * CHUNK_BYTES));
                }
                if !self.index.reach(level, line, chunk) {
                    return self.abandon(position.frame);
                }
            }
            let mut bits = self.index.stops(chunk) & mask;
            while bits != 0 {
                let stop = chunk * CHUNK_BYTES + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                position.at = stop + 1;
                match line[stop] {
                    b':' => match self.key(&mut position.frame, position.table, stop) {
                        Met::Other => continue,
                        Met::Value => {}
                        Met::Object(child, value) => {
                            self.open.push(position.frame);
                            position.frame = self.frame(child.node);
                            position.table = self.paths.table(child.node);
                            position.entered = value;
                            position.at = value + 1;
                        }
                    },
                    b'{' | b'[' if stop == position.entered => continue,
                    b'{' | b'[' => {
                        position.skipped = 1;
                        return true;
                    }
                    _ => {
                        absent_below(self.paths, self.places, position.frame.node);
                        if !self.leave(position) {
                            return false;
                        }
                    }
                }
                if !many && self.is_known() {
                    return self.pause(position.frame, position.at);
                }
                if position.frame.left == 0 {
                    return true;
                }
            }
            mask = u64::MAX;
            chunk += 1;
        }
    }

    /// Takes the key before a colon.
    #[inline(always)]
    fn key(&mut self, frame: &mut Frame, table: &'a Table, colon: usize) -> Met<'a> {
        let Some(child) = self.child(table, colon) else {
            return Met::Other;
        };
        let line = self.line;
        let place = &mut self.places[child.node as usize];
        if place.start != UNKNOWN {
            if MARKS {
                self.marks[child.node as usize] = true;
            }
            return Met::Other;
        }
        if !MARKS {
            frame.left -= 1;
        }
        let mut value = colon + 1;
        if line.get(value).is_some_and(|byte| is_space(*byte)) {
            value = skip_space(line, value);
        }
        let Some(first) = line.get(value) else {
            return Met::Value;
        };
        place.start = narrow(value);
        // The end of a string is near in the masks; other ends are looked for when they are asked for.
        if *first == b'"' && child.wanted {
            let quote = match self.index.quote_near(value + 1) {
                Some(quote) => Some(quote),
                None => self.index.quote_from(self.level, line, value + 1),
            };
            place.end = narrow(quote.map_or(line.len(), |quote| quote + 1));
        }
        if child.has_children {
            if *first == b'{' {
                return Met::Object(child, value);
            }
            absent_below(self.paths, self.places, child.node);
        }
        Met::Value
    }

    /// The walk goes on here when more is asked for.
    #[inline(always)]
    fn pause(&mut self, frame: Frame, at: usize) -> bool {
        self.open.push(frame);
        *self.at = at;
        false
    }

    #[inline(always)]
    fn is_known(&self) -> bool {
        !MARKS && self.places[self.target].start != UNKNOWN
    }

    /// The child whose key stands before the colon.
    #[inline(always)]
    fn child(&mut self, table: &'a Table, colon: usize) -> Option<&'a Slot> {
        if self.index.is_plain_before(colon)
            && let Ok(child) = self.paths.child_before(table, self.line, colon)
        {
            return child;
        }
        self.any_child(table, colon)
    }

    /// As [`Self::child`], of any key.
    #[inline(never)]
    fn any_child(&mut self, table: &'a Table, colon: usize) -> Option<&'a Slot> {
        let mut key = key_before(self.index, self.line, colon)?;
        let decoded = &mut *self.key;
        if key.contains(&b'\\') {
            decoded.clear();
            text::unescape(key, decoded);
            key = decoded;
        }
        self.paths.child(table, key)
    }

    #[inline(always)]
    fn frame(&self, node: u32) -> Frame {
        Frame {
            node,
            left: if MARKS {
                NEVER_DONE
            } else {
                narrow(self.paths.children(node).len())
            },
        }
    }

    /// The line ended within an object, as no valid line does: what was not met is not there.
    #[cold]
    fn abandon(&mut self, frame: Frame) -> bool {
        self.open.push(frame);
        while let Some(frame) = self.open.pop() {
            absent_below(self.paths, self.places, frame.node);
        }
        false
    }
}

/// The key before a colon.
fn key_before<'a>(index: &Index, line: &'a [u8], colon: usize) -> Option<&'a [u8]> {
    let mut close = colon.checked_sub(1)?;
    while is_space(line[close]) {
        close = close.checked_sub(1)?;
    }
    let open = index.quote_before(close)?;
    line.get(open + 1..close)
}

/// What was not met below `node` is not there.
#[cold]
fn absent_below(paths: &Paths, places: &mut [Place], node: u32) {
    for child in paths.children(node) {
        if places[*child as usize].start == UNKNOWN {
            places[*child as usize] = Place::ABSENT;
            absent_below(paths, places, *child);
        }
    }
}

/// Behind the number or literal at `start`.
fn scalar_end(line: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(eight) = line.get(at..).and_then(<[u8]>::first_chunk) {
        let ends = scalar_ends(u64::from_le_bytes(*eight));
        if ends != 0 {
            return at + ends.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let length = line[at..]
        .iter()
        .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
    length.map_or(line.len(), |length| at + length)
}

/// The top bit of the first byte that is a comma, a closing bracket or white space, and maybe of bytes behind it.
#[inline(always)]
fn scalar_ends(eight: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
    // A difference borrows from the bytes behind only where a byte is below what is taken from it.
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word & TOPS;
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    // Set bit 5 makes curly brackets of square ones.
    is(eight, b',') | is(eight | (ONES * 0x20), b'}') | below(eight, b' ' + 1)
}

#[inline(always)]
fn skip_space(line: &[u8], from: usize) -> usize {
    let mut at = from;
    while line.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

#[inline(always)]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Places, and numbers of children, as they are kept.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "lines that are walked over are shorter than 4 GiB, and so are rules"
)]
fn narrow(at: usize) -> u32 {
    at as u32
}
