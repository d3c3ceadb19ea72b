//! A `notification` node of a real worker process against a mail server with STARTTLS.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto, pki_types::PrivatePkcs8KeyDer};

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, insert, insert_workflow, node, trigger, wait_for_completion, wait_for_end,
};
use crate::support::smtp::Smtp;
use crate::support::worker::WorkerProcess;

/// A server's side of TLS, and a file with the certificate to trust.
fn tls(file: &str) -> (TlsAcceptor, PathBuf) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&path, cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), path)
}

fn worker(database: &Database, port: u16, trusted: &str) -> WorkerProcess {
    let port = port.to_string();
    WorkerProcess::spawn(
        &database.url(),
        &[
            ("SSL_CERT_FILE", trusted),
            ("WORKFLOW_MAX_RETRIES", "0"),
            ("SMTP_HOST", "127.0.0.1"),
            ("SMTP_PORT", &port),
            ("SMTP_USER", "user"),
            ("SMTP_PASSWORD", "hunter2"),
            ("EMAILS_FROM_EMAIL", "worker@example.com"),
        ],
    )
}

fn mail_graph() -> serde_json::Value {
    let config =
        json!({"channel": "email", "recipient": "a@example.com", "subject": "S", "message": "m"});
    chain(vec![trigger(), node("n", "notification", config)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_through_starttls_and_the_password_only_then() {
    let (acceptor, trusted) = tls("trusted.pem");
    let server = Smtp::start_with(&[], Some(acceptor)).await;
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = worker(&database, server.port(), trusted.to_str().unwrap());
    let workflow = insert_workflow(&client, &mail_graph()).await;
    let execution = insert(&client, workflow).await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(row.output("n")["sent"], true);
    assert_eq!(server.mails().len(), 1);
    let words: Vec<String> = server
        .commands()
        .iter()
        .filter_map(|command| Some(command.split(' ').next()?.to_owned()))
        .collect();
    assert_eq!(
        words[..4],
        ["EHLO", "STARTTLS", "EHLO", "AUTH"],
        "{words:?}"
    );
    let printed = worker.lines().join("\n");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_not_trusted_gets_nothing() {
    let (acceptor, _) = tls("not_trusted.pem");
    let (_, other) = tls("other.pem");
    let server = Smtp::start_with(&[], Some(acceptor)).await;
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let _worker = worker(&database, server.port(), other.to_str().unwrap());
    let workflow = insert_workflow(&client, &mail_graph()).await;
    let execution = insert(&client, workflow).await;
    let row = wait_for_end(&client, execution).await;
    assert_eq!(row.status, "failed");
    let error = row.error_message.unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert!(
        server
            .commands()
            .iter()
            .all(|command| !command.starts_with("AUTH")),
        "{:?}",
        server.commands()
    );
}
