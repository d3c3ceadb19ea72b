//! underway (Rust). Jobs of durable steps: a step's commit enqueues the next one as a task of its own.
//!
//! default  what `Worker::run` has, but for the concurrency: woken by NOTIFY, polls once a minute. The pool is the
//!          user's to choose: twice the concurrency and four, because each task holds one connection and needs more.
//! best     <https://docs.rs/underway/0.2.0/underway/worker/struct.Worker.html>: `set_concurrency_limit(30)` and
//!          `run_every(5 ms)`. A notification or a tick starts one more task loop, up to the limit; a queue that was
//!          filled before the worker started is taken up by ticks only, so `run` needs minutes to reach its concurrency.
//!
//! The line protocol is that of `protocol.py`.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::ToSpan;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};
use underway::{Job, To};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Flow = Job<Item, Arc<Tally>>;

const BEST_CONCURRENCY: usize = 30;
const DESCRIPTION: &str = r#"{"peer": "underway", "version": "0.2.0", "five_steps": "five durable steps",
 "settings": {"default": {"text": "as Worker::run has it, concurrency {concurrency}", "poll_seconds": 0},
              "best": {"text": "concurrency 30, run_every(5 ms), pool 64", "poll_seconds": 0}},
 "pending": "SELECT EXISTS (SELECT FROM underway.task WHERE state IN ('pending', 'in_progress'))",
 "failed": "SELECT count(*) FROM underway.task WHERE state IN ('failed', 'cancelled')"}"#;

#[derive(Clone, Deserialize, Serialize)]
struct Item {
    job: String,
    step: usize,
}

/// What has run; see `protocol.py`.
struct Tally {
    steps: usize,
    expect: usize,
    count: AtomicUsize,
    first: AtomicU64,
}

impl Tally {
    fn new(steps: usize, expect: usize) -> Arc<Self> {
        let (count, first) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { steps, expect, count, first })
    }

    fn started(&self, item: &Item) {
        let at = now();
        if self.expect == 0 {
            if item.step == self.steps {
                say(&format!("started {} {at}", item.job));
            }
            return;
        }
        self.first.compare_exchange(0, at, Ordering::SeqCst, Ordering::SeqCst).ok();
        if self.count.fetch_add(1, Ordering::SeqCst) + 1 == self.expect {
            say("handled");
        }
    }
}

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody to tell: the harness is gone, and so is this process in a moment.
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

/// The job of `steps` steps, each of which does nothing.
async fn flow(pool: PgPool, tally: Arc<Tally>) -> Result<Flow, Failure> {
    /// A step that hands on to the next one.
    macro_rules! next {
        () => {
            |cx: underway::job::Context<Arc<Tally>>, item: Item| async move {
                cx.state.started(&item);
                To::next(Item { step: item.step + 1, ..item })
            }
        };
    }
    /// The last step.
    macro_rules! last {
        () => {
            |cx: underway::job::Context<Arc<Tally>>, item: Item| async move {
                cx.state.started(&item);
                To::done()
            }
        };
    }
    let steps = tally.steps;
    let builder = Job::builder().state(tally);
    Ok(match steps {
        1 => builder.step(last!()).name("one").pool(pool).build().await?,
        _ => {
            let four = builder.step(next!()).step(next!()).step(next!()).step(next!());
            four.step(last!()).name("five").pool(pool).build().await?
        }
    })
}

async fn enqueue(pool: PgPool, steps: usize) -> Result<(), Failure> {
    let flow = flow(pool.clone(), Tally::new(steps, 0)).await?;
    say("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (verb, argument) = line.split_once(' ').ok_or("a word is missing")?;
        if verb == "one" {
            let before = now();
            flow.enqueue(&Item { job: argument.to_owned(), step: 1 }).await?;
            say(&format!("committed {argument} {before} {}", now()));
        } else {
            let mut transaction = pool.begin().await?;
            for job in 0..argument.parse::<usize>()? {
                let item = Item { job: job.to_string(), step: 1 };
                flow.enqueue_using(&mut *transaction, &item).await?;
            }
            transaction.commit().await?;
            say("enqueued");
        }
    }
    Ok(())
}

async fn work(pool: PgPool, best: bool, steps: usize, concurrency: usize, expect: usize) -> Result<(), Failure> {
    let tally = Tally::new(steps, expect);
    let flow = flow(pool, Arc::clone(&tally)).await?;
    let mut worker = flow.worker();
    worker.set_concurrency_limit(if best { BEST_CONCURRENCY } else { concurrency });
    std::thread::spawn(move || {
        for _report in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (first, count) = (tally.first.load(Ordering::SeqCst), tally.count.load(Ordering::SeqCst));
            say(&format!("report {first} {count}"));
        }
        std::process::exit(0)
    });
    say("ready");
    if best { worker.run_every(5.milliseconds()).await? } else { worker.run().await? }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let connect = async |url: &str, size: u32| PgPoolOptions::new().max_connections(size).connect(url).await;
    match arguments[..] {
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
            let size = if best { 64 } else { u32::try_from(2 * concurrency + 4)? };
            work(connect(url, size).await?, best, steps.parse()?, concurrency, expect.parse()?).await?;
        }
        _ => return Err("usage: describe | setup … | enqueue … | work … (see protocol.py)".into()),
    }
    Ok(())
}
