//! The only place where SQLSTATE, message and hint are chosen: this file and those below it.

mod advice;
mod guarded;
mod looking;
mod obstacle;
mod sqlstate;

use std::time::Duration;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};
use tenant_guard_core::account::LONGEST_ACCOUNT;
use tenant_guard_core::bucket::PathError;
use tenant_guard_core::issuer::IssuerError;
use tenant_guard_core::json_path::JsonPath;
use tenant_guard_core::manifest::ManifestError;
use tenant_guard_core::origin::OriginError;
use tenant_guard_core::permission::PermissionError;
use tenant_guard_core::token::Refusal;

use crate::audit::reads::refusals;
use crate::isolation::located;
pub(crate) use guarded::Guarded;
pub(crate) use looking::{Looking, why_unknown};
pub(crate) use obstacle::{BrokenKey, Obstacle};
pub(crate) use sqlstate::sqlstate;

/// Why a call into the extension fails, as the user sees it.
///
/// Messages never carry a token, a key or a value of a row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Reads of a relation whose changes nobody audits either.
    #[error("relation {0} is neither protected nor audited")]
    ReadsOfNobody(String),
    /// What was written would be given free although a savepoint takes it back.
    #[error("flush_reads() cannot run in a subtransaction")]
    FlushInSavepoint,
    /// Nobody could tell when a prepared transaction commits.
    #[error("cannot PREPARE a transaction that has called flush_reads()")]
    PreparedFlush,
    /// Looking back fails.
    #[error("{0}")]
    Looking(Looking),
    /// No identity is bound to the transaction.
    #[error("no identity is bound to this transaction")]
    NoIdentity,
    /// The identity outlived its token.
    #[error("the identity of this transaction has expired")]
    Expired,
    /// The token of the identity was revoked after it was bound.
    #[error("the identity of this transaction has been revoked")]
    Revoked,
    /// The caller's own token lacks what it would be revoked by.
    #[error("the token of this transaction has no {0}")]
    NothingToRevoke(&'static str),
    /// The token does not state the assurance that an action asks for.
    #[error("assurance level \"{0}\" is required")]
    Assurance(String),
    /// Not the name of an assurance level.
    #[error("level must be a name of letters, digits and the characters . _ : / + -")]
    UnfitLevel,
    /// A command that no policy knows.
    #[error("command \"{0}\" is not all, select, insert, update or delete")]
    UnknownCommand(String),
    /// A finding that no check reports: code, object.
    #[error("there is no finding {0} of {1}")]
    NoFinding(String, String),
    /// Nothing to withdraw: code, object.
    #[error("finding {0} of {1} is not accepted")]
    NoAcceptance(String, String),
    /// A probe that did not pass.
    #[error("probe of {relation} failed: {} attempts", failing.len())]
    ProbeFailed {
        /// Its name.
        relation: String,
        /// What crossed, and what could not be tried.
        failing: Vec<String>,
    },
    /// A probe in the middle of another.
    #[error("a probe cannot run within another")]
    NestedProbe,
    /// Not a format of reports.
    #[error("format \"{0}\" is not json or sarif")]
    UnknownFormat(String),
    /// Not a severity.
    #[error("severity \"{0}\" is not error, warning or info")]
    UnknownSeverity(String),
    /// The gate is closed: a line for each finding.
    #[error("{} open findings", .0.len())]
    Findings(Vec<String>),
    /// Not the name of an archetype.
    #[error("archetype \"{0}\" is not known")]
    UnknownArchetype(String),
    /// An argument that does not go with the others: which, and why.
    #[error("{0} does not fit: {1}")]
    UnfitArgument(&'static str, &'static str),
    /// No relation of this name.
    #[error("relation \"{0}\" does not exist")]
    UnknownRelation(String),
    /// A copied row that the policies of its relation refuse: relation, restrictive policy if one.
    #[error("new row violates row-level security policy{} for table \"{}\"", policy(.1), .0)]
    RowNotAdmitted(String, Option<String>),
    /// An argument that must not be empty.
    #[error("{0} must not be empty")]
    EmptyArgument(&'static str),
    /// The account, or subject, is not of the shape the reader returns.
    #[error("{0} of the current identity is not of type {1}")]
    Shape(&'static str, &'static str),
    /// The token is refused.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The caller is not held by row security.
    #[error("role \"{0}\" bypasses row security")]
    BypassesRowSecurity(String),
    /// A second account in one transaction.
    #[error("this transaction is bound to another account")]
    SecondAccount,
    /// Another account while rows of the last one are still held.
    #[error("a holdable cursor of another account is open")]
    HeldCursor,
    /// `is_local => false` without the setting that allows it.
    #[error("session identity is not allowed")]
    SessionIdentityOff,
    /// `is_local => false` inside a transaction block.
    #[error("session identity cannot be bound inside a transaction block")]
    SessionIdentityInBlock,
    /// The issuer's definition is unfit.
    #[error("{0}")]
    UnfitIssuer(#[from] IssuerError),
    /// The issuer is registered already.
    #[error("issuer \"{0}\" already exists")]
    IssuerExists(String),
    /// The issuer is not registered.
    #[error("issuer \"{0}\" does not exist")]
    UnknownIssuer(String),
    /// The headers of a request are not what PostgREST passes on.
    #[error("request.headers carries no usable bearer token")]
    UnfitHeaders,
    /// `act_as` without a reason.
    #[error("reason must say why the account is acted for")]
    NoReason,
    /// A declared relation cannot be read as it was declared.
    #[error("relation {0} is not there as it was declared")]
    SourceGone(String),
    /// A declared relation that has lost a column: column, relation, the function that named it.
    #[error("column \"{0}\" of relation {1}, which {2}() named, does not exist")]
    SourceAltered(String, String, &'static str),
    /// Only tables can be declared.
    #[error("\"{0}\" is not a table")]
    NotATable(String),
    /// A declared column does not exist.
    #[error("column \"{0}\" of relation {1} does not exist")]
    NoColumn(String, String),
    /// A declared column is of a type that does not fit.
    #[error("column \"{0}\" of relation {1} is not of type {2}")]
    UnfitColumn(String, String, &'static str),
    /// A relation the caller declares without a right to read it.
    #[error("permission denied for relation {0}")]
    NotReadable(String),
    /// A sealing transaction that has an id of its own.
    #[error("seal() must be called in a transaction that has written nothing")]
    SealAfterWrite,
    /// A sealing transaction that reads under an older snapshot.
    #[error("seal() must be called in a READ COMMITTED transaction")]
    SealIsolation,
    /// An erasure whose statement would see less than what it judges.
    #[error("erase_personal() must be called in a READ COMMITTED transaction")]
    EraseIsolation,
    /// A removal whose statements would see less than what they judge: the function.
    #[error("{0}() must be called in a READ COMMITTED transaction")]
    PruneIsolation(&'static str),
    /// A rule below what a superuser lets anybody set: the argument.
    #[error("{0} must not be below tenant_guard.retention_floor")]
    RetentionFloor(&'static str),
    /// More rules than a block states.
    #[error("there cannot be more than {0} rules of retention")]
    TooManyRules(usize),
    /// A rule that would keep less than the one in force: of what.
    #[error("{0} cannot be kept for a shorter time than now")]
    RetentionLowered(&'static str),
    /// Data kept longer than the events that hold it.
    #[error("data cannot be kept longer than the events that hold it")]
    DataOutlivesEvents,
    /// A partition, whose events are its root's.
    #[error("relation {0} is a partition")]
    RetentionOfPartition(String),
    /// A change of a name that must stay, because a rule reaches the new name by it alone.
    #[error("relation {0} has no rule of its own, and the change of its name would be removed")]
    RetentionByRename(String),
    /// Waiting for one's own events, which nobody can seal before they are committed.
    #[error("this transaction has events of its own, which are sealed after it commits")]
    WaitInWriter,
    /// Not the text of an event's key.
    #[error("event_id is not an event id")]
    UnfitEventId,
    /// No such event, or none the caller may know of.
    #[error("event \"{0}\" does not exist")]
    NoEvent(String),
    /// There is no block to make a checkpoint of.
    #[error("the ledger has no sealed block")]
    NothingSealed,
    /// No block may be spoken of yet.
    #[error("no block of the ledger is published yet")]
    NothingPublished,
    /// The newest blocks may not be spoken of yet.
    #[error("the newest block of the ledger is not published yet")]
    NotAllPublished,
    /// An event whose block may not be spoken of yet.
    #[error("the block of the event is not published yet")]
    NotPublished,
    /// An event that waits for its block.
    #[error("the event is not sealed yet")]
    NotSealed,
    /// A checkpoint without any signature.
    #[error("the checkpoint is not signed")]
    NotSigned,
    /// The file of the key that signs checkpoints.
    #[error("the checkpoint key file {0}")]
    KeyFile(&'static str),
    /// Not the body of a checkpoint, nor a signed note with one.
    #[error("against is not a checkpoint of a tenant_guard ledger")]
    UnfitCheckpoint,
    /// Not the text of an account.
    #[error("account is not an account id")]
    UnfitAccount,
    /// Something the ledger builds on cannot be read.
    #[error("{0} in the ledger is damaged")]
    BrokenLedger(&'static str),
    /// The operating system gives no random bytes.
    #[error("no random bytes are available")]
    NoRandomness,
    /// The library is loaded where the extension is not created.
    #[error("extension \"tenant_guard\" is not installed in this database")]
    NotInstalled,
    /// A trigger function called as an ordinary one.
    #[error("{0} can only be called as a trigger")]
    NotATrigger(&'static str),
    /// A role of the product or what it is allowed cannot be so.
    #[error(transparent)]
    Permission(#[from] PermissionError),
    /// A column outside of what the token's roles are allowed: column, relation.
    #[error("permission denied for column {0} of table {1}")]
    ColumnDenied(String, String),
    /// An argument that must not be null.
    #[error("{0} must not be null")]
    NullArgument(&'static str),
    /// A relation cannot be protected, or is not.
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    /// A guard refuses the command.
    #[error(transparent)]
    Guarded(#[from] Guarded),
    /// Owned by somebody else.
    #[error("must be owner of schema \"{0}\"")]
    NotSchemaOwner(String),
    /// A schema of PostgreSQL's or ours.
    #[error("schema \"{0}\" cannot be governed")]
    ReservedSchema(String),
    /// Something else than one foreign key.
    #[error("definition must be that of one foreign key")]
    UnfitForeignKey,
    /// A procedure that commits, where it may not.
    #[error("check_data_in_pieces() cannot run inside a transaction block")]
    PiecesInBlock,
    /// What is to be a path in a bucket, or a template of one, is none.
    #[error("{0}")]
    UnfitPath(#[from] PathError),
    /// Not an origin.
    #[error("{0}")]
    UnfitOrigin(#[from] OriginError),
    /// An origin that the account does not allow: origin.
    #[error("origin \"{0}\" is not allowed for the account")]
    NoOrigin(String),
    /// Foreign keys that rows break: the schema, at least one key.
    #[error("foreign keys of schema \"{0}\" cannot be bound to the account")]
    BrokenKeys(String, Vec<BrokenKey>),
    /// A row that refers to a row of another account, said as PostgreSQL says that there is none:
    /// relation, key, who is referred to.
    #[error("insert or update on table \"{0}\" violates foreign key constraint \"{1}\"")]
    ForeignAccount(String, String, String),
    /// A row that is to leave the account of those that refer to it: relation, key, who refers.
    #[error(
        "update or delete on table \"{0}\" violates foreign key constraint \"{1}\" on table \"{2}\""
    )]
    BoundToAccount(String, String, String),
    /// A trigger that holds a key which is gone or has another name: relation, key.
    #[error("foreign key \"{1}\" of {0} is held to the account, but is not there")]
    StaleBinding(String, String),
    /// A role that a rule names and that is gone.
    #[error("role \"{0}\" does not exist")]
    NoRole(String),
    /// No rule stands for the schema.
    #[error("schema \"{0}\" is not governed")]
    NotGoverned(String),
    /// Parts of a manifest that cannot be; at least one.
    #[error("{}", .0.first().map_or(String::new(), ToString::to_string))]
    Manifest(Vec<ManifestError>),
    /// Relations of a manifest that cannot be protected, each with its place; at least one.
    #[error("{}", .0.first().map_or(String::new(), |(path, obstacle)| located(path, obstacle)))]
    ManifestObstacles(Vec<(JsonPath, Obstacle)>),
    /// Tables of a schema cannot be protected.
    #[error("schema \"{schema}\" cannot be protected")]
    SchemaObstacles {
        /// The schema.
        schema: String,
        /// At least one obstacle.
        found: Vec<Obstacle>,
    },
    /// The schema does not exist.
    #[error("schema \"{0}\" does not exist")]
    UnknownSchema(String),
    /// No table of the schema has the column: column, schema.
    #[error("no unprotected table of schema \"{1}\" has a column \"{0}\"")]
    UnknownColumn(String, String),
    /// A role that is gone.
    #[error("role with OID {0} does not exist")]
    UnknownRole(u32),
    /// A list of roles that names none.
    #[error("roles must name at least one role")]
    EmptyRoles,
    /// Not the caller's role to ask about.
    #[error("must be a member of role \"{0}\"")]
    NotAMember(String),
    /// The caller may not decide about protection.
    #[error("permission denied: must be a member of role \"tenant_guard_admin\"")]
    NotAdmin,
    /// Somebody kept a relation locked for as long as the caller waits.
    #[error("could not obtain lock on relation {relation} within {} ms", waited.as_millis())]
    LockNotHad {
        /// Its name, qualified where it has to be.
        relation: String,
        /// All attempts together.
        waited: Duration,
        /// The processes in the way when time was up, a comma between two; empty for a prepared
        /// transaction.
        holders: String,
    },
    /// An interval with months has no fixed length.
    #[error("{0} must be a non-negative interval without months, of at most a million days")]
    UnfitInterval(&'static str),
    /// The ledger's tables are not there.
    #[error("the audit ledger does not exist in this database")]
    LedgerMissing,
    /// Some of the ledger's tables are there, this one is not.
    #[error("ledger table \"{0}\" is lost")]
    LedgerTableLost(&'static str),
    /// A table of the ledger, and the role without superuser rights that owns it.
    #[error("ledger table \"{0}\" belongs to role \"{1}\", which is not superuser")]
    LedgerPlanted(String, String),
    /// Who would look with a superuser's rights has them no more.
    #[error("role \"{0}\", which owns extension tenant_guard, is not superuser")]
    OwnerWithoutRights(String),
    /// A table of the ledger has other columns or constraints than our code gave it.
    #[error("ledger table \"{0}\" was altered")]
    LedgerAltered(String),
    /// A column of one of our tables has another type than our code gave it.
    #[error("column \"{0}\" of a table of tenant_guard was altered")]
    ColumnAltered(String),
    /// Somebody else than our code writes a table of the ledger.
    #[error("ledger table \"{0}\" is append-only")]
    AppendOnly(String),
    /// A capture trigger whose arguments no longer fit the table: relation and column.
    #[error("capture trigger of \"{0}\" does not fit column \"{1}\"")]
    StaleTrigger(String, String),
    /// A column in two lists of which it can only be in one.
    #[error("column \"{0}\" is in two lists")]
    TwoLists(String),
    /// A column whose hash would stay when its values are erased.
    #[error("column \"{0}\" cannot be both hashed and personal")]
    HashedPersonal(String),
    /// Not the key of a row.
    #[error("a row key must be a JSON object")]
    UnfitRowKey,
    /// Events that are named and not there: how many, the first.
    #[error("{0} of the events do not exist, the first of them {1}")]
    UnknownEvents(usize, String),
    /// An event of another account than the one that was named.
    #[error("event {0} is not one of the account")]
    OtherAccountsEvent(String),
    /// Values that are to be kept: event, hold.
    #[error("event {0} is under legal hold {1}")]
    Held(String, i64),
    /// A relation that is not there, or not under this name, nor in the log.
    #[error("relation \"{0}\" does not exist, and no event names it")]
    NotLogged(String),
    /// A key that no row of a relation can have: the relation, and what its keys look like.
    #[error("a row key is not one of relation {0}")]
    ForeignRowKey(String, Option<String>),
    /// A hold on an account of which nothing is logged.
    #[error("the account has no events")]
    AccountWithoutEvents,
    /// No hold of this id.
    #[error("there is no legal hold {0}")]
    NoHold(i64),
    /// A hold that has ended.
    #[error("legal hold {0} has been released")]
    HoldReleased(i64),
    /// Values are to be hashed, and the key for that is gone.
    #[error("the key for hashed columns is missing")]
    HashKeyMissing,
    /// A relation vanished while it was looked up.
    #[error("relation with OID {0} does not exist")]
    RelationGone(u32),
    /// The name of an action that is empty or too long.
    #[error("action must be 1 to {0} bytes long")]
    UnfitAction(usize),
    /// A value of an application's event that is too long: which, and how long it may be.
    #[error("{0} is longer than {1} bytes")]
    LongValue(&'static str, usize),
    /// A receipt that would be too long to be handed around or verified: its greatest size in bytes.
    #[error("the receipt would be longer than {0} bytes")]
    LongReceipt(usize),
    /// An event whose receipt is for administrators and auditors to make.
    #[error("no receipt of a {0} event is made for an identity")]
    ReceiptOfRow(String),
    /// A value that cannot be written into the log.
    #[error("value for the audit log is not valid UTF-8")]
    NotUtf8,
    /// A row's account that no ledger can keep; the relation.
    #[error("account id in relation {0} is longer than {LONGEST_ACCOUNT} bytes")]
    AccountTooLong(String),
    /// Memory for an event; what runs out inside the server reports itself.
    #[error("out of memory")]
    OutOfMemory,
    /// A value larger than a row of the log can be.
    #[error("event is too large for the audit log")]
    EventTooLarge,
    /// A registered account column that is not there, or not of a type that holds accounts:
    /// column, relation.
    #[error("column \"{0}\" of protected relation {1} is not there as it was protected")]
    StaleFloor(String, String),
    /// A data migration where it cannot commit.
    #[error("for_each_account() cannot run inside a transaction block or a function")]
    MigrationInBlock,
    /// Neither way to go on after an error.
    #[error("on_error must be stop or continue")]
    UnfitChoice,
    /// BEGIN, COMMIT, SAVEPOINT and their like in the statements of a migration.
    #[error("sql must not contain transaction control")]
    TransactionControl,
    /// COPY FROM STDIN or TO STDOUT in the statements of a migration.
    #[error("sql must not copy from or to the client")]
    CopiesToClient,
    /// A statement of a migration that SPI refuses: its code.
    #[error("sql has a statement that cannot run here: {0}")]
    Unexecutable(&'static str),
    /// A run is continued with other statements.
    #[error("run \"{0}\" was begun with other statements")]
    OtherStatements(String),
    /// A run that somebody carries out already.
    #[error("run \"{0}\" is being carried out by another session")]
    RunBusy(String),
    /// A run that is not recorded.
    #[error("run \"{0}\" does not exist")]
    UnknownRun(String),
    /// An account that the declared relation of accounts does not have.
    #[error("account \"{0}\" does not exist")]
    UnknownAccount(String),
    /// Statements of a migration failed, for one account or for some of them.
    #[error("{}", .0.message)]
    Migration(Box<Failure>),
    /// More events, or contexts of events, than a transaction's keys can tell apart.
    #[error("too many audited events in one transaction")]
    TooManyEvents,
}

/// Why a data migration did not come to its end, with what PostgreSQL said of it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// SQLSTATE of the first error.
    pub(crate) code: PgSqlErrorCode,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// The five characters of its SQLSTATE.
    pub(crate) fn sqlstate(&self) -> String {
        sqlstate(self.code)
    }
}

fn policy(name: &Option<String>) -> String {
    name.as_ref()
        .map_or(String::new(), |name| format!(" \"{name}\""))
}

impl Error {
    /// Whether it refuses somebody for who he is not.
    pub(crate) fn refuses_identity(&self) -> bool {
        self.code() == PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION
    }

    /// Whether it refuses somebody for what he may not.
    pub(crate) fn refuses_rights(&self) -> bool {
        self.code() == PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
    }

    /// Raises the error in PostgreSQL; Rust destructors run on the way.
    #[track_caller]
    pub(crate) fn raise(self) -> ! {
        refusals::raised(&self);
        let mut report = ErrorReport::new(self.code(), self.to_string(), "tenant_guard");
        if let Some(hint) = self.hint() {
            report = report.set_hint(hint);
        }
        if let Some(detail) = self.detail() {
            report = report.set_detail(detail);
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR report does not return")
    }
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(vec![error])
    }
}

/// Unwraps a result at the border to PostgreSQL, raising its error there.
pub(crate) trait OrRaise<T> {
    /// The value, or the error raised as PostgreSQL's ERROR.
    fn or_raise(self) -> T;
}

impl<T, E: Into<Error>> OrRaise<T> for Result<T, E> {
    #[track_caller]
    fn or_raise(self) -> T {
        self.unwrap_or_else(|error| error.into().raise())
    }
}
