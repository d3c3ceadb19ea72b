//! What is notified, heard by a session of its own.

use std::future::poll_fn;

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};

/// Everything that is notified on the workers' channel.
pub(crate) async fn listen(url: &str) -> mpsc::UnboundedReceiver<String> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message
                && sender.send(notification.payload().to_owned()).is_err()
            {
                return;
            }
        }
    });
    client
        .batch_execute("LISTEN workflow_worker")
        .await
        .unwrap();
    // The session ends with the task, and that with the database.
    std::mem::forget(client);
    heard
}
