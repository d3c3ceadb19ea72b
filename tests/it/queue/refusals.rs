//! What `set_priority`, `set_limit` and `remove_limit` refuse, with the SQLSTATE that others rely on.

use serde_json::json;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Queue;
use crate::support::flow::count;

async fn refusal(queue: &Queue, call: &str, arguments: &[&(dyn ToSql + Sync)]) -> (String, String) {
    let error = queue
        .client
        .query(&format!("SELECT workflow_worker.{call}"), arguments)
        .await
        .expect_err(call);
    let error = error.as_db_error().unwrap();
    (error.code().code().to_owned(), error.message().to_owned())
}

#[tokio::test]
async fn what_is_no_priority_is_refused() {
    let queue = Queue::new().await;
    let execution = queue.insert_one(&json!({})).await;
    for priority in [
        Some(""),
        Some("urgent"),
        Some("NaN"),
        Some("1e300"),
        Some("2147483648"),
        Some("5 minutes"),
        None,
    ] {
        let (code, message) = refusal(
            &queue,
            "set_priority($1::uuid, $2)",
            &[&execution, &priority],
        )
        .await;
        assert_eq!(code, "WW400", "{priority:?}");
        assert!(message.contains("LOW, NORMAL, HIGH, CRITICAL"), "{message}");
    }
    assert_eq!(queue.priority(execution).await, 5);
}

#[tokio::test]
async fn the_priority_of_what_is_not_there_or_is_over_is_refused() {
    let queue = Queue::new().await;
    let nobody = Uuid::new_v4();
    let (code, message) = refusal(&queue, "set_priority($1::uuid, 'LOW')", &[&nobody]).await;
    assert_eq!(code, "WW404");
    assert!(message.contains(&nobody.to_string()), "{message}");
    let (code, _) = refusal(&queue, "set_priority(NULL::uuid, 'LOW')", &[]).await;
    assert_eq!(code, "WW400");
    let execution = queue.insert_one(&json!({})).await;
    queue.finish(&queue.claim(1).await[0]).await;
    let (code, message) = refusal(&queue, "set_priority($1::uuid, 'LOW')", &[&execution]).await;
    assert_eq!(code, "WW410");
    assert!(message.contains("completed"), "{message}");
}

#[tokio::test]
async fn what_is_no_limit_is_refused_and_changes_nothing() {
    let queue = Queue::new().await;
    for (call, expected, named) in [
        ("set_limit('workflow', '*')", "WW400", "nothing is limited"),
        ("set_limit('tenant', '*', 1)", "WW400", "'tenant'"),
        ("set_limit(NULL, '*', 1)", "WW400", "NULL"),
        ("set_limit('key', '', 1)", "WW400", "subject"),
        ("set_limit('key', NULL, 1)", "WW400", "subject"),
        ("set_limit('workflow', 'mine', 1)", "WW400", "'mine'"),
        ("set_limit('owner', 'me', 1)", "WW400", "'me'"),
        ("set_limit('key', 'k', 0)", "WW400", "max_running is 0"),
        ("set_limit('key', 'k', -1)", "WW400", "max_running is -1"),
        ("set_limit('key', 'k', NULL, 5)", "WW400", "per"),
        (
            "set_limit('key', 'k', 5, NULL, '1 minute')",
            "WW400",
            "max_starts",
        ),
        (
            "set_limit('key', 'k', NULL, 0, '1 minute')",
            "WW400",
            "max_starts is 0",
        ),
        (
            "set_limit('key', 'k', NULL, 100001, '1 minute')",
            "WW400",
            "100000",
        ),
        ("set_limit('key', 'k', NULL, 5, '0 s')", "WW400", "per is"),
        ("set_limit('key', 'k', NULL, 5, '-1 s')", "WW400", "per is"),
        (
            "set_limit('key', 'k', NULL, 5, '2 years')",
            "WW400",
            "366 days",
        ),
        (
            "set_limit('workflow', '00000000-0000-0000-0000-00000000dead', 1)",
            "WW404",
            "dead",
        ),
        (
            "set_limit('owner', '00000000-0000-0000-0000-00000000dead', 1)",
            "WW404",
            "dead",
        ),
        ("remove_limit('tenant', '*')", "WW400", "'tenant'"),
        ("remove_limit('workflow', 'mine')", "WW400", "'mine'"),
    ] {
        let (code, message) = refusal(&queue, call, &[]).await;
        assert_eq!(code, expected, "{call}: {message}");
        assert!(message.contains(named), "{call}: {message}");
    }
    let limits = "SELECT count(*) FROM workflow_worker.limits";
    assert_eq!(count(&queue.client, limits).await, 0);
    let removed = "SELECT workflow_worker.remove_limit('key', 'k')::integer::bigint";
    assert_eq!(count(&queue.client, removed).await, 0);
}
