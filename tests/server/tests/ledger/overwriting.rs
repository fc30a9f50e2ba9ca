//! After an erasure, VACUUM and overwriting nothing of a person is left in the files of the log.

use std::path::PathBuf;
use std::process::Command;

use postgres::Client;
use tenant_guard_tests::lines;

use super::offline::export;
use super::seal;
use crate::capture::run;

/// Words that stand nowhere else: one in a short value, one in a value that is compressed and moved out of
/// line, one in a value that is too random to be compressed.
///
/// The compressor puts a byte before every eight that it cannot shorten, so its mark is short, and whole in
/// the second eight of `{"name":"...`.
const MARKS: [&str; 3] = ["zebrafinch-31415", "Qz~Xw", "narwhal-16180"];

/// A value of each kind.
fn values() -> [String; 3] {
    let long = MARKS[1].repeat(4_000);
    let mut random = String::new();
    let mut state = 88_172_645_463_325_252_u64;
    while random.len() < 12_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        random += &format!("{state:016x}");
        if random.len().is_multiple_of(640) {
            random += MARKS[2];
        }
    }
    [MARKS[0].to_owned(), long, random]
}

/// The files of the log, its TOAST tables and indexes, and of the server's statistics.
fn files(client: &mut Client) -> Vec<PathBuf> {
    let query = "WITH heaps AS (
             SELECT c.oid, c.reltoastrelid FROM pg_class AS c
             WHERE c.relnamespace = 'tenant_guard'::regnamespace OR c.relname = 'pg_statistic'),
         tables AS (SELECT oid FROM heaps UNION SELECT reltoastrelid FROM heaps),
         indexes AS (SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM tables))
         SELECT pg_relation_filepath(oid) FROM tables WHERE pg_relation_filepath(oid) IS NOT NULL
         UNION SELECT pg_relation_filepath(indexrelid) FROM indexes";
    let root = lines(client, "SHOW data_directory").remove(0);
    let paths = lines(client, query);
    { paths.into_iter() }
        .map(|path| PathBuf::from(&root).join(path))
        .collect()
}

/// Which marks stand in the files, after everything was written to them.
fn found(client: &mut Client) -> Vec<String> {
    run(client, "CHECKPOINT");
    let mut found = Vec::new();
    for path in files(client) {
        let content = read(&path);
        for mark in MARKS {
            let holds = content
                .windows(mark.len())
                .any(|bytes| bytes == mark.as_bytes());
            if holds && !found.contains(&mark.to_owned()) {
                found.push(mark.to_owned());
            }
        }
    }
    found.sort();
    found
}

/// A file of the cluster, which may belong to another user.
fn read(path: &PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|_| {
        let output = Command::new("cat").arg(path).output().expect("cat runs");
        assert!(output.status.success(), "{path:?}");
        output.stdout
    })
}

#[test]
fn erased_values_are_gone_from_every_file_of_the_log() {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, account_id text NOT NULL, name text, life text);
         SELECT tenant_guard.annotate('person', '{name,life}');
         SELECT tenant_guard.protect('person')",
    );
    for (id, value) in (1..).zip(values()) {
        let insert = "INSERT INTO person VALUES ($1, 'a', $2, 'short')";
        client.execute(insert, &[&id, &value]).expect("a row");
    }
    for id in 4..400 {
        let insert = "INSERT INTO person VALUES ($1, 'a', 'neighbour', 'short')";
        client.execute(insert, &[&id]).expect("a row");
    }
    seal(&mut client);
    run(&mut client, "ANALYZE tenant_guard.audit_log");
    let statistics = "SELECT DISTINCT attname FROM pg_stats
         WHERE schemaname = 'tenant_guard' AND attname ~ '^(personal|row_key)' ORDER BY 1";
    assert_eq!(
        lines(&mut client, statistics),
        ["personal_commitment", "row_key"]
    );
    let before = found(&mut client);
    // What is compressed has its first copy in clear.
    assert_eq!(before, ["Qz~Xw", "narwhal-16180", "zebrafinch-31415"]);
    // As somebody would who was asked to: the row, then the log.
    run(&mut client, "DELETE FROM person WHERE id < 4");
    let erase = r#"SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id)
        FROM tenant_guard.personal_events('a', 'public.person',
            '{"{\"id\":1}","{\"id\":2}","{\"id\":3}"}')), 'Art. 17 GDPR')"#;
    assert_eq!(lines(&mut client, erase), ["6"]);
    seal(&mut client);
    let overwrite =
        "SELECT sum(overwritten) > 0, sum(waiting) FROM tenant_guard.overwrite_erased()";
    let waiting = lines(
        &mut client,
        "SELECT sum(waiting) > 0 FROM tenant_guard.overwrite_erased()",
    );
    assert_eq!(waiting, ["t"]);
    run(&mut client, "VACUUM tenant_guard.audit_log");
    assert_eq!(lines(&mut client, overwrite), ["t|0"]);
    assert_eq!(found(&mut client), [""; 0]);
    // Done once, there is nothing left to do.
    let again = "SELECT sum(overwritten), sum(waiting) FROM tenant_guard.overwrite_erased()";
    assert_eq!(lines(&mut client, again), ["0|0"]);
    // The table of the product is its owner's to clean; the rest is without them.
    run(&mut client, "VACUUM FULL person");
    let dump = String::from_utf8_lossy(&db.pg_dump(&[])).into_owned();
    let bundle = String::from_utf8_lossy(&export(&mut client, "")).into_owned();
    let log = db.server_log();
    let activity = lines(
        &mut client,
        "SELECT query FROM pg_stat_activity
         WHERE query !~ 'pg_stat_activity' AND datname = current_database()",
    )
    .concat();
    for mark in MARKS {
        let hex: String = mark.bytes().map(|byte| format!("{byte:02x}")).collect();
        for (text, place) in [
            (&dump, "dump"),
            (&bundle, "bundle"),
            (&log, "server log"),
            (&activity, "activity"),
        ] {
            assert!(
                !text.contains(mark) && !text.contains(&hex),
                "{mark} in the {place}"
            );
        }
    }
    // What is left is all there.
    assert_eq!(super::findings(&mut client), [""; 0]);
    let left = "SELECT count(*), count(personal) FROM tenant_guard.audit_log WHERE kind = 'row'";
    assert_eq!(lines(&mut client, left), ["402|396"]);
}

#[test]
fn what_others_still_see_waits() {
    let db = crate::capture::database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE person (id int PRIMARY KEY, name text);
         SELECT tenant_guard.annotate('person', '{name}'), tenant_guard.audit('person')",
    );
    run(
        &mut client,
        "INSERT INTO person VALUES (1, 'greenfinch-31415')",
    );
    let mut old = db.superuser();
    run(
        &mut old,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person",
    );
    run(
        &mut client,
        "SELECT tenant_guard.erase_personal('', (SELECT array_agg(event_id)
             FROM tenant_guard.personal_events('', 'public.person')), 'x')",
    );
    run(&mut client, "VACUUM tenant_guard.audit_log");
    let waiting = "SELECT sum(waiting) FROM tenant_guard.overwrite_erased()";
    assert_eq!(lines(&mut client, waiting), ["1"]);
    run(&mut old, "COMMIT");
    run(&mut client, "VACUUM tenant_guard.audit_log");
    assert_eq!(lines(&mut client, waiting), ["0"]);
    // A value that was never committed stays on its page as well.
    run(
        &mut client,
        "BEGIN; INSERT INTO person VALUES (2, 'okapi-27182'); ROLLBACK",
    );
    assert_eq!(lines(&mut client, waiting), ["1"]);
}
