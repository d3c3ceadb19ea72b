//! What the commands share that call the SQL API: one statement each, rows as JSON, tables for people.
//!
//! A refusal of the API keeps its SQLSTATE and decides the exit code: 64 (`EX_USAGE`) for a bad argument, 66
//! (`EX_NOINPUT`) where there is no such thing, 69 (`EX_UNAVAILABLE`) where it cannot be done now.

use std::fmt;
use std::io::Read;

use anyhow::Context;
use postgres_types::{ToSql, Type};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{EXIT_USAGE, output};
use crate::config::Config;
use crate::store::{OWN_CLASS, Store, StoreError};

/// `EX_NOINPUT`: there is no such execution, workflow, schedule or role.
const EXIT_NOT_FOUND: u8 = 66;
/// `EX_UNAVAILABLE`: not in this state, or not without saying more.
const EXIT_REFUSED: u8 = 69;

/// `data_exception`: a value that its type cannot hold, such as an interval that is none.
const BAD_VALUES: &str = "22";
/// `insufficient_privilege`
const NO_RIGHT: &str = "42501";

/// A row of an answer, by column.
pub(super) type Row = Map<String, Value>;
/// A parameter with its type.
pub(super) type Argument<'a> = (&'a (dyn ToSql + Sync), Type);

/// A refusal in the words of the API.
#[derive(Debug)]
pub(super) struct Refusal {
    code: String,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)
    }
}

impl std::error::Error for Refusal {}

/// The exit code of a command that has failed.
pub(super) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    let refusal = error.downcast_ref::<Refusal>()?;
    Some(match refusal.code.as_str() {
        "WW400" | "WW422" => EXIT_USAGE,
        code if code.starts_with(BAD_VALUES) => EXIT_USAGE,
        "WW404" => EXIT_NOT_FOUND,
        _ => EXIT_REFUSED,
    })
}

/// A session with the database for one command.
#[derive(Debug)]
pub(super) struct Calls {
    store: Store,
}

impl Calls {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            store: Store::new(&config.database)?,
        })
    }

    /// The rows of a query.
    pub(super) async fn rows(
        &self,
        query: &str,
        arguments: &[Argument<'_>],
    ) -> anyhow::Result<Vec<Row>> {
        let text = format!("SELECT to_json(answer)::text FROM ({query}) AS answer");
        let rows = match self.store.query_text(&text, arguments).await {
            Err(StoreError::Refused { code, message })
                if code.starts_with(OWN_CLASS) || code.starts_with(BAD_VALUES) =>
            {
                return Err(Refusal { code, message }.into());
            }
            Err(StoreError::Schema { code, message }) if code == NO_RIGHT => {
                let message = format!(
                    "{message}: connect as the owner of the schema, or as a role that has been given rights by \
                     `workflow-worker grant`"
                );
                return Err(Refusal { code, message }.into());
            }
            other => other?,
        };
        rows.iter()
            .map(|row| {
                let text: String = row.try_get(0)?;
                serde_json::from_str(&text).context("the database's answer is not JSON")
            })
            .collect()
    }

    /// The row of a query that has one.
    pub(super) async fn row(&self, query: &str, arguments: &[Argument<'_>]) -> anyhow::Result<Row> {
        let rows = self.rows(query, arguments).await?;
        rows.into_iter()
            .next()
            .context("the database's answer is empty")
    }

    /// The workflow that is named by its id, or by its name if that is unique.
    pub(super) async fn workflow(&self, reference: &str) -> anyhow::Result<Uuid> {
        if let Ok(id) = Uuid::parse_str(reference) {
            return Ok(id);
        }
        let found = self
            .rows(
                "SELECT id FROM public.workflow WHERE name = $1 ORDER BY id LIMIT 11",
                &[(&reference, Type::TEXT)],
            )
            .await?;
        let ids: Vec<&str> = found.iter().map(|row| text_of(row, "id")).collect();
        match ids.as_slice() {
            [id] => Ok(Uuid::parse_str(id)?),
            [] => Err(refusal(
                "WW404",
                format!("there is no workflow {reference:?}"),
            )),
            several => Err(refusal(
                "WW300",
                format!(
                    "several workflows are named {reference:?}: {}",
                    several.join(", ")
                ),
            )),
        }
    }
}

pub(super) fn refusal(code: &str, message: String) -> anyhow::Error {
    Refusal {
        code: code.to_owned(),
        message,
    }
    .into()
}

/// A text of a row; empty if there is none.
pub(super) fn text_of<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// JSON that was typed: as it is, from a file (`@FILE`), or from standard input (`-`).
pub(super) fn read_json(text: &str) -> anyhow::Result<Value> {
    let given = match (text, text.strip_prefix('@')) {
        ("-", _) => {
            let mut given = String::new();
            std::io::stdin()
                .read_to_string(&mut given)
                .context("standard input cannot be read")?;
            given
        }
        (_, Some(path)) => {
            std::fs::read_to_string(path).with_context(|| format!("{path:?} cannot be read"))?
        }
        (text, None) => text.to_owned(),
    };
    match serde_json::from_str(&given) {
        Ok(value) => Ok(value),
        Err(error) => Err(refusal(
            "WW400",
            format!("{text:?} is not JSON ({error}); give JSON, @FILE, or - for standard input"),
        )),
    }
}

/// Prints rows as JSON, or as a table of these columns.
pub(super) fn print_rows(rows: &[Row], columns: &[&str], is_json: bool) -> anyhow::Result<()> {
    if is_json {
        output::line(&serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    if rows.is_empty() {
        output::line("none");
        return Ok(());
    }
    let head = columns.iter().map(|column| column.to_uppercase()).collect();
    let mut table: Vec<Vec<String>> = vec![head];
    table.extend(rows.iter().map(|row| {
        let cells = columns.iter().map(|column| shown(row.get(*column)));
        cells.collect()
    }));
    output::table(&table);
    Ok(())
}

/// Prints one row as JSON, or one column per line.
pub(super) fn print_row(row: &Row, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        output::line(&serde_json::to_string_pretty(row)?);
        return Ok(());
    }
    let lines: Vec<Vec<String>> = row
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(column, value)| vec![column.clone(), shown(Some(value))])
        .collect();
    output::table(&lines);
    Ok(())
}

/// A value for people: on one line.
fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.replace(['\n', '\r', '\t'], " "),
        Some(Value::Array(items)) => {
            let items: Vec<String> = items.iter().map(|item| shown(Some(item))).collect();
            items.join(", ")
        }
        Some(other) => other.to_string(),
    }
}
