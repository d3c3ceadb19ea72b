//! The plans of statements inside functions, which EXPLAIN does not show: as `auto_explain` tells them.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::database::Database;

/// A session in which each statement tells how it was carried out, nested ones included.
pub(crate) struct Explained {
    client: Client,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Explained {
    pub(crate) async fn connect(database: &Database) -> Self {
        let (client, mut connection) = tokio_postgres::connect(&database.url(), NoTls)
            .await
            .unwrap();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notices);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message {
                    heard.lock().unwrap().push(notice.message().to_owned());
                }
            }
        });
        client
            .batch_execute(
                "LOAD 'auto_explain';
                 SET client_min_messages = notice;
                 SET auto_explain.log_level = notice;
                 SET auto_explain.log_nested_statements = on;
                 SET auto_explain.log_analyze = on;
                 SET auto_explain.log_timing = off;
                 SET auto_explain.log_buffers = on",
            )
            .await
            .unwrap();
        Self { client, notices }
    }

    /// Runs a query, takes back what it did, and returns the plans of all statements that it consisted of. (Notices come
    /// before the answer.)
    pub(crate) async fn plans_of(&self, query: &str) -> Vec<String> {
        self.notices.lock().unwrap().clear();
        self.client
            .batch_execute(&format!(
                "BEGIN; SET LOCAL auto_explain.log_min_duration = 0; {query}; ROLLBACK"
            ))
            .await
            .unwrap();
        std::mem::take(&mut self.notices.lock().unwrap())
    }
}
