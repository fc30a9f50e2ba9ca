//! Why looking back fails.

use pgrx::PgSqlErrorCode;
use tenant_guard_core::history::{Unknown, Why};

/// Why somebody cannot look back, or nothing is to be seen there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Looking {
    /// No role of the identity reads the log of its account.
    #[error("no role of this identity reads the log of its account")]
    NotReader,
    /// An account that is not the identity's.
    #[error("permission denied for the log of another account")]
    OtherAccount,
    /// Not the name of a relation as events have it.
    #[error("relation must be a schema-qualified name")]
    UnfitName,
    /// A part of a relation.
    #[error("{0} is a partition")]
    Partition(String),
    /// Events do not say what rows there were: relation, what is not known since when.
    #[error("the state of relation {0} is not known")]
    Unknown(String, Unknown),
    /// Rows that belong to an account by their parents, or to none.
    #[error("rows of relation {0} do not say which account they are in")]
    NoAccounts(String),
    /// More rows, or longer ones, than are kept.
    #[error("looking back takes more memory than tenant_guard.history_memory")]
    TooMuch,
    /// Not a position of the feed.
    #[error("after is no position of audit_feed()")]
    UnfitPosition,
    /// A position among events that were removed: the first block that has its events.
    #[error("events up to block {} were removed, and with them the place of this position", .0 - 1)]
    Removed(i64),
    /// A position of another ledger.
    #[error("after is no position of this ledger")]
    ForeignPosition,
}

impl Looking {
    pub(super) fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::NotReader | Self::OtherAccount => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::UnfitName | Self::UnfitPosition => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Partition(_) => ERRCODE_WRONG_OBJECT_TYPE,
            Self::TooMuch => ERRCODE_OUT_OF_MEMORY,
            Self::Unknown(..) | Self::NoAccounts(_) | Self::ForeignPosition | Self::Removed(_) => {
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
        }
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotReader => "An admin lets a role read it: tenant_guard.allow_log(role).",
            Self::OtherAccount => "Auditors read the log of every account.",
            Self::Partition(_) => "Name the topmost parent: what is below it is included.",
            Self::Unknown(
                _,
                Unknown {
                    why: Why::Follows(_),
                    ..
                },
            ) => "Rows are known in which it is null, and a baseline when it has another type.",
            Self::Unknown(
                _,
                Unknown {
                    why: Why::Unlogged, ..
                },
            ) => "ALTER TABLE ... SET LOGGED, and a baseline then.",
            Self::Unknown(..) => {
                "tenant_guard.record_baseline(relation) writes down the rows as they are: from then on \
                 they are known."
            }
            Self::NoAccounts(_) => {
                "Their events are in the account of whoever wrote them. An auditor sees the rows of all \
                 accounts: with account null."
            }
            Self::TooMuch => {
                "Ask for one account, or have a superuser raise it for the role that asks: ALTER ROLE ... SET \
                 tenant_guard.history_memory."
            }
            Self::Removed(_) => {
                "A rule of retention let them go. Begin anew with null: that repeats no line and leaves none \
                 out that is left. Who had read all up to there has missed nothing."
            }
            Self::ForeignPosition => {
                "The ledger is another one, or was restored to before it: tell which lines are there \
                 by their event ids, and begin anew."
            }
            Self::UnfitName | Self::UnfitPosition => return None,
        })
    }

    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::Unknown(_, unknown) => Some(match &unknown.event {
                Some(event) => format!("Since event {event}: {}.", why_unknown(unknown)),
                None => format!("{}.", capitalised(&why_unknown(unknown))),
            }),
            _ => None,
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters.clone()).collect()
}

/// Why rows are not known, in words.
pub(crate) fn why_unknown(unknown: &Unknown) -> String {
    match &unknown.why {
        Why::NotBegun => "no event says which rows there were at first".to_owned(),
        Why::Capture => "it was changed what is captured, beside rows that stood".to_owned(),
        Why::Command => "a command took or gave values that no event holds".to_owned(),
        Why::Column(column) => {
            format!("column \"{column}\" got values that no event holds")
        }
        Why::Unlogged => "the table is unlogged, and a crash takes its rows".to_owned(),
        Why::Follows(column) => {
            format!(
                "column \"{column}\" says what other objects are, which no event of its rows tells"
            )
        }
        Why::NoRow => "it changes a row that no event made".to_owned(),
        Why::Differs(columns) => {
            format!("the row was another one before: {}", columns.join(", "))
        }
        Why::Double => "two rows have one key".to_owned(),
        Why::LetGo => "its data was let go by a rule of retention".to_owned(),
        Why::Unreadable => "it is not as events are written".to_owned(),
    }
}
