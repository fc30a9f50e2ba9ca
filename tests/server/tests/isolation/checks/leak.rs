//! What a broken schema lets out, as sessions of its script say it, and that it lets it out no more.
//!
//! A session is steps, then what they give. A step is a line of SQL after whom the transaction speaks
//! for: `A`, `B` or `nobody`. Neighbours of one account share a transaction, which is rolled back unless
//! its last step says `commits`; what is `outside` is in no transaction, and `meanwhile` a superuser
//! does something in a session of his own. The session is one of the application's role, or of the role
//! in `as`, with tokens that name the `roles`. Then come the lines its steps print while the schema is broken (`shows`) and when it is
//! mended (`then`): rows, errors as SQLSTATE and message, notices. It is the same session that is asked
//! again, and a new one; where settings of a role are what is broken, only the new one (`reconnects`).

use std::sync::{Arc, Mutex};

use postgres::{Client, NoTls};
use tenant_guard_tests::{ACCOUNT_A, ACCOUNT_B, assert_ordinary};

use super::super::Shop;

/// A session of a script.
#[derive(Default)]
pub(super) struct Leak {
    role: Option<String>,
    roles: Vec<String>,
    steps: Vec<Step>,
    reconnects: bool,
    shows: Vec<String>,
    then: Vec<String>,
}

struct Step {
    whom: Whom,
    commits: bool,
    statement: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Whom {
    Account(&'static str),
    Nobody,
    Outside,
    Superuser,
}

/// The sessions of a script, in its comments.
pub(super) fn sessions(text: &str) -> Vec<Leak> {
    let mut leaks: Vec<Leak> = Vec::new();
    let mut ended = true;
    for line in comments(text) {
        let Some((key, value)) = line.split_once(": ") else {
            continue;
        };
        let (key, commits) = match key.strip_suffix(" commits") {
            Some(key) => (key, true),
            None => (key, false),
        };
        let whom = match key {
            "A" => Some(Whom::Account(ACCOUNT_A)),
            "B" => Some(Whom::Account(ACCOUNT_B)),
            "nobody" => Some(Whom::Nobody),
            "outside" => Some(Whom::Outside),
            "meanwhile" => Some(Whom::Superuser),
            _ => None,
        };
        if (whom.is_some() || matches!(key, "as" | "roles" | "reconnects")) && ended {
            leaks.push(Leak::default());
            ended = false;
        }
        let Some(leak) = leaks.last_mut() else {
            continue;
        };
        match (whom, key) {
            (Some(whom), _) => leak.steps.push(Step {
                whom,
                commits,
                statement: value.to_owned(),
            }),
            (_, "as") => leak.role = Some(value.to_owned()),
            (_, "roles") => leak.roles = value.split(' ').map(str::to_owned).collect(),
            (_, "reconnects") => leak.reconnects = true,
            (_, "shows") => {
                ended = true;
                leak.shows.push(value.to_owned());
            }
            (_, "then") => leak.then.push(value.to_owned()),
            _ => {}
        }
    }
    leaks
}

/// The comments of a script, each with the lines that go on with it, which are indented.
fn comments(text: &str) -> Vec<String> {
    let mut comments: Vec<String> = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("-- ")) {
        match (line.strip_prefix("    "), comments.last_mut()) {
            (Some(more), Some(comment)) => {
                comment.push(' ');
                comment.push_str(more.trim_start());
            }
            _ => comments.push(line.to_owned()),
        }
    }
    comments
}

impl Leak {
    /// The session, which has seen what it should not see.
    #[track_caller]
    pub(super) fn shown(&self, shop: &Shop, ordinary: bool) -> Session {
        assert!(!self.shows.is_empty(), "a session that shows nothing");
        assert_ne!(self.shows, self.then, "a session that nothing changes for");
        let mut session = Session::of(shop, self.role.as_deref().unwrap_or(&shop.app));
        if ordinary {
            assert_ordinary(&mut session.client);
        }
        assert_eq!(session.prints(shop, self), self.shows, "while broken");
        session
    }

    /// Asserts that neither this session nor a new one sees it any more.
    #[track_caller]
    pub(super) fn stopped(&self, shop: &Shop, mut session: Session) {
        if !self.reconnects {
            assert_eq!(session.prints(shop, self), self.then, "when mended");
        }
        let mut later = Session::of(shop, self.role.as_deref().unwrap_or(&shop.app));
        assert_eq!(later.prints(shop, self), self.then, "in a new session");
    }
}

/// A client session and what the server said to it beside results.
pub(super) struct Session {
    client: Client,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Session {
    fn of(shop: &Shop, role: &str) -> Self {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        let client = shop
            .db
            .config(role)
            .notice_callback(move |notice| {
                if notice.severity() == "NOTICE" {
                    sink.lock()
                        .unwrap()
                        .push(format!("notice: {}", notice.message()));
                }
            })
            .connect(NoTls)
            .unwrap();
        Self { client, notices }
    }

    /// What the steps print.
    #[track_caller]
    fn prints(&mut self, shop: &Shop, leak: &Leak) -> Vec<String> {
        let mut printed = Vec::new();
        let together = |one: &Step, next: &Step| one.whom == next.whom && !one.commits;
        for group in leak.steps.chunk_by(together) {
            let statements = group.iter().map(|step| step.statement.as_str());
            match group[0].whom {
                Whom::Superuser => statements.for_each(|sql| {
                    printed.extend(rows(&mut shop.unguarded(), sql).err());
                }),
                Whom::Outside => statements.for_each(|sql| {
                    let sql = sql
                        .replace("TOKEN_A", &shop.issuer.token(ACCOUNT_A))
                        .replace("TOKEN_OF_NONE", &token_of_none(shop));
                    self.run(&sql, &mut printed);
                }),
                Whom::Account(account) => {
                    self.begin();
                    let mut claims = shop.issuer.claims(account);
                    claims["roles"] = leak.roles.as_slice().into();
                    let token = shop.issuer.sign(&claims);
                    let sign_in = "SELECT tenant_guard.authenticate($1)";
                    self.client.execute(sign_in, &[&token]).unwrap();
                    self.finish(group, &mut printed);
                }
                Whom::Nobody => {
                    self.begin();
                    self.finish(group, &mut printed);
                }
            }
        }
        printed
    }

    fn begin(&mut self) {
        self.client.batch_execute("BEGIN").unwrap();
    }

    /// The steps of a transaction, and its end.
    fn finish(&mut self, steps: &[Step], printed: &mut Vec<String>) {
        for step in steps {
            self.client.batch_execute("SAVEPOINT step").unwrap();
            if !self.run(&step.statement, printed) {
                self.client.batch_execute("ROLLBACK TO step").unwrap();
            }
        }
        let commits = steps.last().is_some_and(|step| step.commits);
        let end = if commits { "COMMIT" } else { "ROLLBACK" };
        self.client.batch_execute(end).unwrap();
    }

    /// Whether the statement went through.
    fn run(&mut self, statement: &str, printed: &mut Vec<String>) -> bool {
        let outcome = rows(&mut self.client, statement);
        printed.append(&mut self.notices.lock().unwrap());
        match outcome {
            Ok(mut rows) => printed.append(&mut rows),
            Err(error) => {
                printed.push(error);
                return false;
            }
        }
        true
    }
}

/// A token that names a person and no account.
fn token_of_none(shop: &Shop) -> String {
    let mut claims = shop.issuer.claims(ACCOUNT_A);
    let members = claims.as_object_mut().expect("claims are an object");
    members.remove("account_id");
    shop.issuer.sign(&claims)
}

/// The rows of a statement, or its error.
fn rows(client: &mut Client, statement: &str) -> Result<Vec<String>, String> {
    let error = match client.simple_query(statement) {
        Ok(messages) => return Ok(tenant_guard_tests::rows(&messages)),
        Err(error) => error,
    };
    match error.as_db_error() {
        Some(error) => Err(format!("{} {}", error.code().code(), error.message())),
        None => panic!("{statement}: {error}"),
    }
}
