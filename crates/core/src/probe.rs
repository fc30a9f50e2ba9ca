//! Trying to cross from one account to another: values for canary rows, the statements that try, and
//! what their outcomes say.

use crate::policy::literal;

/// How a type of a column makes up values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueType {
    /// As `format_type(oid, NULL)` names it; of a domain, the type below it.
    pub name: String,
    /// `pg_type.typtype` of that type.
    pub kind: char,
    /// `pg_type.typcategory` of that type.
    pub category: char,
    /// Most characters of a text; none for any number.
    pub length: Option<usize>,
    /// Most digits before the point of a number; none for any number.
    pub digits: Option<u32>,
    /// The labels of an enumeration.
    pub labels: Vec<String>,
}

/// A value in its text form, another one for each `random` where the type has as many; none for a type
/// that is not known. It is `now_us` microseconds since 1970 began.
pub fn value(kind: &ValueType, random: u64, now_us: i64) -> Option<String> {
    if kind.category == 'A' {
        return Some("{}".into());
    }
    match kind.kind {
        'e' => {
            let label = random.checked_rem(kind.labels.len() as u64)?;
            return kind.labels.get(label as usize).cloned();
        }
        'r' => return Some("empty".into()),
        'm' => return Some("{}".into()),
        _ => {}
    }
    let cut = |text: String| match kind.length {
        Some(length) => text.chars().take(length).collect(),
        None => text,
    };
    Some(match kind.name.as_str() {
        "uuid" => uuid(random),
        "smallint" => (1_000 + random % 30_000).to_string(),
        "integer" => (2_000_000_000 + random % 147_000_000).to_string(),
        "bigint" => (9_000_000_000_000_000_000 + random % 200_000_000_000_000_000).to_string(),
        // As many whole digits as the type leaves; but types with few are often bounded, as percentages are.
        "numeric" => match kind.digits {
            Some(0) => format!("0.{}", random % 10),
            Some(1..=3) => format!("{}.{:02}", 1 + random % 8, (random >> 8) % 100),
            Some(digits) => (1 + random % (10_u64.pow(digits.min(15)) - 1).max(1)).to_string(),
            None => (1_000_000 + random % 1_000_000_000).to_string(),
        },
        "real" => (1 + random % 16_000_000).to_string(),
        "double precision" | "money" => (1 + random % 1_000_000_000).to_string(),
        "boolean" => (random % 2 == 1).to_string(),
        // It looks like a mail address, which many domains ask for.
        "text" | "character varying" | "name" | "citext" => {
            cut(format!("p{random:x}@probe.invalid"))
        }
        "character" | "\"char\"" => cut(format!("{random:016x}")),
        // Of today and of this minute, for which there are partitions.
        "date" => day(now_us.div_euclid(DAY_US) - (random % 2) as i64),
        "timestamp without time zone" | "timestamp with time zone" => {
            moment(now_us - (random % 60_000_000) as i64)
        }
        "time without time zone" | "time with time zone" => clock(random),
        "interval" => format!("1 hour {} microseconds", random % 1_000_000_000),
        "json" | "jsonb" => "{}".into(),
        "bytea" => format!("\\x{random:016x}"),
        "inet" | "cidr" => format!(
            "2001:db8::{:x}:{:x}",
            random >> 16 & 0xffff,
            random & 0xffff
        ),
        "macaddr" => format!("08:00:{}", octets(random, 4)),
        "macaddr8" => format!("08:00:{}", octets(random, 6)),
        "xml" => "<probe/>".into(),
        "tsvector" | "tsquery" => String::new(),
        "point" => format!("({},{})", random % 1_000_000, random >> 32),
        "oid" => (1 + random % 1_000_000_000).to_string(),
        _ => return None,
    })
}

/// A day by its number, 1 January 1970 being 0, as PostgreSQL reads Julian days.
fn day(number: i64) -> String {
    format!("J{}", 2_440_588 + number)
}

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// A moment, in microseconds since 1970 began.
fn moment(us: i64) -> String {
    let of_day = us.rem_euclid(DAY_US);
    let (seconds, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    format!(
        "{} {:02}:{:02}:{:02}.{micros:06}",
        day(us.div_euclid(DAY_US)),
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A time of the day.
fn clock(random: u64) -> String {
    let (minute, second) = ((random >> 8) % 60, (random >> 16) % 60);
    let micros = (random >> 24) % 1_000_000;
    format!("{:02}:{minute:02}:{second:02}.{micros:06}", random % 24)
}

/// So many octets, a colon between two.
fn octets(random: u64, number: usize) -> String {
    let octets = random.to_be_bytes();
    let octets: Vec<_> = { octets[8 - number..].iter() }
        .map(|octet| format!("{octet:02x}"))
        .collect();
    octets.join(":")
}

/// A UUID of version 4 (RFC 9562 section 5.4) that `random` decides.
pub fn uuid(random: u64) -> String {
    let more = mix(random);
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        random >> 32,
        (random >> 16) & 0xffff,
        random & 0xfff,
        more >> 52,
        more & 0xffff_ffff_ffff,
    )
}

/// The next of a row of numbers that look random (splitmix64).
pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Columns and values of a row: quoted name, type, text form.
pub type Values = Vec<(String, String, String)>;

/// The condition that columns of `alias` have these values.
pub fn filter(alias: &str, values: &Values) -> String {
    let compared = values.iter().map(|(column, kind, value)| {
        format!(
            "{alias}.{column} OPERATOR(pg_catalog.=) CAST({} AS {kind})",
            literal(value)
        )
    });
    compared.collect::<Vec<_>>().join(" AND ")
}

/// The list of columns, and of their values as SQL.
pub fn listed(values: &Values) -> (String, String) {
    let columns: Vec<_> = { values.iter() }
        .map(|(column, ..)| column.as_str())
        .collect();
    let written = values.iter();
    let written = written.map(|(_, kind, value)| format!("CAST({} AS {kind})", literal(value)));
    (columns.join(", "), written.collect::<Vec<_>>().join(", "))
}

/// What one role tries on one relation: all that it takes to write the statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Schema-qualified and quoted.
    pub relation: String,
    /// What finds the row of one's own.
    pub own: Values,
    /// What all rows of one's own account have.
    pub owned: Values,
    /// What finds the other account's row.
    pub other: Values,
    /// A further row of the other account.
    pub another: Values,
    /// A column that the role may change, quoted; none where it may change none.
    pub changed: Option<String>,
    /// What makes a row the other account's: the account, or the link to a parent of its.
    pub moved: Values,
    /// Quoted columns of a key without expressions, for ON CONFLICT; empty without one.
    pub key: Vec<String>,
    /// Whether rows of other accounts are read by design.
    pub read_by_all: bool,
    /// Whether the server knows MERGE.
    pub merge: bool,
}

/// How a statement shows that it crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The first column of its first row is a number above zero.
    Counts,
    /// It returns or changes a row.
    Touches,
    /// It changes the row that the statement before it fetches; nothing where that fetches none.
    TouchesFetched,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What is tried.
    pub name: &'static str,
    /// The statements, the last of which shows whether it crossed.
    pub statements: Vec<String>,
    /// How it shows.
    pub sign: Sign,
    /// Whether it is made for an account that has no row at all, so that whatever it meets is others'.
    pub of_nobody: bool,
}

const CURSOR: &str = "tenant_guard_probe";

impl Trial {
    /// All that can be tried by statements alone.
    pub fn attempts(&self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        if !self.read_by_all {
            attempts.extend(self.reads());
        }
        attempts.extend(self.inserts());
        attempts.extend(self.changes());
        if self.merge {
            attempts.extend(self.merges());
        }
        attempts
    }

    /// Counts the rows of one's own: a trial in which they are hidden proves little.
    pub fn control(&self) -> String {
        let Self { relation, own, .. } = self;
        format!(
            "SELECT count(*) FROM {relation} AS t WHERE {}",
            filter("t", own)
        )
    }

    /// Counts the rows of the other account.
    pub fn read(&self) -> String {
        let Self {
            relation, other, ..
        } = self;
        format!(
            "SELECT count(*) FROM {relation} AS t WHERE {}",
            filter("t", other)
        )
    }

    /// What COPY of a query is to write.
    pub fn copied(&self) -> String {
        let Self {
            relation, other, ..
        } = self;
        format!("SELECT t FROM {relation} AS t WHERE {}", filter("t", other))
    }

    /// What COPY of the relation writes of the other account: PostgreSQL makes this query of it, all
    /// columns and no children, beside the condition.
    pub fn copied_relation(&self) -> String {
        let Self {
            relation, other, ..
        } = self;
        let other = filter("t", other);
        format!("SELECT * FROM ONLY {relation} AS t WHERE {other}")
    }

    fn reads(&self) -> Vec<Attempt> {
        let Self { relation, .. } = self;
        let (own, other) = (filter("a", &self.own), filter("t", &self.other));
        let counts = |name, statement: String| Attempt {
            name,
            statements: vec![statement],
            sign: Sign::Counts,
            of_nobody: false,
        };
        vec![
            counts("select", self.read()),
            counts(
                "join",
                format!(
                    "SELECT count(*) FROM {relation} AS a JOIN {relation} AS t ON {other} WHERE {own}"
                ),
            ),
            counts(
                "exists",
                format!(
                    "SELECT CASE WHEN EXISTS (SELECT FROM {relation} AS t WHERE {other}) \
                     THEN 1 ELSE 0 END::int8"
                ),
            ),
            Attempt {
                name: "cursor",
                statements: vec![
                    format!(
                        "DECLARE {CURSOR} CURSOR FOR SELECT 1 FROM {relation} AS t WHERE {other}"
                    ),
                    format!("FETCH ALL FROM {CURSOR}"),
                ],
                sign: Sign::Touches,
                of_nobody: false,
            },
        ]
    }

    fn inserts(&self) -> Vec<Attempt> {
        let (columns, values) = listed(&self.another);
        let insert = format!(
            "INSERT INTO {} AS t ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})",
            self.relation
        );
        let mut attempts = vec![
            touches("insert", insert.clone()),
            touches("insert returning", format!("{insert} RETURNING 1")),
            touches(
                "insert on conflict do nothing",
                format!("{insert} ON CONFLICT DO NOTHING"),
            ),
        ];
        if let (Some(changed), false) = (&self.changed, self.key.is_empty()) {
            // The key is the one of the other account's row; a row that is found is not inserted.
            let mut conflicting = self.another.clone();
            for (column, _, value) in &mut conflicting {
                let same = self.other.iter().find(|(other, ..)| other == column);
                if let Some((.., other)) = same {
                    value.clone_from(other);
                }
            }
            let (columns, values) = listed(&conflicting);
            attempts.push(touches(
                "insert on conflict do update",
                format!(
                    "INSERT INTO {} AS t ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values}) \
                     ON CONFLICT ({}) DO UPDATE SET {changed} = EXCLUDED.{changed}",
                    self.relation,
                    self.key.join(", "),
                ),
            ));
        }
        attempts
    }

    fn changes(&self) -> Vec<Attempt> {
        let Self { relation, .. } = self;
        let (own, other) = (filter("t", &self.own), filter("t", &self.other));
        let moved: Vec<_> = { self.moved.iter() }
            .map(|(column, kind, value)| format!("{column} = CAST({} AS {kind})", literal(value)))
            .collect();
        let moved = moved.join(", ");
        let mut attempts = Vec::new();
        if let Some(changed) = &self.changed {
            let update = format!("UPDATE {relation} AS t SET {changed} = {changed} WHERE {other}");
            attempts.push(touches("update", update.clone()));
            attempts.push(touches("update returning", format!("{update} RETURNING 1")));
        }
        if !moved.is_empty() {
            attempts.push(touches(
                "update into the account",
                format!("UPDATE {relation} AS t SET {moved} WHERE {own}"),
            ));
            attempts.push(Attempt {
                name: "update where current of",
                statements: vec![
                    format!(
                        "DECLARE {CURSOR} CURSOR FOR SELECT 1 FROM {relation} AS t WHERE {} \
                         FOR UPDATE",
                        // By a partition key it would be of some partitions alone.
                        filter("t", &self.owned)
                    ),
                    format!("FETCH NEXT FROM {CURSOR}"),
                    format!("UPDATE {relation} SET {moved} WHERE CURRENT OF {CURSOR}"),
                ],
                sign: Sign::TouchesFetched,
                of_nobody: false,
            });
        }
        let delete = format!("DELETE FROM {relation} AS t WHERE {other}");
        attempts.push(touches("delete", delete.clone()));
        attempts.push(touches("delete returning", format!("{delete} RETURNING 1")));
        attempts.extend(blind(relation, self.changed.as_deref()));
        attempts
    }

    fn merges(&self) -> Vec<Attempt> {
        let merge = format!(
            "MERGE INTO {} AS t USING (SELECT 1) AS s ON {}",
            self.relation,
            filter("t", &self.other)
        );
        let (columns, values) = listed(&self.another);
        let mut attempts = vec![touches(
            "merge delete",
            format!("{merge} WHEN MATCHED THEN DELETE"),
        )];
        if let Some(changed) = &self.changed {
            let update = format!("{merge} WHEN MATCHED THEN UPDATE SET {changed} = t.{changed}");
            attempts.push(touches("merge update", update));
        }
        attempts.push(touches(
            "merge insert",
            format!(
                "MERGE INTO {} AS t USING (SELECT 1) AS s ON false WHEN NOT MATCHED THEN \
                 INSERT ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})",
                self.relation
            ),
        ));
        attempts
    }
}

fn touches(name: &'static str, statement: String) -> Attempt {
    Attempt {
        name,
        statements: vec![statement],
        sign: Sign::Touches,
        of_nobody: false,
    }
}

/// The statements that read nothing, for which the policies of the command stand alone: with a condition
/// those for reading hold, too. Whoever is granted nothing to read can still run them.
pub fn blind(relation: &str, changed: Option<&str>) -> Vec<Attempt> {
    let update = changed.map(|changed| {
        let update = format!("UPDATE {relation} SET {changed} = DEFAULT");
        touches("update of every row", update)
    });
    let delete = touches("delete of every row", format!("DELETE FROM {relation}"));
    let blind = update.into_iter().chain([delete]);
    blind
        .map(|attempt| Attempt {
            of_nobody: true,
            ..attempt
        })
        .collect()
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An error of row security or privileges.
    Refused,
    /// Nothing was found.
    Hidden,
    /// It read, changed or made a row of the other account.
    Crossed,
    /// Nothing can be said.
    NotTried,
    /// Rows are read by every account, as declared.
    ByDesign,
}

impl Outcome {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Hidden => "hidden",
            Self::Crossed => "crossed",
            Self::NotTried => "not tried",
            Self::ByDesign => "by design",
        }
    }

    /// Of an error, by its SQLSTATE. Row security judges a row before constraints do, so whatever
    /// met a constraint had got past it.
    pub fn of_error(sqlstate: &str) -> Self {
        match sqlstate {
            "42501" | "28000" => Self::Refused,
            // Nothing is stored where there is no partition for it.
            "23514" => Self::NotTried,
            code if code.starts_with("23") => Self::Crossed,
            _ => Self::NotTried,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, length: Option<usize>) -> ValueType {
        ValueType {
            name: name.into(),
            kind: 'b',
            category: 'X',
            length,
            digits: None,
            labels: Vec::new(),
        }
    }

    fn values(of: &[(&str, &str)]) -> Values {
        of.iter()
            .map(|(column, value)| (column.to_string(), "int".into(), value.to_string()))
            .collect()
    }

    #[test]
    fn values_fit_their_types() {
        assert_eq!(
            value(&kind("character varying", Some(3)), 0xabcd, 0).unwrap(),
            "pab"
        );
        assert_eq!(value(&kind("uuid", None), 7, 0).unwrap().len(), 36);
        assert!(
            value(&kind("integer", None), u64::MAX, 0)
                .unwrap()
                .parse::<i32>()
                .is_ok()
        );
        assert!(
            value(&kind("bigint", None), u64::MAX, 0)
                .unwrap()
                .parse::<i64>()
                .is_ok()
        );
        assert!(
            value(&kind("smallint", None), u64::MAX, 0)
                .unwrap()
                .parse::<i16>()
                .is_ok()
        );
        assert_eq!(value(&kind("shop.point3d", None), 1, 0), None);
        let array = ValueType {
            category: 'A',
            ..kind("text[]", None)
        };
        assert_eq!(value(&array, 1, 0).unwrap(), "{}");
    }

    #[test]
    fn statements_name_only_the_other_accounts_row() {
        let trial = Trial {
            relation: "shop.t".into(),
            own: values(&[("id", "1")]),
            owned: values(&[("account_id", "7")]),
            other: values(&[("id", "2")]),
            another: values(&[("id", "3"), ("account_id", "8")]),
            changed: Some("name".into()),
            moved: values(&[("account_id", "8")]),
            key: vec!["id".into()],
            read_by_all: false,
            merge: true,
        };
        let names: Vec<_> = trial
            .attempts()
            .iter()
            .map(|attempt| attempt.name)
            .collect();
        assert_eq!(names.len(), 19);
        assert_eq!(
            trial.read(),
            "SELECT count(*) FROM shop.t AS t WHERE t.id OPERATOR(pg_catalog.=) CAST('2' AS int)"
        );
        assert_eq!(
            trial.copied_relation(),
            "SELECT * FROM ONLY shop.t AS t WHERE t.id OPERATOR(pg_catalog.=) CAST('2' AS int)"
        );
        let upsert = trial
            .attempts()
            .into_iter()
            .find(|a| a.name.ends_with("do update"));
        assert_eq!(
            upsert.unwrap().statements,
            [
                "INSERT INTO shop.t AS t (id, account_id) OVERRIDING SYSTEM VALUE \
              VALUES (CAST('2' AS int), CAST('8' AS int)) \
              ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name"
            ]
        );
        // What everybody reads is not read.
        let public = Trial {
            read_by_all: true,
            ..trial
        };
        assert!(
            public
                .attempts()
                .iter()
                .all(|attempt| attempt.sign != Sign::Counts)
        );
    }

    #[test]
    fn values_are_many_where_the_type_has_many() {
        for name in [
            "numeric",
            "real",
            "double precision",
            "money",
            "inet",
            "macaddr",
            "timestamp with time zone",
            "time without time zone",
            "interval",
            "point",
            "oid",
        ] {
            let mut random = 1;
            let made: std::collections::HashSet<_> = (0..100)
                .map(|_| {
                    random = mix(random);
                    value(&kind(name, None), random, 0).unwrap()
                })
                .collect();
            assert!(made.len() > 95, "{name}: {}", made.len());
        }
        let mood = ValueType {
            kind: 'e',
            labels: vec!["sad".into(), "glad".into()],
            ..kind("shop.mood", None)
        };
        assert_eq!(value(&mood, 3, 0).unwrap(), "glad");
        assert_eq!(
            value(&kind("timestamp with time zone", None), 1, 86_400_000_000).unwrap(),
            "J2440588 23:59:59.999999"
        );
        let narrow = ValueType {
            digits: Some(0),
            ..kind("numeric", None)
        };
        assert_eq!(value(&narrow, 77, 0).unwrap(), "0.7");
        let percentage = ValueType {
            digits: Some(3),
            ..narrow
        };
        assert_eq!(value(&percentage, 0x4d07, 0).unwrap(), "8.77");
    }

    #[test]
    fn blind_statements_read_nothing() {
        let written: Vec<_> = { blind("shop.t", Some("name")).into_iter() }
            .flat_map(|attempt| attempt.statements)
            .collect();
        assert_eq!(
            written,
            ["UPDATE shop.t SET name = DEFAULT", "DELETE FROM shop.t"]
        );
        assert!(
            blind("shop.t", None)
                .iter()
                .all(|attempt| attempt.of_nobody)
        );
    }

    #[test]
    fn a_constraint_is_met_only_past_row_security() {
        assert_eq!(Outcome::of_error("42501"), Outcome::Refused);
        assert_eq!(Outcome::of_error("23505"), Outcome::Crossed);
        assert_eq!(Outcome::of_error("P0001"), Outcome::NotTried);
    }
}
