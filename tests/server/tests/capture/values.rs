//! Values are logged exactly, in bytes that depend on nothing but the value.

use std::os::unix::{fs::MetadataExt, process::CommandExt};

use tenant_guard_tests::{Database, expect_error, lines};

use super::{capture, database, log, run};

/// Type, value as SQL and the JSON that must stand in the log.
const EXACT: &[(&str, &str, &str)] = &[
    ("bool", "true", "true"),
    ("smallint", "-32768", "-32768"),
    ("int", "2147483647", "2147483647"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("oid", "4294967295", "4294967295"),
    (
        "numeric",
        "1234567890123456789012345678901234567890.12340",
        "1234567890123456789012345678901234567890.12340",
    ),
    ("numeric", "'-0.50'", "-0.50"),
    ("numeric", "'NaN'", "\"NaN\""),
    ("numeric", "'-Infinity'", "\"-Infinity\""),
    ("numeric(6,3)", "1", "1.000"),
    ("float8", "0.1::float8 + 0.2::float8", "0.30000000000000004"),
    ("float8", "'1e300'", "1e+300"),
    ("float8", "'-0'", "-0"),
    ("float8", "'NaN'", "\"NaN\""),
    ("float4", "'-Infinity'", "\"-Infinity\""),
    ("float4", "1.1", "1.1"),
    (
        "text",
        r#"E'q"b\\n\n\u0001é€😀'"#,
        r#""q\"b\\n\n\u0001é€😀""#,
    ),
    ("text", "''", "\"\""),
    ("text", "NULL", "null"),
    ("char(5)", "'ab'", "\"ab   \""),
    ("\"char\"", "'x'", "\"x\""),
    ("name", "'a name'", "\"a name\""),
    (
        "uuid",
        "'AAAAAAAA-0000-0000-0000-00000000000F'",
        "\"aaaaaaaa-0000-0000-0000-00000000000f\"",
    ),
    ("bytea", r"'\x00ff5c'", r#""\\x00ff5c""#),
    ("date", "'2024-02-29'", "\"2024-02-29\""),
    ("date", "'infinity'", "\"infinity\""),
    ("date", "'4714-11-24 BC'", "\"4714-11-24 BC\""),
    ("timestamp", "'-infinity'", "\"-infinity\""),
    (
        "timestamp",
        "'2024-05-06 07:08:09.120'",
        "\"2024-05-06 07:08:09.12\"",
    ),
    (
        "timestamptz",
        "'2024-05-06 07:08:09+05:30'",
        "\"2024-05-06 01:38:09+00\"",
    ),
    ("timestamptz", "'infinity'", "\"infinity\""),
    ("time", "'24:00:00'", "\"24:00:00\""),
    ("timetz", "'07:08:09.5+05:30'", "\"07:08:09.5+05:30\""),
    (
        "interval",
        "'1 year -2 days 3:04:05.6'",
        "\"1 year -2 days +03:04:05.6\"",
    ),
    (
        "json",
        r#"'{"b": 1.0, "b" :[ ]}'"#,
        r#"{"b": 1.0, "b" :[ ]}"#,
    ),
    ("jsonb", r#"'{"b": 1.00, "a": 1e400}'"#, "JSONB"),
    ("int[]", "'{{1,NULL},{3,4}}'", "\"{{1,NULL},{3,4}}\""),
    (
        "text[]",
        r#"ARRAY['a"b', 'c,d', '']"#,
        r#""{\"a\\\"b\",\"c,d\",\"\"}""#,
    ),
    ("bytea[]", r"ARRAY['\xff'::bytea]", r#""{\"\\\\xff\"}""#),
    (
        "timestamptz[]",
        "ARRAY['2024-05-06 07:08:09+09'::timestamptz]",
        r#""{\"2024-05-05 22:08:09+00\"}""#,
    ),
    (
        "tstzrange",
        "'[2024-01-01 00:00+01, infinity)'",
        r#""[\"2023-12-31 23:00:00+00\",infinity)""#,
    ),
    ("int4multirange", "'{[1,3),[5,6]}'", "\"{[1,3),[5,7)}\""),
    (
        "pair",
        "ROW('2024-01-02', NULL, '$1.50')",
        r#""(2024-01-02,,$1.50)""#,
    ),
    (
        "pair[]",
        "ARRAY[ROW('2024-01-02', '', NULL)::pair]",
        r#""{\"(2024-01-02,\\\"\\\",)\"}""#,
    ),
    ("mood", "'so \"so\"'", r#""so \"so\"""#),
    ("positive", "7", "7"),
    ("positives", "'{7}'", "\"{7}\""),
    ("money", "'1234.5'", "\"$1,234.50\""),
    (
        "regclass",
        "'inner_schema.hidden'",
        "\"inner_schema.hidden\"",
    ),
    ("regtype[]", "ARRAY['int4'::regtype]", "\"{integer}\""),
    ("inet", "'192.0.2.1/24'", "\"192.0.2.1/24\""),
    ("point", "'(0.1,1e-7)'", "\"(0.1,1e-07)\""),
    ("bit(3)", "B'101'", "\"101\""),
    ("xml", "XML '<a>b</a>'", "\"<a>b</a>\""),
    ("tsvector", "'a:1 b'", "\"'a':1 'b'\""),
];

const TYPES: &str = "
    CREATE SCHEMA inner_schema;
    CREATE TABLE inner_schema.hidden ();
    CREATE TYPE pair AS (d date, t text, m money);
    CREATE TYPE mood AS ENUM ('so \"so\"');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN positives AS positive[];";

/// Settings that change how some type's values look, each with an unusual value.
const SETTINGS: &[&str] = &[
    "TimeZone = 'Asia/Kolkata'",
    "DateStyle = 'SQL, DMY'",
    "DateStyle = 'Postgres, MDY'",
    "IntervalStyle = 'iso_8601'",
    "IntervalStyle = 'sql_standard'",
    "extra_float_digits = -15",
    "bytea_output = 'escape'",
    "lc_monetary = 'C.UTF-8'",
    "search_path = inner_schema, public",
    "xmloption = 'document'",
    "quote_all_identifiers = on",
];

/// The values that the server has types for.
fn exact(db: &Database) -> Vec<&'static (&'static str, &'static str, &'static str)> {
    let xml = db.has_xml();
    EXACT
        .iter()
        .filter(|(of_type, ..)| xml || *of_type != "xml")
        .collect()
}

#[test]
fn row_images_are_exact() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, TYPES);
    for &(of_type, value, json) in exact(&db) {
        run(
            &mut client,
            &format!("CREATE TABLE t (account_id int, v {of_type})"),
        );
        capture(&mut client, "t", "account_id", "");
        run(&mut client, &format!("INSERT INTO t VALUES (1, {value})"));
        // 1e400 has 401 digits as jsonb.
        let exact = if json == "JSONB" {
            format!(r#"{{"a": 1{}, "b": 1.00}}"#, "0".repeat(400))
        } else {
            json.into()
        };
        let last = log(&mut client, "data").pop();
        assert_eq!(
            last,
            Some(format!(r#"{{"account_id":1,"v":{exact}}}"#)),
            "{of_type} {value}"
        );
        assert_eq!(
            lines(
                &mut client,
                "SELECT data::jsonb ? 'v' FROM tenant_guard.audit_log ORDER BY xid DESC LIMIT 1"
            ),
            ["t"],
        );
        run(&mut client, "DROP TABLE t");
    }
}

/// Types whose text follows settings that only a table with such a column pays for.
const COSTLY: [&str; 5] = ["pair", "pair[]", "money", "regclass", "regtype[]"];

#[test]
fn stored_bytes_do_not_follow_settings() {
    let db = database();
    let mut client = db.superuser();
    run(&mut client, TYPES);
    let all = exact(&db);
    let cheap = all.iter().copied();
    let cheap = cheap.filter(|(of_type, ..)| !COSTLY.contains(of_type));
    for columns in [cheap.collect::<Vec<_>>(), all.clone()] {
        let numbered = columns.iter().enumerate();
        let definitions: Vec<_> = numbered
            .map(|(i, (of_type, ..))| format!(", c{i} {of_type}"))
            .collect();
        let values: Vec<_> = columns
            .iter()
            .map(|(_, value, _)| format!(", {value}"))
            .collect();
        run(
            &mut client,
            &format!("CREATE TABLE t (account_id int{})", definitions.concat()),
        );
        capture(&mut client, "t", "account_id", "");
        let insert = format!("INSERT INTO public.t VALUES (1{})", values.concat());
        run(&mut client, &format!("{insert}; DELETE FROM public.t"));
        let expected = log(&mut client, "data, row_key").pop();
        for setting in SETTINGS {
            let (name, value) = setting.split_once(" = ").expect("a setting and its value");
            run(&mut client, &format!("{insert}; SET {setting}"));
            run(&mut client, "DELETE FROM public.t");
            let left = lines(&mut client, &format!("SHOW {name}"));
            run(&mut client, "RESET ALL");
            assert_eq!(
                left,
                [value.replace('\'', "")],
                "capture leaves settings as they are"
            );
            assert_eq!(
                log(&mut client, "data, row_key").pop(),
                expected,
                "{setting}"
            );
        }
        run(&mut client, "DROP TABLE t");
    }
}

#[test]
fn error_in_an_output_function_leaves_the_settings() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "SET TimeZone = 'Asia/Kolkata'; SET bytea_output = 'escape'",
    );
    run(&mut client, "CREATE TYPE broken");
    run(
        &mut client,
        "CREATE FUNCTION broken_in(cstring) RETURNS broken
             LANGUAGE internal IMMUTABLE STRICT AS 'textin';
         CREATE FUNCTION broken_out(broken) RETURNS cstring
             LANGUAGE internal IMMUTABLE STRICT AS 'enum_out';
         CREATE TYPE broken (INPUT = broken_in, OUTPUT = broken_out, LIKE = text);
         CREATE TABLE failing (account_id int, d timestamptz, v broken);",
    );
    capture(&mut client, "failing", "account_id", "");
    let insert = "INSERT INTO failing VALUES (1, '2024-01-01 00:00Z', 'no enum')";
    expect_error(
        client.batch_execute(insert),
        "22P03",
        "invalid internal value for enum",
    );
    assert_eq!(
        lines(
            &mut client,
            r"SELECT '2024-01-01 00:00Z'::timestamptz, '\x5c'::bytea"
        ),
        [r"2024-01-01 05:30:00+05:30|\\"]
    );
    assert_eq!(lines(&mut client, "TABLE failing"), [""; 0]);
}

#[test]
fn null_missing_generated_and_dropped_columns_are_told_apart() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        r#"CREATE TABLE t (account_id int, gone text, "a ""quoted"" name" text,
               double int GENERATED ALWAYS AS (account_id * 2) STORED);
           INSERT INTO t VALUES (1, 'x', NULL);
           ALTER TABLE t DROP COLUMN gone;"#,
    );
    capture(&mut client, "t", "account_id", "");
    run(
        &mut client,
        "ALTER TABLE t ADD COLUMN late text DEFAULT 'given'",
    );
    run(&mut client, "ALTER TABLE t ADD COLUMN later text");
    run(&mut client, "UPDATE t SET later = ''");
    run(&mut client, "DELETE FROM t");
    assert_eq!(
        log(&mut client, "data"),
        [
            r#"{"old":{"later":null},"new":{"later":""}}"#,
            r#"{"account_id":1,"a \"quoted\" name":null,"double":2,"late":"given","later":""}"#,
        ]
    );
}

#[test]
fn toasted_values_are_whole_and_unchanged_ones_left_out() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE t (account_id int, plain text, packed text, n int);
         ALTER TABLE t ALTER plain SET STORAGE EXTERNAL;",
    );
    capture(&mut client, "t", "account_id", "");
    run(
        &mut client,
        "INSERT INTO t SELECT 1, string_agg(md5(i::text), ''), repeat('x', 3000000), 0
         FROM generate_series(1, 50000) AS i",
    );
    run(&mut client, "UPDATE t SET n = 1");
    run(
        &mut client,
        "UPDATE t SET plain = plain || '', packed = packed || 'y'",
    );
    run(&mut client, "UPDATE t SET packed = left(packed, -1) || 'z'");
    let image = "md5(data::jsonb #>> '{plain}') = md5(t.plain), length(data)";
    assert_eq!(
        lines(
            &mut client,
            &format!("SELECT {image} FROM tenant_guard.audit_log, t WHERE action = 'insert'")
        ),
        ["t|4600045"]
    );
    let changed = "(SELECT string_agg(k, ',') FROM jsonb_object_keys(data::jsonb -> 'new') AS k)";
    assert_eq!(log(&mut client, changed)[1..], ["n", "packed", "packed"]);
}

#[test]
fn value_that_memory_runs_out_over_is_an_error_and_not_the_end_of_the_server() {
    let db = database();
    let mut client = db.superuser();
    run(
        &mut client,
        "CREATE TABLE t (account_id int, a int[]);
         INSERT INTO t VALUES (1, array_fill(1234567890, ARRAY[20000000]))",
    );
    capture(&mut client, "t", "account_id", "");
    // Room for the array itself, not for the text of each of its elements.
    let pid: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))
        .unwrap();
    let kilobytes: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    let limit = (kilobytes << 10) + (400 << 20);
    // The server's user may limit its processes, and root, where it runs the tests, may be that user.
    let owner = std::fs::metadata(format!("/proc/{pid}")).unwrap();
    let limited = std::process::Command::new("prlimit")
        .uid(owner.uid())
        .gid(owner.gid())
        .arg(format!("--pid={pid}"))
        .arg(format!("--as={limit}"))
        .status();
    assert!(limited.unwrap().success());
    expect_error(
        client.batch_execute("DELETE FROM t"),
        "53200",
        "out of memory",
    );
    assert_eq!(lines(&mut client, "SELECT count(*) FROM t"), ["1"]);
}
