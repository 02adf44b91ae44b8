//! A disk that forgets what was not synced, and fails when told to. For tests only.
//!
//! Every store is volatile until its file is synced; every name is until its directory is. A power loss keeps, of
//! each unsynced 512-byte sector, any state that it had since the last sync, and of the unsynced creations, renames
//! and removals any prefix or any subset. The death of the process keeps every store, but may tear the one under way.

mod contents;
mod handles;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use contents::{Change, Inode, Names};
use handles::{Held, SimulatedDirectory, SimulatedFile};
use state::{DIRECTORY, FIFO, LINK, State, kind_of, name_of};

use super::named::is_no;
use super::{Directory, Disk, File, FileKind, Holder, Open, Seen, Sharing, sync_name};
use crate::buffer::format::SEGMENT_HEADER_BYTES;
use crate::platform::sync::Mutex;
use crate::platform::{Clock, EngineClock, Environment, Trust, lock};

const BLOCK: u64 = 4096;

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
    /// Whether it changes the disk, so that a crash before it differs from a crash before the next operation.
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
            for names in state.dirs.values_mut().chain(state.removed.values_mut()) {
                *names = names.after_power_loss(&mut dice);
            }
            for (dir, names) in std::mem::take(&mut state.removed) {
                if matches!(state.lookup(&dir), Ok(DIRECTORY)) {
                    state.dirs.entry(dir).or_insert(names);
                }
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
        let named: BTreeSet<u64> = state.dirs.values().chain(state.removed.values()).flat_map(Names::inodes).collect();
        state.inodes.retain(|inode, _| named.contains(inode));
        SimulatedDisk::with(state)
    }
}

pub(crate) type Recorder = Box<dyn FnMut(Snapshot) + Send>;

struct Shared {
    state: Mutex<State>,
    control: Mutex<Control>,
    /// By which process.
    locked: Mutex<BTreeMap<PathBuf, u64>>,
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
    /// The process that uses it.
    process: u64,
}

impl SimulatedDisk {
    /// An empty disk on which `/` is all there is.
    pub(crate) fn new(mapped: bool) -> Self {
        SimulatedDisk::with(State {
            dirs: BTreeMap::from([(PathBuf::from("/"), Names::default())]),
            removed: BTreeMap::new(),
            inodes: BTreeMap::new(),
            next_inode: FIFO,
            opened: BTreeMap::new(),
            boot_id: 1,
            mapped,
            capacity_blocks: u64::MAX,
        })
    }

    fn with(state: State) -> Self {
        let shared = Shared { state: Mutex::new(state), control: Mutex::default(), locked: Mutex::default() };
        SimulatedDisk { shared: Arc::new(shared), process: 0 }
    }

    /// The same disk as another process has it.
    pub(crate) fn of_process(&self, process: u64) -> SimulatedDisk {
        SimulatedDisk { process, ..self.clone() }
    }

    /// A process has died: its locks are free. What it had is to be forgotten, not dropped.
    pub(crate) fn kill(&self, process: u64) {
        lock(&self.shared.locked).retain(|_, owner| *owner != process);
    }

    /// What an engine on this disk runs on: its random numbers follow from `seed`, it starts no threads.
    pub(crate) fn environment(&self, clock: Arc<dyn Clock>, seed: u64) -> Environment {
        // A lock that no schedule of threads sees.
        let dice = StdMutex::new(Dice::new(seed));
        let random = Arc::new(move || dice.lock().unwrap_or_else(PoisonError::into_inner).roll());
        Environment { disk: Arc::new(self.clone()), clock: EngineClock::Other(clock), random, threads: false }
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
        self.install_sparse(path, bytes, 0);
    }

    /// As [`install`](Self::install), with a hole behind the bytes if it is to be longer.
    pub(crate) fn install_sparse(&self, path: &Path, bytes: &[u8], length: u64) {
        let mut state = lock(&self.shared.state);
        let inode = state.new_inode();
        state.inodes.insert(inode, Arc::new(Inode::synced(bytes.into(), length)));
        state.install(path, inode);
    }

    /// Puts there what is no file: a directory, a named pipe, or a symbolic link, wherever it leads.
    pub(crate) fn install_other(&self, path: &Path, kind: FileKind) {
        let mut state = lock(&self.shared.state);
        match kind {
            FileKind::Directory => state.make_dirs(path),
            FileKind::Fifo => state.install(path, FIFO),
            _ => state.install(path, LINK),
        }
    }

    /// What has a name, if anything does.
    pub(crate) fn kind(&self, path: &Path) -> Option<FileKind> {
        lock(&self.shared.state).lookup(path).ok().map(kind_of)
    }

    /// Puts other bytes into a file that is there, synced.
    pub(crate) fn overwrite(&self, path: &str, bytes: &[u8]) {
        let mut state = lock(&self.shared.state);
        if let Ok(inode) = state.lookup(Path::new(path)) {
            state.inodes.insert(inode, Arc::new(Inode::synced(bytes.into(), 0)));
        }
    }

    /// What is in a file; nothing if there is none.
    pub(crate) fn contents(&self, path: &str) -> Vec<u8> {
        let mut state = lock(&self.shared.state);
        state.lookup(Path::new(path)).map(|inode| state.inode(inode).all()).unwrap_or_default()
    }

    /// Every file under `dir` and what is in it.
    pub(crate) fn files(&self, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let state = lock(&self.shared.state);
        let mut files = Vec::new();
        for (path, names) in state.dirs.iter().filter(|(path, _)| path.starts_with(dir)) {
            for (name, inode) in names.now.iter().filter(|(_, inode)| kind_of(**inode) == FileKind::Regular) {
                files.push((path.join(name), state.inodes[inode].all()));
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
        Ok(self.take(path).ok_or(Holder { pid: std::process::id() }))
    }
}

impl SimulatedDisk {
    /// Takes a lock, if nobody has it.
    fn take(&self, path: &Path) -> Option<Box<dyn Send + Sync>> {
        let mut locked = lock(&self.shared.locked);
        if locked.contains_key(path) {
            return None;
        }
        locked.insert(path.to_path_buf(), self.process);
        Some(Box::new(Held { disk: self.clone(), path: path.to_path_buf() }))
    }

    fn hold(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        self.enter(Op::Lock, || None)?;
        Ok(self.take(path))
    }

    fn open_file(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        self.enter(Op::Open, || None)?;
        #[cfg(feature = "scheduled")]
        crate::platform::sync::scheduled::take_long();
        let mut state = lock(&self.shared.state);
        if how == Open::New && !matches!(state.lookup(path), Ok(DIRECTORY) | Err(_)) {
            let dir = path.parent().unwrap_or(Path::new("/"));
            state.names(dir)?.change(Change { removed: Some(name_of(path)), added: None });
        }
        let inode = match state.lookup(path) {
            Ok(inode) if kind_of(inode) != FileKind::Regular => {
                return Err(is_no(&name_of(path), kind_of(inode).name(), "file"));
            }
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
