//! One file of the memory disk: what is durable, and what was written since.
//!
//! The durable image is what any crash leaves. Writes not yet synced stay apart, in order,
//! and lie over the image for readers. A crash keeps any subset of their sectors. After a
//! failed sync the writes it should have made durable are *abandoned*: readers still see
//! them, but no later sync brings them to disk, which is what Linux does to a page cache.

use std::ops::Range;

use super::Choice;
use std::path::Path;

/// What reaches the disk as one: the sector of the smallest disks in use.
pub(super) const SECTOR_BYTES: u64 = 512;

/// Content of a file.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// Survives every crash.
    durable: Vec<u8>,
    /// Not yet durable, oldest first.
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    change: Change,
    /// A failed sync lost it: only a crash that keeps it by luck brings it to disk.
    abandoned: bool,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl Image {
    /// Length as readers see it.
    pub(super) fn len(&self) -> u64 {
        self.pending
            .iter()
            .fold(self.durable.len() as u64, |len, pending| {
                match &pending.change {
                    Change::Write { offset, bytes } => len.max(offset + bytes.len() as u64),
                    Change::SetLen(len) => *len,
                }
            })
    }

    /// Reads as much of `buffer` as the file has from `offset`.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let have = self.len().saturating_sub(offset).min(buffer.len() as u64);
        let buffer = &mut buffer[..index(have)];
        buffer.fill(0);
        overlay(buffer, offset, 0, &self.durable);
        for pending in &self.pending {
            match &pending.change {
                Change::Write { offset: at, bytes } => overlay(buffer, offset, *at, bytes),
                // What is cut off reads as zeros when the file grows again.
                Change::SetLen(len) => {
                    let from = len.saturating_sub(offset).min(have);
                    buffer[index(from)..].fill(0);
                }
            }
        }
        buffer.len()
    }

    /// Writes without making durable.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let bytes = bytes.to_vec();
        self.change(Change::Write { offset, bytes });
    }

    /// Cuts or extends without making durable.
    pub(super) fn set_len(&mut self, len: u64) {
        self.change(Change::SetLen(len));
    }

    /// Writes and makes just these bytes durable; earlier writes stay as they are.
    pub(super) fn write_durable(&mut self, bytes: &[u8], offset: u64) {
        // A length that changed goes to disk with the bytes. The order of cuts and writes
        // is then settled most simply by syncing all, which a disk may do at any time.
        let cut = |pending: &Pending| matches!(pending.change, Change::SetLen(_));
        if self.pending.iter().any(cut) {
            self.sync();
        }
        self.store(bytes, offset);
    }

    /// Makes everything durable but what a failed sync abandoned.
    pub(super) fn sync(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            match pending.change {
                Change::SetLen(len) => {
                    self.clip(len..u64::MAX);
                    self.durable.resize(index(len), 0);
                }
                Change::Write { .. } if pending.abandoned => self.pending.push(pending),
                Change::Write { offset, bytes } => self.store(&bytes, offset),
            }
        }
    }

    /// A sync failed: what was not durable may never be.
    pub(super) fn abandon(&mut self) {
        for pending in &mut self.pending {
            pending.abandoned = true;
        }
    }

    /// The machine lost power: any of the pending sectors may be on disk, the rest is lost.
    pub(super) fn crash(&mut self, file: &Path, keep: &mut dyn FnMut(Choice<'_>) -> bool) {
        for pending in std::mem::take(&mut self.pending) {
            match pending.change {
                Change::SetLen(len) => {
                    if keep(Choice::Length { file, len }) {
                        self.durable.resize(index(len), 0);
                    }
                }
                Change::Write { offset, bytes } => self.crash_write(file, &bytes, offset, keep),
            }
        }
    }

    /// Flips a bit of the durable image; false when the image ends before it.
    pub(super) fn flip(&mut self, byte: u64, bit: u8) -> bool {
        match self.durable.get_mut(index(byte)) {
            Some(found) => {
                *found ^= 1 << (bit % 8);
                true
            }
            None => false,
        }
    }

    /// Zeros a part of the durable image, as far as it reaches.
    pub(super) fn wipe(&mut self, bytes: Range<u64>) {
        let end = bytes.end.min(self.durable.len() as u64);
        if bytes.start < end {
            self.durable[index(bytes.start)..index(end)].fill(0);
        }
    }

    fn crash_write(
        &mut self,
        file: &Path,
        bytes: &[u8],
        offset: u64,
        keep: &mut dyn FnMut(Choice<'_>) -> bool,
    ) {
        let end = offset + bytes.len() as u64;
        if !keep(Choice::Write { file, offset, end }) {
            return;
        }
        // The new length may reach the disk before the bytes it promises; they are zeros.
        if end > self.durable.len() as u64 && keep(Choice::Length { file, len: end }) {
            self.durable.resize(index(end), 0);
        }
        let mut at = offset;
        while at < end {
            let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let piece = at..sector_end.min(end);
            if keep(Choice::Sector { file, offset: at }) {
                let bytes = &bytes[index(piece.start - offset)..index(piece.end - offset)];
                put(&mut self.durable, bytes, piece.start);
            }
            at = piece.end;
        }
    }

    fn change(&mut self, change: Change) {
        let abandoned = false;
        self.pending.push(Pending { change, abandoned });
    }

    fn store(&mut self, bytes: &[u8], offset: u64) {
        self.clip(offset..offset + bytes.len() as u64);
        put(&mut self.durable, bytes, offset);
    }

    /// Takes a range out of the pending writes, because something newer is durable there.
    fn clip(&mut self, range: Range<u64>) {
        for pending in std::mem::take(&mut self.pending) {
            let abandoned = pending.abandoned;
            let Change::Write { offset, bytes } = pending.change else {
                self.pending.push(pending);
                continue;
            };
            let end = offset + bytes.len() as u64;
            let before = offset..end.min(range.start);
            let after = offset.max(range.end)..end;
            for left in [before, after] {
                if left.start < left.end {
                    let bytes =
                        bytes[index(left.start - offset)..index(left.end - offset)].to_vec();
                    let offset = left.start;
                    let change = Change::Write { offset, bytes };
                    self.pending.push(Pending { change, abandoned });
                }
            }
        }
    }
}

fn put(image: &mut Vec<u8>, bytes: &[u8], offset: u64) {
    let (from, to) = (index(offset), index(offset) + bytes.len());
    if image.len() < to {
        image.resize(to, 0);
    }
    image[from..to].copy_from_slice(bytes);
}

/// Copies the part of `bytes`, which lie at `at`, that falls in `buffer`, which is at `offset`.
fn overlay(buffer: &mut [u8], offset: u64, at: u64, bytes: &[u8]) {
    let from = offset.max(at);
    let to = (offset + buffer.len() as u64).min(at + bytes.len() as u64);
    if from < to {
        buffer[index(from - offset)..index(to - offset)]
            .copy_from_slice(&bytes[index(from - at)..index(to - at)]);
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("a file of a memory disk fits in memory")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        WriteDurable(u64, Vec<u8>),
        SetLen(u64),
        Sync,
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = || proptest::collection::vec(1_u8.., 1..1500);
        prop_oneof![
            4 => (0_u64..3000, bytes()).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            2 => (0_u64..3000, bytes()).prop_map(|(at, bytes)| Step::WriteDurable(at, bytes)),
            1 => (0_u64..4000).prop_map(Step::SetLen),
            1 => Just(Step::Sync),
        ]
    }

    fn content(image: &Image) -> Vec<u8> {
        let mut bytes = vec![0xaa; index(image.len())];
        assert_eq!(image.read(&mut bytes, 0), bytes.len());
        bytes
    }

    fn run(image: &mut Image, model: &mut Vec<u8>, step: &Step) {
        match step {
            Step::Write(at, bytes) => {
                image.write(bytes, *at);
                put(model, bytes, *at);
            }
            Step::WriteDurable(at, bytes) => {
                image.write_durable(bytes, *at);
                put(model, bytes, *at);
            }
            Step::SetLen(len) => {
                image.set_len(*len);
                model.resize(index(*len), 0);
            }
            Step::Sync => image.sync(),
        }
    }

    proptest! {
        #[test]
        fn readers_see_every_write_at_once(steps in proptest::collection::vec(step(), 0..20)) {
            let (mut image, mut model) = (Image::default(), Vec::new());
            for step in &steps {
                run(&mut image, &mut model, step);
                prop_assert_eq!(&content(&image), &model);
            }
        }

        #[test]
        fn synced_bytes_survive_any_crash(
            steps in proptest::collection::vec(step(), 0..20),
            choices in proptest::collection::vec(any::<bool>(), 64),
        ) {
            let (mut image, mut model) = (Image::default(), Vec::new());
            // Per byte: durable for certain, until something not yet durable touches it.
            let mut certain: Vec<Option<u8>> = Vec::new();
            for step in &steps {
                run(&mut image, &mut model, step);
                match step {
                    Step::Write(at, bytes) => {
                        let to = index(*at) + bytes.len();
                        for byte in certain.iter_mut().take(to).skip(index(*at)) {
                            *byte = None;
                        }
                    }
                    Step::WriteDurable(at, bytes) => {
                        let to = index(*at) + bytes.len();
                        certain.resize(certain.len().max(to), None);
                        for (place, byte) in certain[index(*at)..to].iter_mut().zip(bytes) {
                            *place = Some(*byte);
                        }
                    }
                    Step::SetLen(len) => certain.truncate(index(*len)),
                    Step::Sync => certain = model.iter().copied().map(Some).collect(),
                }
            }
            let mut next = choices.iter().cycle();
            image.crash(Path::new("f"), &mut |_| *next.next().unwrap());
            let left = content(&image);
            for (at, byte) in certain.iter().enumerate() {
                if let Some(byte) = byte {
                    prop_assert_eq!(left.get(at), Some(byte), "byte {}", at);
                }
            }
        }

        #[test]
        fn a_sector_is_old_or_new_and_never_mixed(choices in proptest::collection::vec(any::<bool>(), 1..40)) {
            let mut image = Image::default();
            image.write_durable(&[1; 8192], 0);
            image.write(&[2; 4096], 1024);
            let mut next = choices.iter().cycle();
            image.crash(Path::new("f"), &mut |_| *next.next().unwrap());
            for sector in content(&image).chunks(index(SECTOR_BYTES)) {
                prop_assert!(sector.iter().all(|byte| *byte == sector[0]));
            }
        }
    }

    #[test]
    fn any_subset_of_unsynced_sectors_can_be_left() {
        // Four sectors, sixteen outcomes: each is reached by its own choices.
        for subset in 0_u64..16 {
            let mut image = Image::default();
            image.write_durable(&[0; 2048], 0);
            image.write(&[1; 2048], 0);
            image.crash(Path::new("f"), &mut |choice| match choice {
                Choice::Sector { offset, .. } => subset & (1 << (offset / SECTOR_BYTES)) != 0,
                _ => true,
            });
            for (sector, bytes) in content(&image).chunks(512).enumerate() {
                assert_eq!(u64::from(bytes[0]), (subset >> sector) & 1);
            }
        }
    }

    #[test]
    fn a_length_may_be_durable_before_its_bytes() {
        let mut image = Image::default();
        image.write(&[1; 1024], 0);
        image.crash(Path::new("f"), &mut |choice| {
            !matches!(choice, Choice::Sector { .. })
        });
        assert_eq!(content(&image), vec![0; 1024]);
    }

    #[test]
    fn a_sync_after_a_failed_sync_brings_nothing_back() {
        let mut image = Image::default();
        image.write(b"lost", 0);
        image.abandon();
        image.write(b"kept", 4);
        image.sync();
        assert_eq!(content(&image), b"lostkept");
        image.crash(Path::new("f"), &mut |_| false);
        assert_eq!(content(&image), b"\0\0\0\0kept");
    }

    #[test]
    fn a_durable_write_leaves_its_neighbours_pending() {
        let mut image = Image::default();
        image.write(&[1; 12], 0);
        image.write_durable(&[2; 4], 4);
        assert_eq!(content(&image), [1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1]);
        image.crash(Path::new("f"), &mut |_| false);
        assert_eq!(content(&image), [0, 0, 0, 0, 2, 2, 2, 2]);
    }
}
