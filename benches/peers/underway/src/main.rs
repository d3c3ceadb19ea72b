//! underway (Rust). Jobs of durable steps: a step's commit enqueues the next one as a task of its own.
//!
//! default  what `Worker::run` has, but for the concurrency: woken by NOTIFY, polls once a minute. The pool is the
//!          user's to choose: twice the concurrency and four, because each task holds one connection and needs more.
//! best     <https://docs.rs/underway/0.2.0/underway/worker/struct.Worker.html>: `set_concurrency_limit(32)` and
//!          `run_every(5 ms)`. A notification or a tick starts one more task loop, up to the limit; a queue that was
//!          filled before the worker started is taken up by ticks only, so `run` needs minutes to reach its concurrency.
//!
//! Jobs are enqueued with `Job::enqueue`; a done task stays in the table.

use std::sync::Arc;

use jiff::ToSpan;
use protocol::{Failure, Tally, USAGE, arguments, commands, say, timed};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};
use underway::job::Context;
use underway::task::Result as TaskResult;
use underway::{Job, To};

type Flow = Job<Item, Arc<Tally>>;

const BEST_CONCURRENCY: usize = 32;
const DESCRIPTION: &str = r#"{"peer": "underway", "version": "0.2.0", "five_steps": "five durable steps", "has_steps": true,
 "settings": {"default": {"text": "as Worker::run has it, concurrency {concurrency}", "poll_seconds": 0},
              "best": {"text": "concurrency 32, run_every(5 ms), pool 64", "poll_seconds": 0}},
 "pending": "SELECT EXISTS (SELECT FROM underway.task WHERE state IN ('pending', 'in_progress'))",
 "failed": "SELECT count(*) FROM underway.task WHERE state IN ('failed', 'cancelled')"}"#;

#[derive(Clone, Deserialize, Serialize)]
struct Item {
    job: String,
    step: usize,
}

/// A step that hands on to the next one.
async fn next(cx: Context<Arc<Tally>>, item: Item) -> TaskResult<To<Item>> {
    cx.state.started(&item.job, item.step);
    To::next(Item {
        step: item.step + 1,
        ..item
    })
}

/// The last step.
async fn last(cx: Context<Arc<Tally>>, item: Item) -> TaskResult<To<()>> {
    cx.state.started(&item.job, item.step);
    To::done()
}

/// The job of `steps` steps, each of which does nothing.
async fn flow(pool: PgPool, tally: Arc<Tally>) -> Result<Flow, Failure> {
    let steps = tally.steps;
    let builder = Job::builder().state(tally);
    Ok(match steps {
        1 => builder.step(last).name("one").pool(pool).build().await?,
        _ => {
            let four = builder.step(next).step(next).step(next).step(next);
            four.step(last).name("five").pool(pool).build().await?
        }
    })
}

async fn enqueue(pool: PgPool, steps: usize) -> Result<(), Failure> {
    let flow = flow(pool.clone(), Tally::new(steps, 0)).await?;
    say("ready");
    let mut lines = commands();
    while let Some((verb, argument)) = lines.recv().await {
        if verb == "one" {
            let item = Item {
                job: argument.clone(),
                step: 1,
            };
            timed(&argument, async { Ok(flow.enqueue(&item).await?) }).await?;
        } else {
            let mut transaction = pool.begin().await?;
            for job in 0..argument.parse::<usize>()? {
                let item = Item {
                    job: job.to_string(),
                    step: 1,
                };
                flow.enqueue_using(&mut *transaction, &item).await?;
            }
            transaction.commit().await?;
            say("enqueued");
        }
    }
    Ok(())
}

async fn work(
    pool: PgPool,
    best: bool,
    concurrency: usize,
    tally: Arc<Tally>,
) -> Result<(), Failure> {
    let flow = flow(pool, Arc::clone(&tally)).await?;
    let mut worker = flow.worker();
    worker.set_concurrency_limit(if best { BEST_CONCURRENCY } else { concurrency });
    tokio::spawn(async move {
        let mut lines = commands();
        while lines.recv().await.is_some() {
            tally.report();
        }
    });
    say("ready");
    if best {
        worker.run_every(5.milliseconds()).await?
    } else {
        worker.run().await?
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let given = arguments();
    let connect = async |url: &str, size: u32| {
        PgPoolOptions::new()
            .max_connections(size)
            .connect(url)
            .await
    };
    match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["describe"] => println!("{DESCRIPTION}"),
        ["setup", url, _] => {
            let pool = connect(url, 2).await?;
            underway::run_migrations(&pool).await?;
            for steps in [1, 5] {
                flow(pool.clone(), Tally::new(steps, 0)).await?;
            }
        }
        ["enqueue", url, _, steps] => enqueue(connect(url, 2).await?, steps.parse()?).await?,
        ["work", url, setting, steps, concurrency, expect] => {
            let (best, concurrency) = (setting == "best", concurrency.parse()?);
            let size = if best { 64 } else { 2 * concurrency + 4 };
            let pool = connect(url, u32::try_from(size)?).await?;
            let tally = Tally::new(steps.parse()?, expect.parse()?);
            work(pool, best, concurrency, tally).await?;
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}
