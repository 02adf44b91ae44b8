//! A disk that forgets what was not synced, and fails when told to. For tests only.
//!
//! Every store is volatile until its file is synced; every name is until its directory is. A power loss keeps, of
//! each unsynced 512-byte sector, any state that it had since the last sync, and of the unsynced creations, renames
//! and removals any prefix or any subset. The death of the process keeps every store, but may tear the one under way.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use super::super::format::SEGMENT_HEADER_BYTES;
use super::{
    Chunk, Directory, Disk, File, FileId, FileKind, Holder, Open, Ownership, Seen, SegmentReader, SegmentWriter,
    Sharing, sync_name,
};
use crate::environment::{Clock, Environment, lock};
use crate::options::Trust;
use crate::sync::Mutex;

const SECTOR: usize = 512;
const BLOCK: u64 = 4096;
/// States of an unsynced sector that a power loss chooses from, besides the synced one.
const VERSIONS: usize = 4;

/// A reproducible source of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    pub(crate) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// What is done to the disk: what can fail, and where a crash can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    CreateDir,
    OpenDir,
    List,
    Open,
    Rename,
    Remove,
    SyncDir,
    Lock,
    MayMap,
    Len,
    SetLen,
    Allocate,
    Read,
    Write,
    /// A write of one word: it is stored whole or not at all.
    WriteWord,
    Sync,
    Map,
    MapRead,
    /// A store to a mapped page. Only a failing disk makes it fail.
    Store,
}

impl Op {
    /// Whether a crash before it leaves something else than a crash before the operation that follows.
    fn changes(self) -> bool {
        use Op::*;
        matches!(
            self,
            CreateDir | Open | Rename | Remove | SyncDir | SetLen | Allocate | Write | WriteWord | Sync | Store
        )
    }
}

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// An error number of the operating system.
    Errno(i32),
    /// A write stores a part and then fails for want of space.
    Short,
}

impl Trouble {
    fn error(self) -> io::Error {
        match self {
            Trouble::Errno(number) => io::Error::from_raw_os_error(number),
            Trouble::Short => io::Error::from_raw_os_error(libc::ENOSPC),
        }
    }

    /// Whether an operating system answers this operation so.
    pub(crate) fn fits(self, op: Op) -> bool {
        use Op::*;
        match self {
            Trouble::Short => op == Write,
            Trouble::Errno(libc::EIO) => true,
            Trouble::Errno(libc::ENOSPC) => {
                matches!(op, CreateDir | Open | Rename | SetLen | Allocate | Write | WriteWord | Sync)
            }
            Trouble::Errno(libc::EROFS) => {
                matches!(op, CreateDir | Open | Rename | Remove | SetLen | Allocate | Write | WriteWord | Lock)
            }
            Trouble::Errno(libc::EMFILE) => matches!(op, OpenDir | List | Open | Lock | SyncDir | Map | MapRead),
            // Reads, writes and allocations go on after a signal behind the seam.
            Trouble::Errno(libc::EINTR) => matches!(op, OpenDir | Open | Sync | SyncDir | Lock | SetLen),
            Trouble::Errno(_) => true,
        }
    }
}

/// Which operations fail, counted from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) trouble: Trouble,
    /// Everything from there on, not only that one.
    pub(crate) lasts: bool,
}

/// How the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process dies; the kernel keeps what was stored.
    Kill,
    /// Only what was synced is certain.
    Power,
}

/// The contents of a file, sector by sector.
#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// The lengths since the last sync.
    lengths: Vec<u64>,
    /// Unsynced sectors and the states they had.
    dirty: BTreeMap<usize, Dirty>,
    blocks: BTreeSet<u64>,
}

#[derive(Clone)]
struct Dirty {
    versions: Vec<[u8; SECTOR]>,
    /// A sync of it failed: the kernel takes it for clean and never writes it unless it is stored to again.
    abandoned: bool,
}

impl Inode {
    fn synced(bytes: &[u8]) -> Inode {
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

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.resize(end);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.touch(offset, end);
    }

    fn resize(&mut self, len: usize) {
        let old = self.bytes.len();
        self.bytes.resize(len, 0);
        self.lengths.push(len as u64);
        if len < old {
            self.blocks.retain(|block| block * BLOCK < len as u64);
            self.touch(len, old);
        }
    }

    fn sync(&mut self, failed: bool) {
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
    fn after_power_loss(&self, dice: &mut Dice) -> Inode {
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

fn blocks_of(len: u64) -> BTreeSet<u64> {
    (0..len.div_ceil(BLOCK)).collect()
}

/// A change to the names of a directory.
#[derive(Clone)]
struct Change {
    removed: Option<String>,
    added: Option<(String, u64)>,
}

#[derive(Clone, Default)]
struct Names {
    now: BTreeMap<String, u64>,
    synced: BTreeMap<String, u64>,
    unsynced: Vec<Change>,
}

impl Names {
    fn change(&mut self, change: Change) {
        Names::apply(&mut self.now, &change);
        self.unsynced.push(change);
    }

    fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
        if let Some(name) = &change.removed {
            names.remove(name);
        }
        if let Some((name, inode)) = &change.added {
            names.insert(name.clone(), *inode);
        }
    }

    /// Those that have a name, or may have one after a power loss.
    fn inodes(&self) -> impl Iterator<Item = u64> {
        let unsynced = self.unsynced.iter().filter_map(|change| change.added.as_ref().map(|(_, inode)| *inode));
        self.now.values().chain(self.synced.values()).copied().chain(unsynced)
    }

    fn after_power_loss(&self, dice: &mut Dice) -> Names {
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

/// A directory's entry in the one above it.
const DIRECTORY: u64 = 0;

#[derive(Clone)]
struct State {
    dirs: BTreeMap<PathBuf, Names>,
    inodes: BTreeMap<u64, Arc<Inode>>,
    next_inode: u64,
    /// How often each file is open: one that was removed keeps its blocks as long.
    opened: BTreeMap<u64, usize>,
    boot_id: u64,
    mapped: bool,
    capacity_blocks: u64,
}

/// The disk at the instant before an operation.
pub(crate) struct Snapshot {
    /// The operation, for messages.
    pub(crate) op: Option<Op>,
    state: State,
    /// The store that the crash tears.
    torn: Option<Torn>,
}

/// A store of several words, and whether they reach the page one after the other.
struct Torn {
    inode: u64,
    offset: usize,
    bytes: Vec<u8>,
    in_order: bool,
}

impl Snapshot {
    /// The disk as the next process finds it.
    pub(crate) fn crash(&self, crash: Crash, seed: u64) -> SimulatedDisk {
        let mut dice = Dice::new(seed);
        let mut state = self.state.clone();
        state.opened.clear();
        if let Some(Torn { inode, offset, bytes, in_order }) = &self.torn
            && let Some(inode) = state.inodes.get_mut(inode)
        {
            let inode = Arc::make_mut(inode);
            let is_frame = *offset >= SEGMENT_HEADER_BYTES && (offset | bytes.len()).is_multiple_of(8);
            match *in_order {
                _ if dice.chance(3) => {}
                // A write of a process that is killed ends where a page does. Other files are torn anywhere.
                true if is_frame => {
                    let page = BLOCK as usize;
                    let first = page - offset % page;
                    let cut = (first + dice.below(bytes.len() / page + 1) * page).min(bytes.len());
                    inode.write(&bytes[..if first < bytes.len() { cut } else { 0 }], *offset);
                }
                true => inode.write(&bytes[..dice.below(bytes.len() + 1)], *offset),
                // Stores are seen in any order, but the first word is stored last.
                false => {
                    let mut at = 8;
                    while at < bytes.len() {
                        let end = (at + 8).min(bytes.len());
                        if dice.chance(2) {
                            inode.write(&bytes[at..end], offset + at);
                        }
                        at = end;
                    }
                }
            }
        }
        if crash == Crash::Power {
            state.boot_id += 1;
            for inode in state.inodes.values_mut() {
                *inode = Arc::new(inode.after_power_loss(&mut dice));
            }
            for names in state.dirs.values_mut() {
                *names = names.after_power_loss(&mut dice);
            }
            // Folders whose own name was lost, and all in them.
            let lost = |dirs: &BTreeMap<PathBuf, Names>, dir: &Path| match (dir.parent(), dir.file_name()) {
                (Some(parent), Some(name)) => {
                    let name = name.to_string_lossy();
                    dirs.get(parent).is_none_or(|names| !names.now.contains_key(&*name))
                }
                _ => false,
            };
            while let Some(dir) = state.dirs.keys().find(|dir| lost(&state.dirs, dir)).cloned() {
                state.dirs.remove(&dir);
            }
        }
        // What lost its name may get it back by a power loss later on.
        let named: BTreeSet<u64> = state.dirs.values().flat_map(Names::inodes).collect();
        state.inodes.retain(|inode, _| named.contains(inode));
        SimulatedDisk::with(state)
    }
}

pub(crate) type Recorder = Box<dyn FnMut(Snapshot) + Send>;

struct Shared {
    state: Mutex<State>,
    control: Mutex<Control>,
    locked: Mutex<BTreeSet<PathBuf>>,
}

#[derive(Default)]
struct Control {
    operations: u64,
    fault: Option<Fault>,
    faults: u64,
    longest_read: usize,
    recorder: Option<Recorder>,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimulatedDisk {
    shared: Arc<Shared>,
}

impl SimulatedDisk {
    /// An empty disk on which `/` is all there is.
    pub(crate) fn new(mapped: bool) -> Self {
        SimulatedDisk::with(State {
            dirs: BTreeMap::from([(PathBuf::from("/"), Names::default())]),
            inodes: BTreeMap::new(),
            next_inode: DIRECTORY + 1,
            opened: BTreeMap::new(),
            boot_id: 1,
            mapped,
            capacity_blocks: u64::MAX,
        })
    }

    fn with(state: State) -> Self {
        let shared = Shared { state: Mutex::new(state), control: Mutex::default(), locked: Mutex::default() };
        SimulatedDisk { shared: Arc::new(shared) }
    }

    /// What an engine on this disk runs on: its random numbers follow from `seed`, it starts no threads.
    pub(crate) fn environment(&self, clock: Arc<dyn Clock>, seed: u64) -> Environment {
        // A lock that no schedule of threads sees.
        let dice = StdMutex::new(Dice::new(seed));
        let random = Arc::new(move || dice.lock().unwrap_or_else(PoisonError::into_inner).roll());
        Environment { disk: Arc::new(self.clone()), clock, random, threads: false }
    }

    /// The disk as it is now, between two operations.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { op: None, state: lock(&self.shared.state).clone(), torn: None }
    }

    /// Calls `recorder` before every operation that changes something.
    pub(crate) fn record(&self, recorder: Option<Recorder>) {
        lock(&self.shared.control).recorder = recorder;
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        lock(&self.shared.control).fault = fault;
    }

    /// Operations so far, and those among them that failed as told.
    pub(crate) fn operations(&self) -> (u64, u64) {
        let control = lock(&self.shared.control);
        (control.operations, control.faults)
    }

    /// The most bytes that anybody had room for in one read.
    pub(crate) fn longest_read(&self) -> usize {
        lock(&self.shared.control).longest_read
    }

    /// Leaves room for so many more blocks of 4096 bytes.
    pub(crate) fn set_free_blocks(&self, free: u64) {
        let mut state = lock(&self.shared.state);
        state.capacity_blocks = state.used().saturating_add(free);
    }

    /// Puts a file there, synced, for tests that make directories of their own.
    pub(crate) fn install(&self, path: &Path, bytes: &[u8]) {
        let mut state = lock(&self.shared.state);
        state.make_dirs(path.parent().unwrap_or(Path::new("/")));
        let inode = state.new_inode();
        state.inodes.insert(inode, Arc::new(Inode::synced(bytes)));
        let change = Change { removed: None, added: Some((name_of(path), inode)) };
        if let Ok(names) = state.names(path.parent().unwrap_or(Path::new("/"))) {
            names.change(change);
        }
        for names in state.dirs.values_mut() {
            names.synced = names.now.clone();
            names.unsynced.clear();
        }
    }

    /// Puts other bytes into a file that is there, synced.
    pub(crate) fn overwrite(&self, path: &str, bytes: &[u8]) {
        let mut state = lock(&self.shared.state);
        if let Ok(inode) = state.lookup(Path::new(path)) {
            state.inodes.insert(inode, Arc::new(Inode::synced(bytes)));
        }
    }

    /// What is in a file; nothing if there is none.
    pub(crate) fn contents(&self, path: &str) -> Vec<u8> {
        let mut state = lock(&self.shared.state);
        state.lookup(Path::new(path)).map(|inode| state.inode(inode).bytes.clone()).unwrap_or_default()
    }

    /// Every file under `dir` and what is in it.
    pub(crate) fn files(&self, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let state = lock(&self.shared.state);
        let mut files = Vec::new();
        for (path, names) in state.dirs.iter().filter(|(path, _)| path.starts_with(dir)) {
            for (name, inode) in names.now.iter().filter(|(_, inode)| **inode != DIRECTORY) {
                files.push((path.join(name), state.inodes[inode].bytes.clone()));
            }
        }
        files
    }

    /// Counts an operation. `torn` is what a crash in its midst could store in part.
    fn enter(&self, op: Op, torn: impl FnOnce() -> Option<Torn>) -> io::Result<()> {
        let mut control = lock(&self.shared.control);
        let at = control.operations;
        control.operations += 1;
        if op.changes()
            && let Some(recorder) = &mut control.recorder
        {
            recorder(Snapshot { op: Some(op), state: lock(&self.shared.state).clone(), torn: torn() });
        }
        match control.fault {
            Some(fault) if (fault.at == at || (fault.lasts && at > fault.at)) && fault.trouble.fits(op) => {
                control.faults += 1;
                Err(fault.trouble.error())
            }
            _ => Ok(()),
        }
    }

    /// How much of a write that has just failed was stored: everything but its last word, or half.
    fn stored_part(&self, op: Op, len: usize) -> Option<usize> {
        let control = lock(&self.shared.control);
        let short = op == Op::Write && control.fault.is_some_and(|fault| fault.trouble == Trouble::Short);
        short.then(|| if control.operations.is_multiple_of(2) { len.saturating_sub(8) } else { len / 2 })
    }
}

impl State {
    fn names(&mut self, dir: &Path) -> io::Result<&mut Names> {
        self.dirs.get_mut(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lookup(&mut self, path: &Path) -> io::Result<u64> {
        let names = self.names(path.parent().unwrap_or(Path::new("/")))?;
        names.now.get(&name_of(path)).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn inode(&mut self, inode: u64) -> &mut Inode {
        Arc::make_mut(self.inodes.entry(inode).or_default())
    }

    fn seen(&mut self, inode: u64) -> Seen {
        let kind = if inode == DIRECTORY { FileKind::Directory } else { FileKind::Regular };
        let length = self.inode(inode).bytes.len() as u64;
        let owner = rustix::process::geteuid().as_raw();
        let named = self.dirs.values().any(|names| names.now.values().any(|named| *named == inode));
        Seen { id: FileId { device: 1, inode }, length, links: named.into(), kind, owner, mode: 0o600 }
    }

    fn make_dirs(&mut self, dir: &Path) {
        if self.dirs.contains_key(dir) {
            return;
        }
        if let Some(parent) = dir.parent() {
            self.make_dirs(parent);
            // Those above are made durably.
            if let Some(above) = parent.parent().and_then(|above| self.dirs.get_mut(above)) {
                above.synced = above.now.clone();
                above.unsynced.clear();
            }
            if let Some(names) = self.dirs.get_mut(parent) {
                names.change(Change { removed: None, added: Some((name_of(dir), DIRECTORY)) });
            }
        }
        self.dirs.insert(dir.to_path_buf(), Names::default());
    }

    fn used(&self) -> u64 {
        let named = self.dirs.values().flat_map(|names| names.now.values());
        let held: BTreeSet<u64> = named.chain(self.opened.keys()).copied().collect();
        self.inodes.iter().filter(|(inode, _)| held.contains(inode)).map(|(_, inode)| inode.blocks.len() as u64).sum()
    }

    /// Takes the blocks from 0 to `len`, or those of a range of it.
    fn take_blocks(&mut self, inode: u64, range: std::ops::Range<u64>) -> io::Result<()> {
        let used = self.used();
        let capacity = self.capacity_blocks;
        let inode = self.inode(inode);
        let wanted: Vec<u64> =
            (range.start / BLOCK..range.end.div_ceil(BLOCK)).filter(|block| !inode.blocks.contains(block)).collect();
        if !wanted.is_empty() && used + wanted.len() as u64 > capacity {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        inode.blocks.extend(wanted);
        Ok(())
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Disk for SimulatedDisk {
    fn directory(&self, path: &Path, create: bool, _: Trust) -> io::Result<Arc<dyn Directory>> {
        if create {
            self.enter(Op::CreateDir, || None)?;
            lock(&self.shared.state).make_dirs(path);
            sync_name(self, path)?;
        }
        self.enter(Op::OpenDir, || None)?;
        lock(&self.shared.state).names(path)?;
        Ok(Arc::new(SimulatedDirectory { disk: self.clone(), path: path.to_path_buf() }))
    }

    fn boot_id(&self) -> u64 {
        lock(&self.shared.state).boot_id
    }

    fn open(&self, path: &Path, _: bool) -> io::Result<Arc<dyn File>> {
        self.open_file(path, Open::Create)
    }

    fn open_shared(&self, path: &Path, how: Sharing) -> io::Result<Arc<dyn File>> {
        self.open_file(path, if how.create { Open::Create } else { Open::Existing })
    }

    fn look(&self, path: &Path, _: bool) -> io::Result<Option<Seen>> {
        self.enter(Op::Len, || None)?;
        let mut state = lock(&self.shared.state);
        Ok(state.lookup(path).ok().map(|inode| state.seen(inode)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.enter(Op::SyncDir, || None)?;
        let mut state = lock(&self.shared.state);
        let names = state.names(dir)?;
        names.synced = names.now.clone();
        names.unsynced.clear();
        Ok(())
    }

    fn lock(&self, path: &Path, _: bool) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        self.enter(Op::Lock, || None)?;
        drop(self.open_file(path, Open::Create)?);
        if !lock(&self.shared.locked).insert(path.to_path_buf()) {
            return Ok(Err(Holder { pid: std::process::id() }));
        }
        Ok(Ok(Box::new(Held { disk: self.clone(), path: path.to_path_buf() })))
    }
}

impl SimulatedDisk {
    fn open_file(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        self.enter(Op::Open, || None)?;
        #[cfg(feature = "shuttle")]
        crate::sync::scheduled::take_long();
        let mut state = lock(&self.shared.state);
        if how == Open::New && !matches!(state.lookup(path), Ok(DIRECTORY) | Err(_)) {
            let dir = path.parent().unwrap_or(Path::new("/"));
            state.names(dir)?.change(Change { removed: Some(name_of(path)), added: None });
        }
        let inode = match state.lookup(path) {
            Ok(DIRECTORY) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            Ok(inode) => inode,
            Err(_) if how.creates() => {
                let inode = state.new_inode();
                let change = Change { removed: None, added: Some((name_of(path), inode)) };
                state.names(path.parent().unwrap_or(Path::new("/")))?.change(change);
                state.inodes.insert(inode, Arc::default());
                inode
            }
            Err(error) => return Err(error),
        };
        *state.opened.entry(inode).or_default() += 1;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode }))
    }
}

/// A directory of the simulated disk, which nobody moves.
struct SimulatedDirectory {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Directory for SimulatedDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.enter(Op::List, || None)?;
        Ok(lock(&self.disk.shared.state).names(&self.path)?.now.keys().cloned().collect())
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        self.disk.open_file(&self.path.join(name), how)
    }

    fn directory(&self, name: &str, create: bool) -> io::Result<Arc<dyn Directory>> {
        self.disk.directory(&self.path.join(name), create, Trust::Owner)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.enter(Op::Rename, || None)?;
        let mut state = lock(&self.disk.shared.state);
        let inode = state.lookup(&self.path.join(from))?;
        let change = Change { removed: Some(from.to_owned()), added: Some((to.to_owned(), inode)) };
        state.names(&self.path)?.change(change);
        Ok(())
    }

    fn move_into(&self, name: &str, directory: &str) -> io::Result<()> {
        self.directory(directory, true)?;
        self.disk.enter(Op::Rename, || None)?;
        let mut state = lock(&self.disk.shared.state);
        let inode = state.lookup(&self.path.join(name))?;
        state
            .names(&self.path.join(directory))?
            .change(Change { removed: None, added: Some((name.to_owned(), inode)) });
        state.names(&self.path)?.change(Change { removed: Some(name.to_owned()), added: None });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.enter(Op::Remove, || None)?;
        let mut state = lock(&self.disk.shared.state);
        if state.lookup(&self.path.join(name)).is_err() {
            return Ok(());
        }
        state.names(&self.path)?.change(Change { removed: Some(name.to_owned()), added: None });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.path)
    }

    fn lock(&self, name: &str) -> io::Result<Result<Arc<dyn Ownership>, Holder>> {
        let path = self.path.join(name);
        match self.disk.lock(&path, false)? {
            Ok(held) => {
                let inode = lock(&self.disk.shared.state).lookup(&path)?;
                Ok(Ok(Arc::new(Owner { disk: self.disk.clone(), path, inode, _held: held })))
            }
            Err(holder) => Ok(Err(holder)),
        }
    }

    fn may_map(&self) -> io::Result<bool> {
        self.disk.enter(Op::MayMap, || None)?;
        Ok(lock(&self.disk.shared.state).mapped)
    }
}

struct Owner {
    disk: SimulatedDisk,
    path: PathBuf,
    inode: u64,
    _held: Box<dyn Send + Sync>,
}

impl Ownership for Owner {
    fn check(&self) -> io::Result<()> {
        match lock(&self.disk.shared.state).lookup(&self.path) {
            Ok(inode) if inode == self.inode => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

struct Held {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.disk.shared.locked).remove(&self.path);
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = lock(&self.disk.shared.state);
        if let Some(opened) = state.opened.get_mut(&self.inode) {
            *opened -= 1;
            if *opened == 0 {
                state.opened.remove(&self.inode);
            }
        }
    }
}

impl SimulatedFile {
    /// Stores what a mapped page or a write takes.
    fn store(&self, op: Op, bytes: &[u8], offset: u64, in_order: bool) -> io::Result<()> {
        let torn = || Some(Torn { inode: self.inode, offset: offset as usize, bytes: bytes.to_vec(), in_order });
        let entered = self.disk.enter(op, torn);
        let mut state = lock(&self.disk.shared.state);
        if let Err(error) = entered {
            if let Some(part) = self.disk.stored_part(op, bytes.len()) {
                state.inode(self.inode).write(&bytes[..part], offset as usize);
            }
            return Err(error);
        }
        if op != Op::Store {
            state.take_blocks(self.inode, offset..offset + bytes.len() as u64)?;
        }
        state.inode(self.inode).write(bytes, offset as usize);
        Ok(())
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let mut state = lock(&self.disk.shared.state);
        let bytes = &state.inode(self.inode).bytes;
        let start = (offset as usize).min(bytes.len());
        let got = buf.len().min(bytes.len() - start);
        buf[..got].copy_from_slice(&bytes[start..start + got]);
        got
    }
}

impl File for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.enter(Op::Len, || None)?;
        Ok(lock(&self.disk.shared.state).inode(self.inode).bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.enter(Op::SetLen, || None)?;
        lock(&self.disk.shared.state).inode(self.inode).resize(len as usize);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.enter(Op::Allocate, || None)?;
        let mut state = lock(&self.disk.shared.state);
        state.take_blocks(self.inode, 0..len)?;
        let inode = state.inode(self.inode);
        if (inode.bytes.len() as u64) < len {
            inode.resize(len as usize);
        }
        Ok(())
    }

    fn append(&self, bytes: &[u8], _: u64) -> io::Result<()> {
        let end = lock(&self.disk.shared.state).inode(self.inode).bytes.len() as u64;
        self.write_at(bytes, end)
    }

    fn look(&self) -> io::Result<Seen> {
        self.disk.enter(Op::Len, || None)?;
        Ok(lock(&self.disk.shared.state).seen(self.inode))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.enter(Op::Read, || None)?;
        let longest = &mut lock(&self.disk.shared.control).longest_read;
        *longest = buf.len().max(*longest);
        Ok(self.read(buf, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let op = if bytes.len() > 8 { Op::Write } else { Op::WriteWord };
        self.store(op, bytes, offset, true)
    }

    fn sync(&self) -> io::Result<()> {
        let entered = self.disk.enter(Op::Sync, || None);
        #[cfg(feature = "shuttle")]
        crate::sync::scheduled::take_long();
        lock(&self.disk.shared.state).inode(self.inode).sync(entered.is_err());
        entered
    }

    fn map(self: Arc<Self>, _: usize, _: bool) -> io::Result<Box<dyn SegmentWriter>> {
        self.disk.enter(Op::Map, || None)?;
        let reader = Arc::new(SimulatedMapping { file: self });
        Ok(Box::new(SimulatedWriter { reader, scratch: Vec::new() }))
    }

    fn map_read(&self, _: usize, _: bool) -> io::Result<Arc<dyn SegmentReader>> {
        self.disk.enter(Op::MapRead, || None)?;
        *lock(&self.disk.shared.state).opened.entry(self.inode).or_default() += 1;
        let file = Arc::new(SimulatedFile { disk: self.disk.clone(), inode: self.inode });
        Ok(Arc::new(SimulatedMapping { file }))
    }
}

/// A mapping: stores to it cost no system call and need no space.
struct SimulatedWriter {
    reader: Arc<SimulatedMapping>,
    scratch: Vec<u8>,
}

struct SimulatedMapping {
    file: Arc<SimulatedFile>,
}

impl SegmentWriter for SimulatedWriter {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.reader.file.store(Op::Store, bytes, offset as u64, true)
    }

    fn space(&mut self, _: usize, len: usize) -> io::Result<&mut [u8]> {
        // What is in it before is undefined: make that visible.
        self.scratch.clear();
        self.scratch.resize(len, 0xa5);
        Ok(&mut self.scratch)
    }

    fn append(&mut self, offset: usize, _: usize) -> io::Result<()> {
        self.reader.file.store(Op::Store, &self.scratch, offset as u64, false)
    }

    fn publish(&mut self, _: usize) {}

    fn reader(&self) -> Arc<dyn SegmentReader> {
        self.reader.clone()
    }

    fn recycle(&mut self) -> bool {
        Arc::get_mut(&mut self.reader).is_some()
    }

    fn warm(&mut self, _: usize, _: usize) {}
}

impl SegmentReader for SimulatedMapping {
    fn read(self: Arc<Self>, offset: usize, len: usize) -> io::Result<Chunk> {
        let mut bytes = vec![0; len];
        let got = self.file.read(&mut bytes, offset as u64);
        bytes.truncate(got);
        Ok(Chunk::Heap(bytes.into()))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
