//! Maps errors of SQLite and of the operating system to kinds of failure.

use std::io;

use rusqlite::ErrorCode;

use super::error::OpenError;
use crate::store::{WriteError, WriteErrorKind};

pub(super) fn of_sqlite(error: &rusqlite::Error) -> WriteError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => WriteErrorKind::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            WriteErrorKind::ReadOnly
        }
        Some(ErrorCode::SystemIoFailure) => WriteErrorKind::Io,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            WriteErrorKind::Busy
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => WriteErrorKind::Corrupt,
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
            WriteErrorKind::Rejected
        }
        _ => WriteErrorKind::Other,
    };
    WriteError::new(kind, error.to_string())
}

pub(super) fn of_opening(error: &OpenError) -> WriteError {
    let kind = match error {
        OpenError::NotWritable { .. } | OpenError::OpenToOthers { .. } => WriteErrorKind::ReadOnly,
        OpenError::Io { source, .. } if is_full(source) => WriteErrorKind::Full,
        OpenError::Io { .. } => WriteErrorKind::Io,
        OpenError::InUse { .. } => WriteErrorKind::Busy,
        OpenError::Sqlite { source, .. } => return of_sqlite(source),
        OpenError::Newer { .. } | OpenError::Foreign { .. } => WriteErrorKind::Other,
    };
    WriteError::new(kind, error.to_string())
}

pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
