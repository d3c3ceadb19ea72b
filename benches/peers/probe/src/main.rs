//! The limits of a PostgreSQL, as a client on the same machine meets them: one round.
//!
//! `probe URL SECONDS NOTIFICATIONS` prints one JSON object:
//! - `notify_sent_us`: NOTIFY sent on one connection → received on another that is idle in LISTEN, in µs;
//! - `notify_committed_us`: the same from the moment when the sender has its answer (may be negative);
//! - `commits_per_second`: single-row UPDATEs, each its own commit and its own row, by 1, 8 and 16 clients;
//! - `batched_rows_per_second`: rows per second by one client that updates 256 rows per commit.

use std::time::{Duration, Instant};

use futures_util::future::{poll_fn, try_join_all};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// As many rows as the largest batch.
const ROWS: i32 = 256;

async fn connect(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A connection that listens: each notification arrives with the time when it was read from the socket.
async fn listener(url: &str) -> Result<(Client, mpsc::UnboundedReceiver<Instant>), Failure> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    let (arrived, arrivals) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_))
                && arrived.send(Instant::now()).is_err()
            {
                break;
            }
        }
    });
    client.batch_execute("LISTEN probe").await?;
    Ok((client, arrivals))
}

/// Microseconds, negative if `to` is the earlier one.
fn microseconds(from: Instant, to: Instant) -> f64 {
    let (later, earlier) = (
        to.saturating_duration_since(from),
        from.saturating_duration_since(to),
    );
    (later.as_secs_f64() - earlier.as_secs_f64()) * 1e6
}

async fn notifications(url: &str, count: usize) -> Result<(Vec<f64>, Vec<f64>), Failure> {
    let (_listening, mut arrivals) = listener(url).await?;
    let sender = connect(url).await?;
    let notify = sender.prepare("SELECT pg_notify('probe', '')").await?;
    let (mut from_sent, mut from_committed) = (Vec::new(), Vec::new());
    for round in 0..count + 3 {
        // The pause that the peers get as well: an idle listener, not a hot one.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = Instant::now();
        sender.query(&notify, &[]).await?;
        let committed = Instant::now();
        let arrival = tokio::time::timeout(Duration::from_secs(10), arrivals.recv()).await?;
        let arrived = arrival.ok_or("the listener's connection ended")?;
        if round >= 3 {
            from_sent.push(microseconds(sent, arrived));
            from_committed.push(microseconds(committed, arrived));
        }
    }
    Ok((from_sent, from_committed))
}

async fn commits(url: &str, clients: i32, time: Duration) -> Result<f64, Failure> {
    let connections = try_join_all((0..clients).map(|_| connect(url))).await?;
    let begin = Instant::now();
    let workers = connections
        .into_iter()
        .zip(1..)
        .map(|(client, row): (Client, i32)| async move {
            let update = client
                .prepare("UPDATE probe SET n = n + 1 WHERE id = $1")
                .await?;
            let mut done = 0_u32;
            while begin.elapsed() < time {
                client.execute(&update, &[&row]).await?;
                done += 1;
            }
            Ok::<_, Failure>(done)
        });
    let done: u32 = try_join_all(workers.map(tokio::spawn))
        .await?
        .into_iter()
        .sum::<Result<u32, Failure>>()?;
    Ok(f64::from(done) / begin.elapsed().as_secs_f64())
}

async fn batched_rows(url: &str, time: Duration) -> Result<f64, Failure> {
    let client = connect(url).await?;
    let update = client
        .prepare("UPDATE probe SET n = n + 1 WHERE id <= $1")
        .await?;
    let (begin, mut rows) = (Instant::now(), 0_i32);
    while begin.elapsed() < time {
        client.execute(&update, &[&ROWS]).await?;
        rows += ROWS;
    }
    Ok(f64::from(rows) / begin.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, seconds, count] = &arguments[..] else {
        return Err("usage: probe URL SECONDS NOTIFICATIONS".into());
    };
    let time = Duration::from_secs_f64(seconds.parse()?);
    connect(url)
        .await?
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS probe;
             CREATE TABLE probe (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 10);
             INSERT INTO probe SELECT id, 0 FROM generate_series(1, {ROWS}) AS id"
        ))
        .await?;
    let (sent, committed) = notifications(url, count.parse()?).await?;
    let (one, eight, sixteen) = (
        commits(url, 1, time).await?,
        commits(url, 8, time).await?,
        commits(url, 16, time).await?,
    );
    let rows = batched_rows(url, time).await?;
    println!(
        "{{\"notify_sent_us\": {sent:?}, \"notify_committed_us\": {committed:?}, \
         \"commits_per_second\": {{\"1\": {one}, \"8\": {eight}, \"16\": {sixteen}}}, \"batched_rows_per_second\": {rows}}}"
    );
    Ok(())
}
