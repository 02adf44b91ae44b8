//! Whose directories, files and links are believed. Every check of an owner, a mode or a number of links is here, so that no
//! two places differ in what they let pass.
//!
//! The danger is another user of the machine: who can change the log changes what is sent, and who can put a link or a file
//! where a program writes has it write where that user may not.

use std::io;
use std::path::Path;

use rustix::fs::Stat;
use rustix::process::{Gid, getegid, geteuid, getgroups};

use super::stat::{FileKind, Seen};
use crate::error::NotTrusted;

/// Whose directory and files a buffer goes by. Links in the directory are never followed, whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Trust {
    /// Those of the user that the process runs as, or of root, which nobody else may write to.
    Owner,
    /// Also those that the directory's group may write to, and other users' files in such a directory. What is made in such a directory
    /// the group may read and write, too, if it gets that group (mode 2770): its members share the buffer or outbox.
    Group,
    /// Anyone's: owners, modes and hard links are not looked at. For filesystems that make them up.
    Anyone,
}

/// Permissions to write: of the group, of everybody.
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
/// Permissions to search a directory: of the group, of everybody.
const OTHERS_SEARCH: u32 = 0o011;

/// Whether something belongs to the user that the process runs as, or to root, who can do everything anyway.
fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// An I/O error that becomes [`ErrorKind::NotTrusted`](crate::ErrorKind::NotTrusted).
#[cold]
fn not_trusted(complaint: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, NotTrusted(complaint))
}

/// What others can do in a buffer's directory, which was found to be trusted.
#[derive(Clone, Copy)]
pub(super) struct Trusted {
    trust: Trust,
    /// Permissions to write that others can make use of in this directory: those of whoever may search it.
    usable: u32,
    /// Others can make names in it, also a second one for a file that is not theirs. Where nobody else can, a second name is
    /// this user's own doing: a backup of hard links.
    shared: bool,
    /// A group that is to have what is made in it, and with which permissions, in their place in a mode.
    group: Option<(u32, u32)>,
}

/// All permissions of a group.
const GROUP: u32 = 0o070;
/// What is made in the directory is of the directory's group.
const SET_GROUP: u32 = 0o2000;

impl Trusted {
    /// Checks a directory: nobody who is not trusted can have made it, or can change what is in it.
    pub(super) fn directory(found: &Stat, path: &Path, trust: Trust) -> io::Result<Trusted> {
        let (mode, named) = (found.st_mode & 0o7777, path.display());
        let by_group = mode & GROUP_WRITES != 0;
        let in_group = || {
            let gid = Gid::from_raw(found.st_gid);
            getegid() == gid || getgroups().is_ok_and(|groups| groups.contains(&gid))
        };
        let is_ours = is_ours(found.st_uid);
        let complaint = match trust {
            Trust::Anyone => None,
            _ if mode & ALL_WRITE != 0 => Some(format!(
                "{named} can be written by everybody (mode {mode:04o}): take that from them (chmod o-w), use a directory \
                 below it, or set the option trust to anyone"
            )),
            Trust::Group if is_ours || (by_group && in_group()) => None,
            Trust::Owner | Trust::Group if !is_ours => Some(format!(
                "{named} belongs to the user with uid {}, and this process runs as uid {}: use a directory of its own, give it \
                 this one with all that is in it (chown -R), or set the option trust to {}",
                found.st_uid,
                geteuid().as_raw(),
                if by_group && in_group() { "group" } else { "anyone" },
            )),
            _ if by_group => Some(format!(
                "{named} can be written by its group (gid {}, mode {mode:04o}): take that from it (chmod g-w), or set the \
                 option trust to group",
                found.st_gid,
            )),
            _ => None,
        };
        match complaint {
            Some(complaint) => Err(not_trusted(complaint)),
            None => {
                let group = by_group.then_some((found.st_gid, mode & GROUP));
                Ok(Trusted { trust, usable: (mode & OTHERS_SEARCH) << 1, shared: by_group || !is_ours, group })
            }
        }
    }

    /// The mode that something is to have which this process just made in the directory, if it is another than it has: a group that
    /// may write in the directory may do with it what it may do there. Where the directory does not give its group to what is
    /// made in it, it may be of another group, which gets nothing.
    pub(super) fn mode_of_new(&self, found: &Stat) -> Option<u32> {
        let (group, bits) = self.group?;
        let bits = if FileKind::of(found) == FileKind::Directory { bits } else { bits & !OTHERS_SEARCH };
        let mode = (found.st_mode & (0o700 | SET_GROUP)) | bits;
        let is_its = found.st_gid == group && found.st_uid == geteuid().as_raw();
        (is_its && mode != found.st_mode & 0o7777).then_some(mode)
    }

    /// Checks a file in the directory: nobody else can have made it, or can write to it, under this name or another.
    pub(super) fn check_file(&self, found: &Stat, dir: &Path, name: &str) -> io::Result<()> {
        let others = if self.trust == Trust::Group { ALL_WRITE } else { GROUP_WRITES | ALL_WRITE };
        let complaint = if self.trust == Trust::Anyone {
            return Ok(());
        } else if self.shared && found.st_nlink > 1 {
            format!("has {} names (hard links); put a copy in its place", found.st_nlink)
        } else if self.trust == Trust::Owner && !is_ours(found.st_uid) {
            format!("belongs to the user with uid {}", found.st_uid)
        } else if found.st_mode & others & self.usable != 0 {
            format!("can be written by others (mode {:04o})", found.st_mode & 0o7777)
        } else {
            return Ok(());
        };
        Err(not_trusted(format!("{} {complaint}", dir.join(name).display())))
    }

    /// Whether who made this may say what is to be done: the user that the process runs as, and root. To believe what another
    /// user writes is less than to obey, so that a group has nothing to say.
    pub(super) fn may_ask(&self, found: &Stat) -> bool {
        self.trust == Trust::Anyone || (is_ours(found.st_uid) && found.st_nlink == 1)
    }

    /// The trust that the directory was opened with.
    pub(super) fn policy(&self) -> Trust {
        self.trust
    }
}

/// Checks a symbolic link on the way to a directory: whoever made it decides where files are made.
pub(super) fn check_link(found: &Stat, path: &Path, trust: Trust) -> io::Result<()> {
    if trust == Trust::Anyone || is_ours(found.st_uid) {
        return Ok(());
    }
    let (link, uid) = (path.display(), found.st_uid);
    Err(not_trusted(format!("{link} is a symbolic link that the user with uid {uid} made")))
}

/// Checks a file or a pipe that others use as well: only the directory's owner can have put it there. Another would read what
/// is written, or have it written where he may not himself. (The kernel's `protected_regular` and `protected_hardlinks` do the
/// same where they are on.)
pub(super) fn check_shared(seen: &Seen, dir: &Stat) -> io::Result<()> {
    if is_ours(seen.owner) && seen.links <= 1 {
        return Ok(());
    }
    let one_writes = dir.st_mode & (GROUP_WRITES | ALL_WRITE) == 0;
    if seen.links > 1 && !(one_writes && is_ours(dir.st_uid)) {
        let message = "it has a second name, which others may have made; the option follow_links permits that";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if is_ours(seen.owner) || (one_writes && dir.st_uid == seen.owner) {
        return Ok(());
    }
    Err(not_trusted(format!(
        "it belongs to the user with uid {}, who may have put it there; the option follow_links permits that",
        seen.owner
    )))
}

impl Seen {
    /// Whether nobody but the user that the process runs as, and root, can change it.
    pub(crate) fn is_ours_alone(&self) -> bool {
        self.owner == geteuid().as_raw() && self.mode & (GROUP_WRITES | ALL_WRITE) == 0
    }
}
