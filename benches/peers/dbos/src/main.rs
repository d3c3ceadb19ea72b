//! DBOS Transact (Rust). Durable workflows: each step's result is committed before the next begins.
//!
//! default  a queue as `QueueOptions::default` has it: polled every second, no limit on concurrency (a limit of 10 would
//!          allow no more than 10 workflows per poll, so the common concurrency is not imposed here).
//! best     <https://docs.dbos.dev/rust/reference/queues>, <https://docs.rs/dbos/0.5.0/dbos/struct.Config.html>: polled
//!          every 10 ms, a pool of 50 connections. The poll begins at one second and is 10 % faster each time, so that it
//!          takes 10 seconds to arrive at 10 ms; the idle measurements wait for that.
//! direct   no queue: the process that runs the workflow also starts it, which is DBOS's fastest way. There is no other
//!          process to commit, so only the time from the call is measured, and no drain.
//!
//! Workflows are enqueued with `dbos::Client` from another process. A done workflow stays in the table.

use std::sync::Arc;
use std::time::Duration;

use dbos::{
    Client, ClientConfig, Config, DBOS, EnqueueOptions, Error, QueueConflict, QueueOptions,
    WorkflowHandle, WorkflowRef, step,
};
use futures_util::StreamExt as _;
use protocol::{Failure, Tally, USAGE, arguments, commands, say, timed};

const APP: &str = "bench";
const QUEUE: &str = "bench";
const VERSION: &str = "bench";
const FLOW: &str = "flow";
const DESCRIPTION: &str = r#"{"peer": "DBOS (Rust)", "version": "0.5.0", "five_steps": "five durable steps", "has_steps": true,
 "settings": {"default": {"text": "queue polled every 1 s, no limit", "poll_seconds": 1},
              "best": {"text": "queue polled every 10 ms, no limit, pool 50", "poll_seconds": 0.01, "settle_seconds": 12},
              "direct": {"text": "started in the worker's own process", "poll_seconds": 0, "in_process": true}},
 "pending": "SELECT EXISTS (SELECT FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING'))",
 "failed": "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ERROR', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')"}"#;

type Input = (String, usize);

/// A launched instance with the workflow of no-op steps, and the queue unless there is none.
async fn launch(
    url: &str,
    setting: &str,
    tally: Arc<Tally>,
) -> Result<(DBOS, WorkflowRef<Input, usize>), Failure> {
    let mut config = Config {
        app_version: Some(VERSION.to_owned()),
        ..Config::new(APP, url)
    };
    let mut queue = QueueOptions::default();
    if setting == "best" {
        config.max_connections = 50;
        queue = QueueOptions {
            polling_interval: Duration::from_millis(10),
            ..queue
        };
    }
    let dbos = DBOS::new(config);
    let flow = dbos.register_workflow(FLOW, move |(job, steps): Input| {
        let tally = Arc::clone(&tally);
        async move {
            for number in 1..=steps {
                let (tally, job) = (Arc::clone(&tally), job.clone());
                step("step", move || {
                    let (tally, job) = (Arc::clone(&tally), job.clone());
                    async move {
                        tally.started(&job, number);
                        Ok::<usize, Error>(number)
                    }
                })
                .await?;
            }
            Ok::<usize, Error>(steps)
        }
    })?;
    dbos.launch().await?;
    if setting != "direct" {
        dbos.register_queue(QUEUE, queue, QueueConflict::UpdateIfLatestVersion)
            .await?;
    }
    Ok((dbos, flow))
}

async fn enqueue(url: &str, steps: usize) -> Result<(), Failure> {
    let config = ClientConfig {
        app_name: Some(APP.to_owned()),
        max_connections: 16,
        ..ClientConfig::new(url)
    };
    let client = Client::connect(config).await?;
    let put = async |job: String| -> Result<(), Failure> {
        let options = EnqueueOptions {
            app_version: Some(VERSION),
            ..EnqueueOptions::new(QUEUE)
        };
        let _: WorkflowHandle<usize> = client.enqueue_with(FLOW, (job, steps), options).await?;
        Ok(())
    };
    say("ready");
    let mut lines = commands();
    while let Some((verb, argument)) = lines.recv().await {
        if verb == "one" {
            timed(&argument, put(argument.clone())).await?;
        } else {
            let count = argument.parse::<usize>()?;
            let jobs = futures_util::stream::iter(0..count).map(|job| put(job.to_string()));
            let mut done = jobs.buffer_unordered(16);
            while let Some(result) = done.next().await {
                result?;
            }
            say("enqueued");
        }
    }
    Ok(())
}

async fn work(url: &str, setting: &str, steps: usize, expect: usize) -> Result<(), Failure> {
    let tally = Tally::new(steps, expect);
    let (_running, flow) = launch(url, setting, Arc::clone(&tally)).await?;
    say("ready");
    let mut lines = commands();
    while let Some((verb, argument)) = lines.recv().await {
        if verb == "one" {
            timed(&argument, async {
                Ok(flow.start((argument.clone(), steps)).await?)
            })
            .await?;
        } else {
            tally.report();
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let given = arguments();
    match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["describe"] => println!("{DESCRIPTION}"),
        ["setup", url, setting] => {
            launch(url, setting, Tally::new(1, 0))
                .await?
                .0
                .shutdown()
                .await
        }
        ["enqueue", url, _, steps] => enqueue(url, steps.parse()?).await?,
        ["work", url, setting, steps, _, expect] => {
            work(url, setting, steps.parse()?, expect.parse()?).await?
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}
