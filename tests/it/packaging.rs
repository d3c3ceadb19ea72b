//! What the repository ships beside the code says the same as the code.

use std::collections::BTreeMap;

use workflow_worker::config::{Config, process_variable, settings};

const RENDER: &str = include_str!("../../render.yaml");

/// Left to each instance: two of one name could not be told apart.
const NOT_FOR_RENDER: &str = "WORKFLOW_WORKER_NAME";

/// Asked for although they have defaults: a value here would replace what the platform's service has set.
const OF_THE_PLATFORM: [&str; 5] = [
    "SMTP_PORT",
    "SMTP_TLS",
    "SMTP_SSL",
    "EMAILS_FROM_NAME",
    "USE_RESEND",
];

/// The variables of `render.yaml` and their values; `None` for those that Render asks for.
fn variables() -> BTreeMap<&'static str, Option<&'static str>> {
    let lines: Vec<&str> = RENDER.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter_map(|pair| match pair {
            [first, second] => Some((first.strip_prefix("- key: ")?, *second)),
            _ => None,
        })
        .map(|(key, line)| match line.strip_prefix("value: ") {
            Some(value) => (key, Some(value.trim_matches('"'))),
            None if line == "sync: false" => (key, None),
            None => panic!("{key} is followed by {line:?}"),
        })
        .collect()
}

#[test]
fn render_yaml_has_every_setting_and_no_secret() {
    let variables = variables();
    for setting in settings::table()
        .iter()
        .filter(|setting| setting.name != NOT_FOR_RENDER)
    {
        let value = variables
            .get(setting.name)
            .unwrap_or_else(|| panic!("{} is not there", setting.name));
        assert!(
            !setting.secret || value.is_none(),
            "{} is a secret",
            setting.name
        );
        if OF_THE_PLATFORM.contains(&setting.name) {
            assert_eq!(*value, None, "{}", setting.name);
        } else if setting.name != settings::ENVIRONMENT.name {
            assert_eq!(*value, setting.default, "{}", setting.name);
        }
    }
    // What the worker does not read has no value here: one would look as if it had an effect.
    let is_setting = |name: &str| settings::table().iter().any(|setting| setting.name == name);
    let others: Vec<_> = variables
        .iter()
        .filter(|(name, value)| value.is_some() && !is_setting(name))
        .collect();
    assert!(others.is_empty(), "not settings: {others:?}");
}

#[test]
fn a_worker_starts_with_the_values_of_render_yaml() {
    let variables = variables();
    let config = Config::from_env(|name| match name {
        "SUPABASE_DB_URL" => Some("postgresql://u:p@h/db".to_owned()),
        _ => variables.get(name).copied().flatten().map(str::to_owned),
    });
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let delay = RENDER
        .lines()
        .find_map(|line| line.trim().strip_prefix("maxShutdownDelaySeconds: "));
    let delay: u64 = delay
        .and_then(|text| text.parse().ok())
        .expect("maxShutdownDelaySeconds is there");
    // What is left over must still be handed back and recorded.
    assert!(config.worker.grace_period.as_secs() + 5 <= delay);
}

/// To fill it in: `UPDATE_README=1 cargo test --test it packaging`.
#[test]
fn the_readme_lists_exactly_the_settings() {
    const BEGIN: &str = "<!-- settings: generated -->\n";
    const END: &str = "<!-- /settings -->";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the beginning is marked");
    let (listed, after) = rest.split_once(END).expect("the end is marked");
    if process_variable("UPDATE_README").is_some() {
        let table = settings::markdown();
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        listed,
        settings::markdown(),
        "UPDATE_README=1 writes the table anew"
    );
}
