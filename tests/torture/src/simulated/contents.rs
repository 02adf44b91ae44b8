//! What is in files and directories of the simulated disk, and what of it a power loss leaves.

use std::collections::{BTreeMap, BTreeSet};

use super::{BLOCK, Dice};

const SECTOR: usize = 512;
/// States of an unsynced sector that a power loss chooses from, besides the synced one.
const VERSIONS: usize = 4;

/// The contents of a file, sector by sector. Behind its bytes there is a hole, as long as it says that it is.
#[derive(Clone, Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    pub(super) length: u64,
    synced: Vec<u8>,
    synced_length: u64,
    /// The lengths since the last sync.
    lengths: Vec<u64>,
    /// Unsynced sectors and the states they had.
    dirty: BTreeMap<usize, Dirty>,
    pub(super) blocks: BTreeSet<u64>,
}

/// The longest file that is not mostly a hole.
const LONGEST: u64 = 64 << 20;

#[derive(Clone)]
struct Dirty {
    versions: Vec<[u8; SECTOR]>,
    /// A sync of it failed: the kernel takes it for clean and never writes it unless it is stored to again.
    abandoned: bool,
}

impl Inode {
    /// A file of which everything is synced; behind the bytes is a hole.
    pub(super) fn synced(bytes: Vec<u8>, length: u64) -> Inode {
        let length = length.max(bytes.len() as u64);
        let blocks = blocks_of(if length <= LONGEST { length } else { bytes.len() as u64 });
        Inode { blocks, synced: bytes.clone(), bytes, length, synced_length: length, ..Inode::default() }
    }

    /// All of it; of a very long one what is before the hole.
    pub(super) fn all(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.length <= LONGEST {
            bytes.resize(self.length as usize, 0);
        }
        bytes
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let got = (buf.len() as u64).min(self.length.saturating_sub(offset)) as usize;
        let there = usize::try_from(offset).ok().and_then(|start| self.bytes.get(start..)).unwrap_or_default();
        let (head, hole) = buf[..got].split_at_mut(there.len().min(got));
        head.copy_from_slice(&there[..head.len()]);
        hole.fill(0);
        got
    }

    /// Whether there is memory to write so far.
    pub(super) fn has_room(&self, end: u64) -> bool {
        end <= LONGEST.max(self.bytes.len() as u64)
    }

    fn sector(bytes: &[u8], index: usize) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        let start = (index * SECTOR).min(bytes.len());
        let end = (start + SECTOR).min(bytes.len());
        sector[..end - start].copy_from_slice(&bytes[start..end]);
        sector
    }

    fn touch(&mut self, from: usize, to: usize) {
        for index in from / SECTOR..to.div_ceil(SECTOR) {
            let version = Inode::sector(&self.bytes, index);
            let dirty = self.dirty.entry(index).or_insert(Dirty { versions: Vec::new(), abandoned: false });
            dirty.abandoned = false;
            if dirty.versions.len() == VERSIONS {
                // The oldest but one: both ends of the history stay.
                dirty.versions.remove(1);
            }
            dirty.versions.push(version);
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if self.length < end as u64 {
            self.resize(end as u64);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.touch(offset, end);
    }

    pub(super) fn resize(&mut self, length: u64) {
        let old = std::mem::replace(&mut self.length, length);
        self.lengths.push(length);
        if length < old {
            self.blocks.retain(|block| block * BLOCK < length);
            let (from, to) = (usize::try_from(length).unwrap_or(usize::MAX), self.bytes.len());
            self.bytes.truncate(from);
            self.touch(from.min(to), to);
        }
    }

    pub(super) fn sync(&mut self, failed: bool) {
        if failed {
            self.dirty.values_mut().for_each(|dirty| dirty.abandoned = true);
            return;
        }
        self.synced.resize(self.bytes.len(), 0);
        self.synced_length = self.length;
        self.lengths.clear();
        let bytes = &self.bytes;
        let synced = &mut self.synced;
        self.dirty.retain(|index, dirty| {
            let start = (index * SECTOR).min(bytes.len());
            let end = (start + SECTOR).min(bytes.len());
            if !dirty.abandoned {
                synced[start..end].copy_from_slice(&bytes[start..end]);
            }
            dirty.abandoned
        });
    }

    /// What a power loss leaves.
    pub(super) fn after_power_loss(&self, dice: &mut Dice) -> Inode {
        let choice = dice.below(self.lengths.len() + 1);
        let length = if choice == 0 { self.synced_length } else { self.lengths[choice - 1] };
        let most = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = self.synced.clone();
        bytes.truncate(most);
        // Often all or none of a file, else sector by sector.
        let mood = dice.below(4);
        for (index, dirty) in &self.dirty {
            let Some(newest) = dirty.versions.last() else { continue };
            let start = (index * SECTOR).min(most);
            let end = (start + SECTOR).min(most);
            let kept = match mood {
                0 => None,
                1 => Some(newest),
                _ => match dice.below(dirty.versions.len() + 1) {
                    0 => None,
                    at => Some(&dirty.versions[at - 1]),
                },
            };
            if let Some(kept) = kept {
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].copy_from_slice(&kept[..end - start]);
            }
        }
        Inode::synced(bytes, length)
    }
}

pub(super) fn blocks_of(len: u64) -> BTreeSet<u64> {
    (0..len.div_ceil(BLOCK)).collect()
}

/// A change to the names of a directory.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) removed: Option<String>,
    pub(super) added: Option<(String, u64)>,
}

#[derive(Clone, Default)]
pub(super) struct Names {
    pub(super) now: BTreeMap<String, u64>,
    pub(super) synced: BTreeMap<String, u64>,
    pub(super) unsynced: Vec<Change>,
}

impl Names {
    pub(super) fn change(&mut self, change: Change) {
        Names::apply(&mut self.now, &change);
        self.unsynced.push(change);
    }

    pub(super) fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
        if let Some(name) = &change.removed {
            names.remove(name);
        }
        if let Some((name, inode)) = &change.added {
            names.insert(name.clone(), *inode);
        }
    }

    /// Those that have a name, or may have one after a power loss.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        let unsynced = self.unsynced.iter().filter_map(|change| change.added.as_ref().map(|(_, inode)| *inode));
        self.now.values().chain(self.synced.values()).copied().chain(unsynced)
    }

    pub(super) fn after_power_loss(&self, dice: &mut Dice) -> Names {
        let mut names = self.synced.clone();
        // A journal keeps a prefix; the standard promises nothing of the kind.
        let prefix = dice.chance(2).then(|| dice.below(self.unsynced.len() + 1));
        for (at, change) in self.unsynced.iter().enumerate() {
            let kept = match prefix {
                Some(prefix) => at < prefix,
                None => dice.chance(2),
            };
            if kept {
                Names::apply(&mut names, change);
            }
        }
        Names { now: names.clone(), synced: names, unsynced: Vec::new() }
    }
}
