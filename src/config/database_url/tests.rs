use secrecy::ExposeSecret;
use tokio_postgres::config::Host as DriverHost;

use super::*;

fn parse(text: &str) -> DatabaseUrl {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn password(url: &DatabaseUrl) -> &str {
    url.password
        .as_ref()
        .map_or("", |password| password.expose_secret())
}

fn host(name: &str, port: u16) -> Vec<Host> {
    vec![Host::Tcp(name.to_owned(), port)]
}

#[test]
fn every_spelling_of_the_scheme_is_accepted() {
    for scheme in [
        "postgres",
        "postgresql",
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "postgresql+asyncpg",
        "POSTGRES",
    ] {
        let url = parse(&format!("{scheme}://u:p@h/db"));
        assert_eq!(
            (url.hosts, url.dbname.as_str()),
            (host("h", 5432), "db"),
            "{scheme}"
        );
    }
}

#[test]
fn a_password_may_be_typed_as_it_is() {
    for typed in [
        "a@b",
        "a:b/c?d#e",
        "[YOUR-PASSWORD]",
        "100%",
        "50%zz",
        "x y",
        "@",
        "::",
        "a?b=c",
        "p?sslmode",
        "é/ü@",
        "%",
    ] {
        let url = parse(&format!("postgresql://u:{typed}@h:6543/db?sslmode=require"));
        assert_eq!(password(&url), typed);
        assert_eq!(
            (url.user.as_str(), url.dbname.as_str()),
            ("u", "db"),
            "{typed}"
        );
        assert_eq!(url.hosts, host("h", 6543), "{typed}");
        assert_eq!(url.ssl_mode, SslMode::Require, "{typed}");
    }
}

#[test]
fn a_password_typed_as_it_is_needs_neither_database_nor_parameters() {
    for typed in ["a@b", "a:b/c?d#e", "a/b@c/d", "a?b@c?d"] {
        let url = parse(&format!("postgresql://u:{typed}@h"));
        assert_eq!((password(&url), &url.hosts), (typed, &host("h", 5432)));
        assert_eq!(url.dbname, "u", "without a name it is the role's database");
    }
}

#[test]
fn a_percent_encoded_password_is_decoded_and_a_bad_sequence_kept() {
    for (typed, meant) in [
        ("a%40b%2Fc", "a@b/c"),
        ("%zz%40", "%zz@"),
        ("100%25", "100%"),
        ("%ff", "%ff"),
        ("%c3%a9", "é"),
        ("a%4", "a%4"),
    ] {
        assert_eq!(
            password(&parse(&format!("postgresql://u:{typed}@h/db"))),
            meant
        );
    }
}

#[test]
fn every_kind_of_host_is_accepted() {
    for (text, hosts) in [
        ("10.1.2.3:5433", host("10.1.2.3", 5433)),
        ("[::1]:5433", host("::1", 5433)),
        ("[2001:db8::1]", host("2001:db8::1", 5432)),
        ("db.ref.supabase.co", host("db.ref.supabase.co", 5432)),
        ("my_host", host("my_host", 5432)),
        (
            "%2Fvar%2Frun%2Fpostgresql:5433",
            vec![Host::Unix("/var/run/postgresql".into(), 5433)],
        ),
        (
            "a:1,b",
            vec![
                Host::Tcp("a".to_owned(), 1),
                Host::Tcp("b".to_owned(), 5432),
            ],
        ),
    ] {
        assert_eq!(
            parse(&format!("postgresql://u:p@{text}/db")).hosts,
            hosts,
            "{text}"
        );
    }
}

#[test]
fn the_parameters_can_name_host_port_user_and_database() {
    let url = parse("postgresql:///?host=/var/run/postgresql&port=5433&user=u&password=p&dbname=d");
    assert_eq!(url.hosts, [Host::Unix("/var/run/postgresql".into(), 5433)]);
    assert_eq!(
        (url.user.as_str(), password(&url), url.dbname.as_str()),
        ("u", "p", "d")
    );
}

#[test]
fn an_at_sign_in_a_parameter_is_not_the_end_of_the_password() {
    let url = parse("postgresql://u:p@h/db?application_name=x@y&sslmode=disable");
    assert_eq!((password(&url), &url.hosts), ("p", &host("h", 5432)));
    assert_eq!(url.application_name.as_deref(), Some("x@y"));
    assert_eq!(url.ssl_mode, SslMode::Disable);
}

#[test]
fn other_clients_parameters_are_let_be_and_unknown_ones_warned_of() {
    let url = parse("postgresql://u:p@h/db?pgbouncer=true&connection_limit=1&connect_timeout=5");
    assert!(url.says_pgbouncer);
    assert!(url.warnings.is_empty(), "{:?}", url.warnings);
    let url = parse("postgresql://u:p@h/db?sslmod=require");
    assert!(
        url.warnings
            .iter()
            .any(|warning| warning.contains("sslmod")),
        "{:?}",
        url.warnings
    );
}

#[test]
fn trust_follows_libpq() {
    for (query, mode, file) in [
        ("", SslMode::Prefer, None),
        ("sslmode=allow", SslMode::Prefer, None),
        ("ssl=true", SslMode::Require, None),
        ("ssl=verify-full", SslMode::VerifyFull, None),
        (
            "sslmode=require&sslrootcert=/ca.pem",
            SslMode::VerifyCa,
            Some("/ca.pem"),
        ),
        (
            "sslmode=verify-full&sslrootcert=/ca.pem",
            SslMode::VerifyFull,
            Some("/ca.pem"),
        ),
        ("sslrootcert=system", SslMode::VerifyFull, None),
    ] {
        let url = parse(&format!("postgresql://u:p@h/db?{query}"));
        assert_eq!(
            (url.ssl_mode, url.ssl_root_cert),
            (mode, file.map(PathBuf::from)),
            "{query}"
        );
    }
}

#[test]
fn what_is_wrong_is_named_without_the_password() {
    use DatabaseUrlError as E;
    for (text, expected) in [
        ("h/db", E::Scheme),
        ("mysql://u:hunter2@h/db", E::Scheme),
        ("postgresql://u:hunter2@h:99999/db", E::BadPort),
        ("postgresql://u:hunter2@h:0/db", E::BadPort),
        ("postgresql://u:hunter2@a b/db", E::BadHost),
        ("postgresql://u:hunter2@/db", E::NoHost),
        ("postgresql://h/db", E::NoUser),
        ("postgresql://", E::NoHost),
    ] {
        let error = text.parse::<DatabaseUrl>().expect_err(text);
        assert_eq!(error, expected, "{text}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    for query in [
        "sslmode=on",
        "channel_binding=maybe",
        "sslrootcert=system&sslmode=require",
    ] {
        let error = format!("postgresql://u:p@h/db?{query}")
            .parse::<DatabaseUrl>()
            .expect_err(query);
        assert!(matches!(error, E::BadParameter { .. }), "{query}: {error}");
    }
}

#[test]
fn a_url_never_shows_its_password() {
    let url = parse("postgresql://u:hunter2@[::1]:6543/db?sslmode=require");
    assert_eq!(
        url.to_string(),
        "postgresql://u:***@[::1]:6543/db?sslmode=require"
    );
    assert!(!format!("{url:?}").contains("hunter2"));
    assert!(url.is_transaction_pooler_port());
}

#[test]
fn the_driver_gets_every_part() {
    let url = parse("postgresql://u:p%40@a:5433,b/db?sslmode=verify-full&channel_binding=require");
    let config = url.to_tokio_postgres("workflow-worker");
    assert_eq!(config.get_user(), Some("u"));
    assert_eq!(config.get_password(), Some(b"p@".as_slice()));
    assert_eq!(config.get_dbname(), Some("db"));
    assert_eq!(
        config.get_hosts(),
        [
            DriverHost::Tcp("a".to_owned()),
            DriverHost::Tcp("b".to_owned())
        ]
    );
    assert_eq!(config.get_ports(), [5433, 5432]);
    assert_eq!(config.get_ssl_mode(), DriverSslMode::Require);
    assert_eq!(config.get_channel_binding(), ChannelBinding::Require);
    assert_eq!(config.get_application_name(), Some("workflow-worker"));
    assert_eq!(config.get_options(), None);
    assert_eq!(
        config.get_target_session_attrs(),
        TargetSessionAttrs::ReadWrite
    );
}

#[test]
fn the_application_name_of_the_url_wins() {
    let config = parse("postgresql://u@h/db?application_name=mine").to_tokio_postgres("ours");
    assert_eq!(config.get_application_name(), Some("mine"));
}

proptest::proptest! {
    /// Whatever is typed as a password comes out again, as long as it has no percent sign.
    #[test]
    fn any_password_without_percent_signs_survives(typed in "[ -$&-~]{1,20}") {
        let text = format!("postgresql://u:{typed}@h:5433/db");
        let url = parse(&text);
        proptest::prop_assert_eq!(password(&url), typed);
    }

    /// No text makes the parser panic.
    #[test]
    fn any_text_is_answered(text in ".*") {
        drop(format!("postgresql://{text}").parse::<DatabaseUrl>());
    }
}
