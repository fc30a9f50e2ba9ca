//! What an error says beside its message: what to do, and what it is about in particular.

use tenant_guard_core::manifest::ManifestError;

use super::{BrokenKey, Error, Obstacle};
use crate::isolation::located;

impl Error {
    /// What to do about it.
    pub(super) fn hint(&self) -> Option<&str> {
        Some(match self {
            Self::MigrationInBlock => "It commits after each account: CALL it on its own.",
            Self::TransactionControl => "Each account has a transaction of its own.",
            Self::OtherStatements(_) => "Give the run another name.",
            Self::Migration(failure) => return failure.hint.as_deref(),
            Self::ReadsOfNobody(_) => {
                "Whose changes nobody records nobody answers for: call tenant_guard.protect() or \
                 tenant_guard.audit() first."
            }
            Self::NoIdentity => {
                "Call tenant_guard.authenticate(token) at the start of the transaction."
            }
            Self::ProbeFailed { .. } => {
                "What cannot be tried is accepted by its name: accept => '{\"function f(integer)\"}'."
            }
            Self::Findings(_) => "SELECT * FROM tenant_guard.check() says what mends each of them.",
            Self::NoFinding(..) => "What is accepted is what tenant_guard.check() reports now.",
            Self::Expired => "Obtain a fresh token and call tenant_guard.authenticate(token).",
            Self::BypassesRowSecurity(_) => {
                "Connect as a role without BYPASSRLS: policies do not hold for this one."
            }
            Self::Assurance(_) => {
                "Sign in with a further factor and call tenant_guard.authenticate(token) again."
            }
            Self::SecondAccount => "End the transaction before another account signs in.",
            Self::HeldCursor => {
                "Close it first: it may hold rows of the last account. A loop over a query in a \
                 procedure that commits is one: loop over an array instead."
            }
            Self::SealAfterWrite => {
                "Its snapshot would leave this transaction out for good. Call it on its own."
            }
            Self::RetentionLowered(_) => {
                "A rule can only be raised: whoever holds tenant_guard_admin could remove evidence \
                 otherwise. tenant_guard.ledger_retention shows what was set."
            }
            Self::RetentionFloor(_) => {
                "A superuser sets how long anything is kept at least: whoever holds \
                 tenant_guard_admin must not be able to remove what was just written."
            }
            Self::DataOutlivesEvents => "Raise tenant_guard.keep_events() first.",
            Self::RetentionOfPartition(_) => "Give the rule to the table it is a partition of.",
            Self::RetentionByRename(_) => {
                "A rule of a name that it had keeps its data. Give it one that keeps it as long: \
                 tenant_guard.set_retention()."
            }
            Self::NothingPublished | Self::NotAllPublished | Self::NotPublished => {
                "A standby has to flush it first: publication in tenant_guard.ledger_status() says \
                 what is awaited."
            }
            Self::NotSealed => "tenant_guard.seal() takes it into a block.",
            Self::LongValue(..) => {
                "Keep it in a table, and record where it stands or a hash of it."
            }
            Self::LongReceipt(_) => {
                "Take the bundle of its account: tenant_guard.export_ledger(account)."
            }
            Self::ReceiptOfRow(_) => {
                "Key and hash of a row tell of columns its subject may not read: an auditor makes \
                 the receipt and decides who gets it."
            }
            Self::NotSigned => {
                "Set tenant_guard.checkpoint_key_file (after LOAD 'tenant_guard' in a new session), or \
                 sign tenant_guard.checkpoint() elsewhere and give the note to tenant_guard.add_cosignature()."
            }
            Self::KeyFile(_) => {
                "tenant_guard.checkpoint_key_file names a file of the server's user, mode 0600, \
                 with a note key: PRIVATE+KEY+name+id+key."
            }
            Self::NothingSealed => "Call tenant_guard.seal() first.",
            Self::WaitInWriter => "Commit, then wait in a transaction of its own.",
            Self::BrokenLedger(_) => "Call tenant_guard.verify_ledger() to see what was changed.",
            Self::SessionIdentityOff => {
                "A transaction pooler would hand it to the next client. A superuser can allow it \
                 with tenant_guard.allow_session_identity."
            }
            Self::Obstacle(obstacle) => return obstacle.hint(),
            Self::Permission(error) => return error.hint(),
            Self::Guarded(refusal) => return refusal.hint(),
            Self::Looking(refusal) => return refusal.hint(),
            Self::PiecesInBlock => "It commits after each piece: CALL it on its own.",
            Self::BrokenKeys(..) => {
                "Nothing was changed. SELECT * FROM tenant_guard.check_data() shows keys of such rows."
            }
            Self::StaleBinding(..) => "Call tenant_guard.bind_foreign_keys() on the schema again.",
            Self::UnfitForeignKey => "It begins with FOREIGN KEY (...) REFERENCES.",
            Self::ManifestObstacles(found) => return found.first()?.1.hint(),
            Self::NotAMember(_) => {
                "What policies call would run with its rights: SET ROLE must be allowed."
            }
            Self::EmptyRoles => "Pass NULL to leave it to the table's grants.",
            Self::LedgerMissing => {
                "A member of tenant_guard_admin creates it with tenant_guard.init_ledger()."
            }
            Self::LedgerTableLost(_) => {
                "Restore it from a backup: an empty one would hide the loss."
            }
            Self::LedgerPlanted(..) => {
                "See what is on the table, then drop it or give it to a superuser."
            }
            Self::StaleFloor(..) => {
                "Call tenant_guard.protect() on the table again, or tenant_guard.audit() or \
                 tenant_guard.annotate() where that named the column."
            }
            Self::StaleTrigger(..) => {
                "Call tenant_guard.protect() on the table again, with redact naming every column that is \
                 to be left out by the name it has now, or tenant_guard.audit() or \
                 tenant_guard.annotate() where that named the column."
            }
            Self::SourceAltered(..) | Self::SourceGone(_) => {
                "Nobody signs in until tenant_guard.set_membership() or \
                 tenant_guard.set_account_relation() is called with the names of now."
            }
            Self::UnfitRowKey => "It stands in column row_key of the log: {\"id\": 7}.",
            Self::Held(..) => {
                "Nothing was erased. tenant_guard.legal_hold says why; release_hold() ends it."
            }
            Self::NotLogged(_) => {
                "Name the relation with its schema, quoted where it must be: public.person."
            }
            Self::ForeignRowKey(_, columns) => columns.as_deref().unwrap_or(
                "No event of the log has it. Column row_key of the log shows the keys there are.",
            ),
            Self::AccountWithoutEvents => {
                "Nothing is held. Name the account as account_id of the log has it."
            }
            Self::UnknownEvents(..) | Self::OtherAccountsEvent(_) => "Nothing was erased.",
            Self::HashedPersonal(_) => {
                "The hash of a value is a trace of it that erasure would leave. Take the column off \
                 one of the two lists."
            }
            Self::TwoLists(_) => {
                "A column is left out, redacted or hashed; include names those that are shown."
            }
            Self::HashKeyMissing => {
                "Restore tenant_guard.capture_key from a backup: hashes under another key would \
                 be those of other values."
            }
            Self::OwnerWithoutRights(_) => {
                "Checks read what only superusers read. Make the role superuser again, or give what \
                 it owns to one: REASSIGN OWNED."
            }
            Self::LockNotHad { .. } => {
                "Nothing was changed: end the transactions in the way, or try again with a longer \
                 lock_timeout."
            }
            _ => return None,
        })
    }

    /// Every instance of what it is about.
    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::SchemaObstacles { found, .. } => {
                let lines: Vec<_> = found.iter().map(Obstacle::to_string).collect();
                Some(lines.join("\n"))
            }
            Self::ForeignAccount(_, _, parent) => {
                Some(format!("Key is not present in table \"{parent}\"."))
            }
            Self::BoundToAccount(_, _, child) => {
                Some(format!("Key is still referenced from table \"{child}\"."))
            }
            Self::BrokenKeys(_, found) => {
                let lines: Vec<_> = found.iter().map(BrokenKey::to_string).collect();
                Some(lines.join("\n"))
            }
            Self::Manifest(found) if found.len() > 1 => {
                let lines: Vec<_> = found.iter().map(ManifestError::to_string).collect();
                Some(lines.join("\n"))
            }
            Self::ManifestObstacles(found) if found.len() > 1 => {
                let each = found.iter().map(|(path, obstacle)| located(path, obstacle));
                Some(each.collect::<Vec<_>>().join("\n"))
            }
            Self::Migration(failure) => failure.detail.clone(),
            Self::Permission(error) => error.detail(),
            Self::Findings(lines) | Self::ProbeFailed { failing: lines, .. } => {
                Some(lines.join("\n"))
            }
            Self::LockNotHad { holders, .. } if !holders.is_empty() => {
                Some(format!("Locked by process {holders}."))
            }
            Self::Guarded(refusal) => refusal.detail(),
            Self::Looking(refusal) => refusal.detail(),
            _ => None,
        }
    }
}
