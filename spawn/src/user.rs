//! The user that a child becomes before its exec, and why a child could not do that.

use std::ffi::CString;

use rustix::io::Errno;

/// The user that a child becomes before its exec, and where that user's command starts. Nothing here is looked up or
/// checked before the child has this user's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The real, effective and saved user id of the child.
    pub uid: u32,
    /// The real, effective and saved group id of the child.
    pub gid: u32,
    /// All its groups. The child keeps no group of this process.
    pub groups: Vec<u32>,
    /// Its working directory, from which a relative one of the image counts; `/` if it cannot be entered.
    pub home: CString,
    /// Further programs, tried in this order after the image's while no file is found that may be executed, as
    /// execvp(3) searches PATH. They may be relative to the working directory.
    pub alternatives: Vec<CString>,
}

/// Why a child that becomes another user does not run its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserFailure {
    /// The operating system refused the user, or this process's own rights were not given up.
    Identity(Errno),
    /// The working directory of the image cannot be entered by the user.
    Directory(Errno),
    /// The user finds none of the programs.
    Missing,
    /// A program is there, and the user cannot execute it.
    Program(Errno),
}
