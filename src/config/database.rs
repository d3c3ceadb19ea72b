//! Which database: the ways to name it, in the order in which the platform itself looks, and what surrounds it.

use secrecy::SecretString;

use super::reader::Reader;
use super::settings::{self, Setting};
use super::{DatabaseConfig, DatabaseUrl, PreparedStatements, parse};

/// What to say where no way is taken.
const WAYS: &str = "no database is named. Set one of: SUPABASE_DB_URL; SUPABASE_URL with SUPABASE_DB_PASSWORD; \
                    POSTGRES_SERVER with POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB; DATABASE_URL";

/// `None` where a problem was noted.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<DatabaseConfig> {
    let named = read_url(reader);
    let (_, listen_url) = optional_url(reader, &settings::LISTEN_URL);
    let pool_size = super::to_usize(reader.integer(&settings::POOL_SIZE));
    let prepared_statements =
        reader.choice(&settings::PREPARED_STATEMENTS, PreparedStatements::parse);
    let statement_timeout = reader.duration(&settings::STATEMENT_TIMEOUT);
    let auto_migrate = reader.flag(&settings::AUTO_MIGRATE);
    let (url, url_source) = named?;
    Some(DatabaseConfig {
        url,
        url_source,
        listen_url,
        pool_size,
        prepared_statements,
        statement_timeout,
        auto_migrate,
    })
}

/// The database for queries and the variables it was made of. Every variable is read, so that each is described.
fn read_url(reader: &mut Reader<'_>) -> Option<(DatabaseUrl, &'static str)> {
    let (supabase_db_url_set, supabase_db_url) = optional_url(reader, &settings::SUPABASE_DB_URL);
    let project = reader.optional_text(&settings::SUPABASE_URL);
    let project_password = reader.optional_text(&settings::SUPABASE_DB_PASSWORD);
    let server = reader.optional_text(&settings::POSTGRES_SERVER);
    let port = reader.integer(&settings::POSTGRES_PORT);
    let user = reader.optional_text(&settings::POSTGRES_USER);
    let password = reader.optional_text(&settings::POSTGRES_PASSWORD);
    let database = reader.optional_text(&settings::POSTGRES_DB);
    let (database_url_set, database_url) = optional_url(reader, &settings::DATABASE_URL);

    if supabase_db_url_set {
        return supabase_db_url.map(|url| (url, "SUPABASE_DB_URL"));
    }
    // The platform needs SUPABASE_URL for other things as well: alone it names no database.
    if let (Some(project), Some(password)) = (&project, project_password) {
        let url = supabase_project(project, password.into());
        if url.is_none() {
            reader.wrong(
                &settings::SUPABASE_URL,
                Some(parse::show_wrong(project)),
                settings::SUPABASE_URL.kind.allowed(),
            );
        }
        return url.map(|url| (url, "SUPABASE_URL and SUPABASE_DB_PASSWORD"));
    }
    if let Some(server) = server {
        let mut needed = |setting: &Setting, value: Option<String>| {
            if value.is_none() {
                reader.wrong(
                    setting,
                    None,
                    "is needed where POSTGRES_SERVER is set".to_owned(),
                );
            }
            value
        };
        let user = needed(&settings::POSTGRES_USER, user);
        let database = needed(&settings::POSTGRES_DB, database);
        let port = u16::try_from(port).ok()?;
        let url = DatabaseUrl::from_parts(
            &server,
            port,
            &user?,
            password.map(SecretString::from),
            &database?,
        );
        return match url {
            Ok(url) => Some((url, "POSTGRES_SERVER, _PORT, _USER, _PASSWORD and _DB")),
            Err(error) => {
                let shown = Some(parse::show_wrong(&server));
                reader.wrong(
                    &settings::POSTGRES_SERVER,
                    shown,
                    format!("a host name or address ({error})"),
                );
                None
            }
        };
    }
    if database_url_set {
        return database_url.map(|url| (url, "DATABASE_URL"));
    }
    reader.wrong(&settings::SUPABASE_DB_URL, None, WAYS.to_owned());
    None
}

/// Whether the setting is set, and the URL if it is right. A wrong one is noted.
fn optional_url(reader: &mut Reader<'_>, setting: &Setting) -> (bool, Option<DatabaseUrl>) {
    let Some(text) = reader.optional_text(setting) else {
        return (false, None);
    };
    match text.parse::<DatabaseUrl>() {
        Ok(url) => {
            reader.show(setting, url.to_string());
            (true, Some(url))
        }
        Err(error) => {
            reader.wrong(
                setting,
                None,
                format!("{error}; right would be {}", setting.kind.allowed()),
            );
            (true, None)
        }
    }
}

/// `https://<ref>.supabase.co` → the project's database, as the platform derives it.
fn supabase_project(url: &str, password: SecretString) -> Option<DatabaseUrl> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .unwrap_or(url);
    let host = rest.split('/').next()?;
    let project = host.strip_suffix(".supabase.co")?;
    if project.is_empty() || project.contains('.') {
        return None;
    }
    let host = format!("db.{project}.supabase.co");
    DatabaseUrl::from_parts(&host, 5432, "postgres", Some(password), "postgres").ok()
}
