//! Writing one JSON object member by member.

use std::io::Write as _;

use crate::stream::template::json::escape::push_string;

/// An object that is being written; [`Object::end`] closes it.
#[derive(Debug)]
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    /// Begins a member; its value is written to what is returned. The key is one of a shape's own, without anything to
    /// escape.
    pub(super) fn member(&mut self, key: &str) -> &mut Vec<u8> {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        push_string(self.member(key), value);
    }

    /// Nothing when there is no value.
    pub(super) fn text_if(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(super) fn raw(&mut self, key: &str, value: &[u8]) {
        self.member(key).extend_from_slice(value);
    }

    pub(super) fn number(&mut self, key: &str, value: i64) {
        write!(self.member(key), "{value}").expect("a vector takes all");
    }

    /// A member with its head `"key":` as it was written.
    pub(super) fn spans(&mut self, head: &[u8], value: &[u8]) {
        self.comma();
        self.out.extend_from_slice(head);
        self.out.extend_from_slice(value);
    }

    /// All members of an object, as they were written.
    pub(super) fn members_of(&mut self, object: &[u8]) {
        let inner = object.get(1..object.len().saturating_sub(1));
        let inner = inner.unwrap_or_default().trim_ascii();
        if !inner.is_empty() {
            self.comma();
            self.out.extend_from_slice(inner);
        }
    }

    fn comma(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }
}

/// Appends an array: the elements of `first`, when it is one, and what `more` appends behind them.
pub(super) fn push_array(out: &mut Vec<u8>, first: Option<&[u8]>, more: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    let start = out.len();
    if let Some(elements) = first.and_then(|array| array.strip_prefix(b"[")?.strip_suffix(b"]")) {
        out.extend_from_slice(elements.trim_ascii());
    }
    let before = out.len();
    more(out);
    if before > start && out.len() > before {
        out.insert(before, b',');
    }
    out.push(b']');
}
