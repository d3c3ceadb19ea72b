//! `sql/schema.sql` shows what the migrations make of an empty database.

use std::process::Command;

use workflow_worker::config::process_variable;

use crate::support::database::{Database, Variant};

const HEAD: &str = "-- What the migrations make of an empty database, for reading: the schema workflow_worker, and what they add to the
-- platform's tables. Nothing runs this file. To write it anew: UPDATE_SCHEMA=1 cargo test --test it schema_file
";

/// What was added outside the schema, as statements.
const ON_HOST_TABLES: &str = "
    SELECT (change.kind || change.table_name || change.object_name) COLLATE \"C\" AS place, pg_get_triggerdef(found.oid) AS definition
    FROM workflow_worker.host_changes AS change
    JOIN pg_trigger AS found
      ON found.tgrelid = to_regclass('public.' || change.table_name) AND found.tgname = change.object_name
    WHERE change.kind = 'trigger'
    UNION ALL
    SELECT (change.kind || change.table_name || change.object_name) COLLATE \"C\", pg_get_indexdef(found.oid)
    FROM workflow_worker.host_changes AS change
    JOIN pg_class AS found ON found.oid = to_regclass('public.' || change.object_name)
    WHERE change.kind = 'index'
    UNION ALL
    SELECT (change.kind || change.table_name || change.object_name) COLLATE \"C\",
           format('ALTER TABLE public.%I ALTER COLUMN %I SET DEFAULT %s', change.table_name, change.object_name,
                  pg_get_expr(found.adbin, found.adrelid))
    FROM workflow_worker.host_changes AS change
    JOIN pg_attribute AS attribute
      ON attribute.attrelid = to_regclass(format('public.%I', change.table_name)) AND attribute.attname = change.object_name
    JOIN pg_attrdef AS found ON found.adrelid = attribute.attrelid AND found.adnum = attribute.attnum
    WHERE change.kind = 'default'
    ORDER BY 1";

/// A dump without what differs from machine to machine and from one minor version to the next.
fn tidied(dump: &str) -> String {
    let mut text = String::new();
    let mut was_empty = true;
    for line in dump.lines() {
        let is_noise = line.starts_with("--")
            || line.starts_with("SET ")
            || line.starts_with("SELECT pg_catalog.set_config")
            || line.starts_with("\\restrict")
            || line.starts_with("\\unrestrict");
        if is_noise || (line.is_empty() && was_empty) {
            continue;
        }
        was_empty = line.is_empty();
        text.push_str(line);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

#[tokio::test]
async fn the_file_shows_what_the_migrations_make() {
    let database = Database::migrated(Variant::Empty).await;
    let client = database.client().await;
    let version: i32 = client
        .query_one(
            "SELECT current_setting('server_version_num')::integer / 10000",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    let pg_dump = database.cluster().program("pg_dump");
    let dumped = Command::new(&pg_dump)
        .args([
            "--schema-only",
            "--no-owner",
            "--no-privileges",
            "--schema=workflow_worker",
            "--dbname",
        ])
        .arg(database.url())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", pg_dump.display()));
    assert!(
        dumped.status.success(),
        "{}",
        String::from_utf8_lossy(&dumped.stderr)
    );
    let mut text = format!(
        "{HEAD}\n{}\n\n",
        tidied(&String::from_utf8(dumped.stdout).unwrap())
    );
    for row in client.query(ON_HOST_TABLES, &[]).await.unwrap() {
        text.push_str(row.get("definition"));
        text.push_str(";\n");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/schema.sql");
    if process_variable("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    // The file is of this version; others write the same things in other words.
    if version == 15 {
        let file = std::fs::read_to_string(path).unwrap();
        let first = file
            .lines()
            .zip(text.lines())
            .find(|(here, there)| here != there);
        assert!(
            file == text,
            "UPDATE_SCHEMA=1 writes it anew; the first line that differs: {first:?}"
        );
    }
}
