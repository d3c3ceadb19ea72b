use std::collections::HashMap;

use secrecy::ExposeSecret;

use super::*;

const DATABASE: (&str, &str) = ("SUPABASE_DB_URL", "postgresql://u:hunter2@h/db");

fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Config::from_env(|name| variables.get(name).map(|value| (*value).to_owned()))
}

fn with(variables: &[(&str, &str)]) -> Config {
    read(&[&[DATABASE], variables].concat()).unwrap_or_else(|error| panic!("{error}"))
}

fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    let errors = read(variables).expect_err("a wrong configuration was accepted");
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_database_is_enough() {
    let config = with(&[]);
    assert_eq!(config.worker.concurrency, 10);
    assert_eq!(config.worker.poll_interval, Duration::from_secs(1));
    assert_eq!(config.worker.adopt_max_age, Duration::from_secs(86_400));
    assert_eq!(config.retry, RetryPolicy::default());
    assert_eq!(config.node.timeout, Duration::from_secs(300));
    assert_eq!(config.node.expression_memory_bytes, 64 << 20);
    assert_eq!(config.database.pool_size, 5);
    assert_eq!(
        config.database.prepared_statements,
        PreparedStatements::Auto
    );
    assert!(config.database.auto_migrate);
    assert_eq!(config.log.format, LogFormat::Auto);
    assert_eq!(config.log.filter, "info");
}

#[test]
fn the_environment_decides() {
    let config = with(&[
        ("WORKFLOW_WORKER_CONCURRENCY", " 200 "),
        ("WORKFLOW_WORKER_POLL_INTERVAL", "0.25"),
        ("WORKFLOW_WORKER_ADOPT_MAX_AGE", "90m"),
        ("WORKFLOW_NODE_TIMEOUT_SECONDS", "1.5"),
        ("WORKFLOW_RETRY_BACKOFF_MULTIPLIER", "3"),
        ("WORKFLOW_MAX_RETRIES", "0"),
        ("WORKFLOW_WORKER_AUTO_MIGRATE", "False"),
        ("WORKFLOW_WORKER_PREPARED_STATEMENTS", "OFF"),
        ("WORKFLOW_WORKER_LISTEN_URL", "postgresql://u:p@direct/db"),
    ]);
    assert_eq!(config.worker.concurrency, 200);
    assert_eq!(config.worker.poll_interval, Duration::from_millis(250));
    assert_eq!(config.worker.adopt_max_age, Duration::from_secs(5_400));
    assert_eq!(config.node.timeout, Duration::from_millis(1_500));
    assert_eq!(
        (config.retry.max_retries, config.retry.multiplier),
        (0, 3.0)
    );
    assert!(!config.database.auto_migrate);
    assert_eq!(config.database.prepared_statements, PreparedStatements::Off);
    assert_eq!(
        config.database.listener_url().hosts,
        [Host::Tcp("direct".to_owned(), 5432)]
    );
}

#[test]
fn all_wrong_values_are_reported_at_once_with_what_is_allowed() {
    let found = problems(&[
        ("WORKFLOW_WORKER_CONCURRENCY", "0"),
        ("WORKFLOW_WORKER_POLL_INTERVAL", "soon"),
        ("WORKFLOW_WORKER_AUTO_MIGRATE", "maybe"),
        ("WORKFLOW_RETRY_BACKOFF_MULTIPLIER", "NaN"),
        ("WORKFLOW_WORKER_LOG_FORMAT", "xml"),
        ("WORKFLOW_WORKER_LOG", "info,=="),
        ("ENVIRONMENT", "prod"),
        ("SUPABASE_DB_URL", "mysql://root:hunter2@h/db"),
    ])
    .join("\n");
    for expected in [
        "WORKFLOW_WORKER_CONCURRENCY is \"0\": allowed is a whole number from 1 to 10000",
        "WORKFLOW_WORKER_POLL_INTERVAL is \"soon\": allowed is seconds, or a number with ms, s, m, h or d, from 50ms to 1d",
        "WORKFLOW_WORKER_AUTO_MIGRATE is \"maybe\": allowed is true or false",
        "WORKFLOW_RETRY_BACKOFF_MULTIPLIER is \"NaN\": allowed is a number from 1 to 100",
        "WORKFLOW_WORKER_LOG_FORMAT is \"xml\": allowed is auto, human, json",
        "WORKFLOW_WORKER_LOG is \"info,==\": allowed is a log filter",
        "ENVIRONMENT is \"prod\": allowed is local, staging, production",
        "SUPABASE_DB_URL: it does not begin with postgresql://",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in\n{found}");
    }
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn a_lease_must_outlive_three_heartbeats() {
    let found = problems(&[
        DATABASE,
        ("WORKFLOW_WORKER_HEARTBEAT_INTERVAL", "6"),
        ("WORKFLOW_WORKER_LEASE_SECONDS", "15"),
    ]);
    assert_eq!(
        found,
        [
            "WORKFLOW_WORKER_LEASE_SECONDS is 15s: allowed is at least 3 times WORKFLOW_WORKER_HEARTBEAT_INTERVAL, which is 6s"
        ]
    );
}

#[test]
fn an_empty_value_counts_as_unset() {
    let config = with(&[
        ("WORKFLOW_WORKER_CONCURRENCY", ""),
        ("WORKFLOW_WORKER_LISTEN_URL", "  \n"),
    ]);
    assert_eq!(config.worker.concurrency, 10);
    assert!(config.database.listen_url.is_none());
}

#[test]
fn the_database_is_looked_for_in_the_platforms_order() {
    let direct = ("SUPABASE_DB_URL", "postgresql://u:p@direct/db");
    let project = [
        ("SUPABASE_URL", "https://abcd.supabase.co/"),
        ("SUPABASE_DB_PASSWORD", "a@b/c"),
    ];
    let server = [
        ("POSTGRES_SERVER", "10.0.0.1"),
        ("POSTGRES_USER", "u"),
        ("POSTGRES_PASSWORD", "p"),
        ("POSTGRES_DB", "d"),
    ];
    let other = ("DATABASE_URL", "postgresql://u:p@other/db");
    let named = |variables: &[(&str, &str)]| {
        let config = read(variables).unwrap_or_else(|error| panic!("{error}"));
        (config.database.url.to_string(), config.database.url_source)
    };
    let mut variables = [&[direct, other][..], &project, &server].concat();
    assert_eq!(
        named(&variables),
        (
            "postgresql://u:***@direct:5432/db?sslmode=prefer".to_owned(),
            "SUPABASE_DB_URL"
        )
    );
    variables.remove(0);
    assert_eq!(
        named(&variables).0,
        "postgresql://postgres:***@db.abcd.supabase.co:5432/postgres?sslmode=prefer"
    );
    variables.retain(|(name, _)| *name != "SUPABASE_DB_PASSWORD");
    assert_eq!(
        named(&variables).0,
        "postgresql://u:***@10.0.0.1:5432/d?sslmode=prefer"
    );
    variables.retain(|(name, _)| *name != "POSTGRES_SERVER");
    assert_eq!(named(&variables).1, "DATABASE_URL");
}

#[test]
fn the_password_of_a_supabase_project_is_taken_as_it_is() {
    let config = read(&[
        ("SUPABASE_URL", "https://abcd.supabase.co"),
        ("SUPABASE_DB_PASSWORD", "a%40 [b]\n"),
    ])
    .unwrap();
    let password = config.database.url.password.expect("a password");
    assert_eq!(password.expose_secret(), "a%40 [b]");
}

#[test]
fn without_a_database_the_ways_to_name_one_are_listed() {
    let found = problems(&[("SUPABASE_URL", "https://abcd.supabase.co")]).join("\n");
    for way in [
        "SUPABASE_DB_URL",
        "SUPABASE_DB_PASSWORD",
        "POSTGRES_SERVER",
        "DATABASE_URL",
    ] {
        assert!(found.contains(way), "{way} is not in {found}");
    }
    let found = problems(&[("POSTGRES_SERVER", "h")]);
    assert_eq!(found.len(), 2, "{found:?}");
    let found = problems(&[
        ("SUPABASE_URL", "https://example.com"),
        ("SUPABASE_DB_PASSWORD", "hunter2"),
    ]);
    assert_eq!(
        found,
        ["SUPABASE_URL is \"https://example.com\": allowed is https://<ref>.supabase.co"]
    );
}

#[test]
fn what_is_called_outside_is_off_until_it_is_set() {
    let outgoing = with(&[]).outgoing;
    assert!(outgoing.providers.openai.key.is_none());
    assert_eq!(outgoing.mail.missing(), Some("SMTP_HOST"));
    assert!(!outgoing.mail.is_begun());
    assert_eq!(outgoing.mail.smtp_port, 587);
    assert_eq!(outgoing.mail.smtp_security, SmtpSecurity::StartTls);
    assert_eq!(outgoing.frontend_host, "http://localhost:5173");
    assert_eq!(
        outgoing.providers.aliases.get("claude-3-opus"),
        Some(&"claude-opus-4-8".to_owned())
    );
}

#[test]
fn mail_is_sent_by_smtp_or_resend() {
    let mail = |variables: &[(&str, &str)]| with(variables).outgoing.mail;
    let from = ("EMAILS_FROM_EMAIL", "a@example.com");
    assert_eq!(
        mail(&[("SMTP_HOST", "h")]).missing(),
        Some("EMAILS_FROM_EMAIL")
    );
    assert_eq!(mail(&[("SMTP_HOST", "h"), from]).missing(), None);
    let resend = [("USE_RESEND", "true"), ("SMTP_HOST", "h"), from];
    assert_eq!(mail(&resend).missing(), Some("RESEND_API_KEY"));
    let resend = [("USE_RESEND", "true"), ("RESEND_API_KEY", "k"), from];
    assert_eq!(mail(&resend).missing(), None);
    for (ssl, tls, expected) in [
        ("true", "true", SmtpSecurity::Tls),
        ("false", "true", SmtpSecurity::StartTls),
        ("false", "false", SmtpSecurity::None),
    ] {
        let variables = [("SMTP_SSL", ssl), ("SMTP_TLS", tls)];
        assert_eq!(mail(&variables).smtp_security, expected);
    }
}

#[test]
fn wrong_values_of_what_is_called_outside_are_named_and_secrets_are_not_shown() {
    let found = problems(&[
        DATABASE,
        ("OPENAI_BASE_URL", "api.openai.com"),
        ("SLACK_WEBHOOK_URL", "hunter2"),
        ("EMAILS_FROM_EMAIL", "nobody"),
        ("SMTP_USER", "u"),
        ("WORKFLOW_AI_MODEL_ALIASES", "a=b,c"),
    ])
    .join("\n");
    for expected in [
        "OPENAI_BASE_URL is \"api.openai.com\": allowed is an http:// or https:// URL",
        "SLACK_WEBHOOK_URL: it is not an http:// or https:// URL",
        "EMAILS_FROM_EMAIL is \"nobody\": allowed is an e-mail address",
        "SMTP_PASSWORD: is needed where SMTP_USER is set",
        "WORKFLOW_AI_MODEL_ALIASES is \"a=b,c\": allowed is name=id, separated by commas",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in\n{found}");
    }
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn production_logs_json_unless_told_otherwise() {
    assert_eq!(
        with(&[("ENVIRONMENT", "production")]).log.format,
        LogFormat::Json
    );
    let told = with(&[
        ("ENVIRONMENT", "production"),
        ("WORKFLOW_WORKER_LOG_FORMAT", "human"),
    ]);
    assert_eq!(told.log.format, LogFormat::Human);
}

#[test]
fn a_worker_is_named_after_its_host() {
    assert_eq!(with(&[("HOSTNAME", "srv-1")]).worker.name, "srv-1");
    assert_eq!(
        with(&[("HOSTNAME", "srv-1"), ("WORKFLOW_WORKER_NAME", "blue")])
            .worker
            .name,
        "blue"
    );
}

#[test]
fn each_setting_of_the_table_is_described_once_and_no_other() {
    let config = with(&[]);
    let described: Vec<_> = config.describe().iter().map(|row| row.name).collect();
    let table: Vec<_> = settings::table()
        .iter()
        .map(|setting| setting.name)
        .collect();
    assert_eq!(described, table);
}

#[test]
fn a_description_says_where_a_value_came_from_and_shows_no_secret() {
    let config = with(&[
        ("SUPABASE_DB_PASSWORD", "hunter2"),
        ("WORKFLOW_WORKER_CONCURRENCY", "20"),
    ]);
    let row = |name: &str| {
        config
            .describe()
            .iter()
            .find(|row| row.name == name)
            .expect("a row")
    };
    assert_eq!(
        (
            row("WORKFLOW_WORKER_CONCURRENCY").value.as_str(),
            row("WORKFLOW_WORKER_CONCURRENCY").source
        ),
        ("20", Source::Env)
    );
    assert_eq!(
        (
            row("WORKFLOW_MAX_RETRIES").value.as_str(),
            row("WORKFLOW_MAX_RETRIES").source
        ),
        ("3", Source::Default)
    );
    assert_eq!(
        row("SUPABASE_DB_URL").value,
        "postgresql://u:***@h:5432/db?sslmode=prefer"
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn each_default_is_within_its_own_bounds() {
    for setting in settings::table() {
        let Some(default) = setting.default else {
            continue;
        };
        let accepted = match setting.kind {
            settings::Kind::Integer { .. } => parse::integer(default, setting.kind).is_some(),
            settings::Kind::Number { .. } => parse::number(default, setting.kind).is_some(),
            settings::Kind::Duration { .. } => parse::duration(default, setting.kind).is_some(),
            settings::Kind::Flag => parse::flag(default).is_some(),
            settings::Kind::Choice(words) => words.contains(&default),
            settings::Kind::Text(_) | settings::Kind::DatabaseUrl => true,
        };
        assert!(accepted, "{}: {default:?}", setting.name);
    }
}

#[test]
fn each_listed_word_is_understood() {
    for setting in settings::table() {
        let settings::Kind::Choice(words) = setting.kind else {
            continue;
        };
        for word in words {
            with(&[(setting.name, word)]);
        }
    }
}

#[test]
fn durations_are_read_in_every_unit_and_shown_in_the_largest() {
    let any = settings::Kind::Duration {
        min: Duration::ZERO,
        max: Duration::MAX,
    };
    for (text, millis, shown) in [
        ("0", 0, "0"),
        ("250ms", 250, "250ms"),
        ("3600", 3_600_000, "1h"),
        ("1.5s", 1_500, "1500ms"),
        ("90m", 5_400_000, "90m"),
        ("24h", 86_400_000, "1d"),
        ("2 d", 172_800_000, "2d"),
    ] {
        let value = parse::duration(text, any).expect(text);
        assert_eq!(
            (value, show_duration(value).as_str()),
            (Duration::from_millis(millis), shown)
        );
    }
    for text in ["", "s", "-1", "1e3", "inf", "1w", "1.2.3", "h1"] {
        assert_eq!(parse::duration(text, any), None, "{text:?}");
    }
}

#[test]
fn the_markdown_table_has_a_row_for_each_setting() {
    let text = settings::markdown();
    assert_eq!(
        text.lines().filter(|line| line.starts_with("| `")).count(),
        settings::table().len()
    );
    for setting in settings::table() {
        assert!(
            text.contains(&format!("| `{}` |", setting.name)),
            "{}",
            setting.name
        );
    }
}

#[test]
fn an_activity_host_has_a_url_or_a_command() {
    let host = |name: &str, value: &str| with(&[(name, value)]).activities.host;
    assert_eq!(with(&[]).activities.host, None);
    assert_eq!(
        host("WORKFLOW_ACTIVITY_COMMAND", "python3 -m 'the host' --x=1"),
        Some(ActivityHost::Command(
            ["python3", "-m", "the host", "--x=1"]
                .map(str::to_owned)
                .to_vec()
        ))
    );
    for (text, shown) in [
        ("unix:/run/host.sock", "unix:/run/host.sock"),
        ("unix:///run/host.sock", "unix:/run/host.sock"),
        ("http://127.0.0.1:8085", "http://127.0.0.1:8085/"),
        ("https://host.internal/base/", "https://host.internal/base/"),
    ] {
        match host("WORKFLOW_ACTIVITY_URL", text) {
            Some(ActivityHost::At(url)) => assert_eq!(url.to_string(), shown),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_wrong_activity_host_is_refused_by_name_and_without_its_password() {
    for url in [
        "host:8085",
        "ftp://host",
        "unix:host.sock",
        "unix:",
        "http://u:hunter3@host",
        "http://host/?a=b",
    ] {
        let found = problems(&[DATABASE, ("WORKFLOW_ACTIVITY_URL", url)]);
        assert_eq!(
            found,
            [
                "WORKFLOW_ACTIVITY_URL: it is not http://host:port, https://host or unix:/path, without a password"
            ],
            "{url}"
        );
    }
    assert_eq!(
        problems(&[DATABASE, ("WORKFLOW_ACTIVITY_COMMAND", "python3 'x")]),
        [
            "WORKFLOW_ACTIVITY_COMMAND is \"python3 'x\": allowed is a program and its arguments, quoted as in a \
             shell; a quote is not closed"
        ]
    );
    let both = problems(&[
        DATABASE,
        ("WORKFLOW_ACTIVITY_URL", "http://host"),
        ("WORKFLOW_ACTIVITY_COMMAND", "host"),
    ]);
    assert_eq!(
        both,
        [
            "WORKFLOW_ACTIVITY_COMMAND is \"host\": allowed is only one of WORKFLOW_ACTIVITY_COMMAND and \
             WORKFLOW_ACTIVITY_URL: the host is reached at a URL, or started by the worker"
        ]
    );
    assert_eq!(
        problems(&[DATABASE, ("WORKFLOW_ACTIVITY_TOKEN", "two words")]),
        ["WORKFLOW_ACTIVITY_TOKEN: it has a space or another character that a header cannot hold"]
    );
}

#[test]
fn types_go_to_an_activity_host_only_if_there_is_one_and_if_they_do_work() {
    let host = ("WORKFLOW_ACTIVITY_URL", "http://host");
    let types = with(&[host, ("WORKFLOW_ACTIVITY_TYPES", "ai_prompt, code,")]);
    assert_eq!(types.activities.types, ["ai_prompt", "code"]);
    assert_eq!(
        problems(&[DATABASE, ("WORKFLOW_ACTIVITY_TYPES", "code")]),
        [
            "WORKFLOW_ACTIVITY_TYPES is \"code\": allowed is nothing without WORKFLOW_ACTIVITY_URL or \
             WORKFLOW_ACTIVITY_COMMAND"
        ]
    );
    assert_eq!(
        problems(&[DATABASE, host, ("WORKFLOW_ACTIVITY_TYPES", "code, loop")]),
        [
            "WORKFLOW_ACTIVITY_TYPES is \"loop\": allowed is node types that do work; what steers the graph is the \
             worker's own"
        ]
    );
}
