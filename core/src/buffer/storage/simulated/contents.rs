//! What is in files and directories of the simulated disk, and what of it a power loss leaves.

use std::collections::{BTreeMap, BTreeSet};

use super::{BLOCK, Dice};

const SECTOR: usize = 512;
/// States of an unsynced sector that a power loss chooses from, besides the synced one.
const VERSIONS: usize = 4;

/// The contents of a file, sector by sector.
#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) bytes: Vec<u8>,
    synced: Vec<u8>,
    /// The lengths since the last sync.
    lengths: Vec<u64>,
    /// Unsynced sectors and the states they had.
    dirty: BTreeMap<usize, Dirty>,
    pub(super) blocks: BTreeSet<u64>,
}

#[derive(Clone)]
struct Dirty {
    versions: Vec<[u8; SECTOR]>,
    /// A sync of it failed: the kernel takes it for clean and never writes it unless it is stored to again.
    abandoned: bool,
}

impl Inode {
    pub(super) fn synced(bytes: &[u8]) -> Inode {
        let blocks = blocks_of(bytes.len() as u64);
        Inode { blocks, bytes: bytes.into(), synced: bytes.into(), ..Inode::default() }
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
            self.resize(end);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.touch(offset, end);
    }

    pub(super) fn resize(&mut self, len: usize) {
        let old = self.bytes.len();
        self.bytes.resize(len, 0);
        self.lengths.push(len as u64);
        if len < old {
            self.blocks.retain(|block| block * BLOCK < len as u64);
            self.touch(len, old);
        }
    }

    pub(super) fn sync(&mut self, failed: bool) {
        if failed {
            self.dirty.values_mut().for_each(|dirty| dirty.abandoned = true);
            return;
        }
        self.synced.resize(self.bytes.len(), 0);
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
        let length = if choice == 0 { self.synced.len() as u64 } else { self.lengths[choice - 1] };
        let mut bytes = self.synced.clone();
        bytes.resize(length as usize, 0);
        // Often all or none of a file, else sector by sector.
        let mood = dice.below(4);
        for (index, dirty) in &self.dirty {
            let Some(newest) = dirty.versions.last() else { continue };
            let start = (index * SECTOR).min(bytes.len());
            let end = (start + SECTOR).min(bytes.len());
            let kept = match mood {
                0 => None,
                1 => Some(newest),
                _ => match dice.below(dirty.versions.len() + 1) {
                    0 => None,
                    at => Some(&dirty.versions[at - 1]),
                },
            };
            if let Some(kept) = kept {
                bytes[start..end].copy_from_slice(&kept[..end - start]);
            }
        }
        Inode { blocks: blocks_of(bytes.len() as u64), synced: bytes.clone(), bytes, ..Inode::default() }
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
