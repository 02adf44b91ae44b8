//! Open directories and files of the simulated disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::Change;
use super::{DIRECTORY, Op, SimulatedDisk, Torn};
use crate::platform::{
    Chunk, Directory, Disk, File, Holder, Open, Ownership, Seen, SegmentReader, SegmentWriter, Trust, lock,
};

/// A directory of the simulated disk, which nobody moves.
pub(super) struct SimulatedDirectory {
    pub(super) disk: SimulatedDisk,
    pub(super) path: PathBuf,
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
        if state.lookup(&self.path.join(to)).is_ok_and(|there| there == DIRECTORY) {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        let change = Change { removed: Some(from.to_owned()), added: Some((to.to_owned(), inode)) };
        state.names(&self.path)?.change(change);
        Ok(())
    }

    fn move_into(&self, name: &str, directory: &str) -> io::Result<()> {
        self.directory(directory, true)?;
        self.disk.enter(Op::Rename, || None)?;
        let mut state = lock(&self.disk.shared.state);
        let inode = state.lookup(&self.path.join(name))?;
        let (folder, mut to) = (self.path.join(directory), name.to_owned());
        while state.lookup(&folder.join(&to)).is_ok() {
            to.push_str(".again");
        }
        state.names(&folder)?.change(Change { removed: None, added: Some((to, inode)) });
        state.names(&self.path)?.change(Change { removed: Some(name.to_owned()), added: None });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.enter(Op::Remove, || None)?;
        let mut state = lock(&self.disk.shared.state);
        match state.lookup(&self.path.join(name)) {
            Ok(DIRECTORY) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
            Ok(_) => {}
            Err(_) => return Ok(()),
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

    fn lock_file(&self, name: &str) -> io::Result<Result<Box<dyn Send + Sync>, Holder>> {
        self.disk.lock(&self.path.join(name), false)
    }

    fn hold(&self, name: Option<&str>) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let path = self.path.join(name.unwrap_or("."));
        if let Some(name) = name {
            self.open(name, Open::Read)?;
        }
        self.disk.hold(&path)
    }

    fn holder(&self, name: &str) -> io::Result<Option<Holder>> {
        self.disk.enter(Op::Open, || None)?;
        let is_held = lock(&self.disk.shared.locked).contains_key(&self.path.join(name));
        Ok(is_held.then(|| Holder { pid: std::process::id() }))
    }

    fn remove_directory(&self, name: &str) -> io::Result<()> {
        self.disk.enter(Op::Remove, || None)?;
        let path = self.path.join(name);
        let mut state = lock(&self.disk.shared.state);
        match state.dirs.get(&path) {
            None => return Ok(()),
            Some(names) if !names.now.is_empty() => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            Some(_) => {}
        }
        state.names(&self.path)?.change(Change { removed: Some(name.to_owned()), added: None });
        let names = state.dirs.remove(&path).unwrap_or_default();
        state.removed.insert(path, names);
        Ok(())
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

pub(super) struct Held {
    pub(super) disk: SimulatedDisk,
    pub(super) path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.disk.shared.locked).remove(&self.path);
    }
}

pub(super) struct SimulatedFile {
    pub(super) disk: SimulatedDisk,
    pub(super) inode: u64,
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
        if !state.inode(self.inode).has_room(offset + bytes.len() as u64) {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        if op != Op::Store {
            state.take_blocks(self.inode, offset..offset + bytes.len() as u64)?;
        }
        state.inode(self.inode).write(bytes, offset as usize);
        Ok(())
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        lock(&self.disk.shared.state).inode(self.inode).read(buf, offset)
    }
}

impl File for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.enter(Op::Len, || None)?;
        Ok(lock(&self.disk.shared.state).inode(self.inode).length)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.enter(Op::SetLen, || None)?;
        lock(&self.disk.shared.state).inode(self.inode).resize(len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.enter(Op::Allocate, || None)?;
        let mut state = lock(&self.disk.shared.state);
        state.take_blocks(self.inode, 0..len)?;
        let inode = state.inode(self.inode);
        if inode.length < len {
            inode.resize(len);
        }
        Ok(())
    }

    fn append(&self, bytes: &[u8], _: u64) -> io::Result<u64> {
        let end = lock(&self.disk.shared.state).inode(self.inode).length;
        self.write_at(bytes, end)?;
        Ok(end + bytes.len() as u64)
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
        #[cfg(feature = "scheduled")]
        crate::platform::sync::scheduled::take_long();
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
