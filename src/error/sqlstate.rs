//! Which SQLSTATE an error has.

use std::ffi::CStr;

use pgrx::PgSqlErrorCode;
use tenant_guard_core::permission::PermissionError;

use super::{Error, Obstacle};
use crate::isolation::code_of;

/// The five characters of a SQLSTATE.
pub(crate) fn sqlstate(code: PgSqlErrorCode) -> String {
    // SAFETY: the function returns a static buffer with a terminated string.
    let text = unsafe { CStr::from_ptr(pgrx::pg_sys::unpack_sql_state(code as i32)) };
    text.to_string_lossy().into_owned()
}

fn code_of_permission(error: &PermissionError) -> PgSqlErrorCode {
    use PgSqlErrorCode::*;
    match error {
        PermissionError::UnknownRole(_) => ERRCODE_UNDEFINED_OBJECT,
        PermissionError::RoleCycle(_) | PermissionError::Recursion(_) => {
            ERRCODE_INVALID_OBJECT_DEFINITION
        }
        PermissionError::RoleInUse(..) | PermissionError::ReadBy(..) => {
            ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST
        }
        PermissionError::UnknownScope(_)
        | PermissionError::UnfitScope(..)
        | PermissionError::ColumnsOfDelete => ERRCODE_INVALID_PARAMETER_VALUE,
        PermissionError::Archetype(..)
        | PermissionError::UnprotectedAssignment(_)
        | PermissionError::NoRowKey(_)
        | PermissionError::SelfAssignment(..)
        | PermissionError::Broken(..) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
    }
}

impl Error {
    /// Its SQLSTATE.
    pub(super) fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::NoIdentity
            | Self::Expired
            | Self::Revoked
            | Self::Refused(_)
            | Self::UnfitHeaders => ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::Shape(..) => ERRCODE_INVALID_TEXT_REPRESENTATION,
            Self::BypassesRowSecurity(_) => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::SecondAccount
            | Self::HeldCursor
            | Self::NotInstalled
            | Self::NothingSealed
            | Self::WaitInWriter
            | Self::NotSealed
            | Self::NothingPublished
            | Self::NotAllPublished
            | Self::NotPublished
            | Self::NotSigned
            | Self::SourceGone(_)
            | Self::SourceAltered(..)
            | Self::NothingToRevoke(_)
            | Self::OwnerWithoutRights(_)
            | Self::ReadsOfNobody(_)
            | Self::Findings(_)
            | Self::ProbeFailed { .. }
            | Self::NestedProbe
            | Self::SessionIdentityOff
            | Self::SessionIdentityInBlock => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::UnfitIssuer(_)
            | Self::UnfitInterval(_)
            | Self::UnfitCheckpoint
            | Self::UnfitEventId
            | Self::NoReason
            | Self::EmptyArgument(_)
            | Self::UnknownArchetype(_)
            | Self::UnfitArgument(..)
            | Self::UnknownCommand(_)
            | Self::UnknownFormat(_)
            | Self::UnknownSeverity(_)
            | Self::UnfitLevel
            | Self::UnfitAccount => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::SealAfterWrite
            | Self::SealIsolation
            | Self::EraseIsolation
            | Self::PruneIsolation(_) => ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::RetentionLowered(_) | Self::DataOutlivesEvents | Self::RetentionFloor(_) => {
                ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::TooManyRules(_) => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::RetentionOfPartition(_) => ERRCODE_WRONG_OBJECT_TYPE,
            Self::RetentionByRename(_) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::BrokenLedger(_) => ERRCODE_DATA_CORRUPTED,
            Self::KeyFile(_) => ERRCODE_CONFIG_FILE_ERROR,
            Self::NoRandomness => ERRCODE_INTERNAL_ERROR,
            Self::NotATrigger(_) => ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            Self::NotATable(_) => ERRCODE_WRONG_OBJECT_TYPE,
            Self::NoColumn(..) => ERRCODE_UNDEFINED_COLUMN,
            Self::UnfitColumn(..) => ERRCODE_DATATYPE_MISMATCH,
            Self::NotReadable(_)
            | Self::Assurance(_)
            | Self::ReceiptOfRow(_)
            | Self::RowNotAdmitted(..) => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NullArgument(_) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::LedgerMissing
            | Self::LedgerTableLost(_)
            | Self::LedgerPlanted(..)
            | Self::LedgerAltered(_)
            | Self::ColumnAltered(_)
            | Self::AppendOnly(_)
            | Self::Held(..)
            | Self::HoldReleased(_)
            | Self::StaleFloor(..)
            | Self::HashKeyMissing
            | Self::StaleTrigger(..) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::RelationGone(_) | Self::UnknownRelation(_) | Self::NotLogged(_) => {
                ERRCODE_UNDEFINED_TABLE
            }
            Self::UnfitAction(_)
            | Self::LongValue(..)
            | Self::TwoLists(_)
            | Self::HashedPersonal(_)
            | Self::UnfitRowKey
            | Self::ForeignRowKey(..)
            | Self::OtherAccountsEvent(_) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotUtf8 => ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
            Self::OutOfMemory => ERRCODE_OUT_OF_MEMORY,
            Self::AccountTooLong(_)
            | Self::EventTooLarge
            | Self::LongReceipt(_)
            | Self::TooManyEvents => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::IssuerExists(_) => ERRCODE_DUPLICATE_OBJECT,
            Self::UnknownIssuer(_)
            | Self::UnknownRole(_)
            | Self::UnknownRun(_)
            | Self::NoFinding(..)
            | Self::NoEvent(_)
            | Self::UnknownEvents(..)
            | Self::NoHold(_)
            | Self::AccountWithoutEvents
            | Self::NoAcceptance(..)
            | Self::UnknownAccount(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::MigrationInBlock | Self::FlushInSavepoint => ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::PreparedFlush => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::UnfitChoice | Self::OtherStatements(_) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::TransactionControl => ERRCODE_INVALID_TRANSACTION_TERMINATION,
            Self::CopiesToClient | Self::Unexecutable(_) => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::RunBusy(_) => ERRCODE_OBJECT_IN_USE,
            Self::Migration(failure) => failure.code,
            Self::Obstacle(obstacle) => obstacle.code(),
            Self::Permission(error) => code_of_permission(error),
            Self::ColumnDenied(..) => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Guarded(refusal) => refusal.code(),
            Self::Looking(refusal) => refusal.code(),
            Self::NotSchemaOwner(_) => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NoRole(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::BrokenKeys(..) | Self::ForeignAccount(..) | Self::BoundToAccount(..) => {
                ERRCODE_FOREIGN_KEY_VIOLATION
            }
            Self::PiecesInBlock => ERRCODE_ACTIVE_SQL_TRANSACTION,
            Self::UnfitPath(_) | Self::UnfitOrigin(_) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NoOrigin(_) => ERRCODE_UNDEFINED_OBJECT,
            Self::StaleBinding(..) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::ReservedSchema(_) | Self::UnfitForeignKey => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotGoverned(_) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            // Of several obstacles the first speaks for all.
            Self::SchemaObstacles { found, .. } => found
                .first()
                .map_or(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, Obstacle::code),
            Self::Manifest(found) => found
                .first()
                .map_or(ERRCODE_INVALID_PARAMETER_VALUE, code_of),
            Self::ManifestObstacles(found) => found
                .first()
                .map_or(ERRCODE_INVALID_PARAMETER_VALUE, |(_, obstacle)| {
                    obstacle.code()
                }),
            Self::UnknownColumn(..) => ERRCODE_UNDEFINED_COLUMN,
            Self::UnknownSchema(_) => ERRCODE_INVALID_SCHEMA_NAME,
            Self::EmptyRoles => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotAdmin | Self::NotAMember(_) => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::LockNotHad { .. } => ERRCODE_LOCK_NOT_AVAILABLE,
        }
    }
}
