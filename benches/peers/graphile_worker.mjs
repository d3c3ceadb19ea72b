// graphile-worker (Node.js). A job queue without durable steps: 'five steps' are five jobs, each adding the next.
//
// default  what `run()` has: each worker fetches a job with a statement of its own and deletes it with another.
// best     the settings behind the figures on https://worker.graphile.org/docs/performance: 24 concurrent jobs, pool of
//          25, a local queue of 500 jobs, and completions in batches without a delay.
//
// A done job is deleted. Jobs are added with addJob/addJobs of its own utilities; that wakes workers by NOTIFY.

import { EventEmitter } from "node:events";
import { Tally, commands, load, main, say, timed, versionOf } from "./protocol.mjs";

const SETTINGS = {
  default: (concurrency) => ({ concurrentJobs: Number(concurrency) }),
  best: () => ({
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  }),
};

const { Logger, makeWorkerUtils, run, runMigrations } = await load("graphile-worker");
const quiet = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") console.error(message);
});

const next = (job, step) => ["step", { job, step }];

async function enqueue(connectionString) {
  const utils = await makeWorkerUtils({ connectionString, logger: quiet });
  await utils.withPgClient((client) => client.query("SELECT 1")); // connected before anything is measured
  say("ready");
  await commands({
    one: timed((job) => utils.addJob(...next(job, 1))),
    many: async (count) => {
      for (let from = 0; from < Number(count); from += 5000) {
        const size = Math.min(5000, Number(count) - from);
        await utils.addJobs(
          Array.from({ length: size }, (_, index) => {
            const [identifier, payload] = next(from + index, 1);
            return { identifier, payload };
          }),
        );
      }
      say("enqueued");
    },
  });
}

async function work(connectionString, setting, steps, concurrency, expect) {
  const tally = new Tally(Number(steps), Number(expect));
  const events = new EventEmitter();
  const listens = new Promise((resolve) => events.once("pool:listen:success", resolve));
  await run({
    preset: { worker: { connectionString, ...SETTINGS[setting](concurrency) } },
    logger: quiet,
    events,
    taskList: {
      step: async ({ job, step }, helpers) => {
        tally.started(job, step);
        if (step < Number(steps)) await helpers.addJob(...next(job, step + 1));
      },
    },
  });
  await listens;
  say("ready");
  await commands({ report: () => tally.report() });
}

main({
  describe: () => console.log(JSON.stringify({
    peer: "graphile-worker",
    version: versionOf("graphile-worker"),
    five_steps: "five jobs, each adds the next",
    has_steps: false,
    settings: {
      default: { text: "as run() has it, concurrency {concurrency}", poll_seconds: 0 },
      best: { text: "24 jobs, pool 25, local queue 500, batched completion", poll_seconds: 0 },
    },
    pending: "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)",
    failed: "SELECT count(*) FROM graphile_worker._private_jobs WHERE last_error IS NOT NULL",
  })),
  setup: (connectionString) => runMigrations({ connectionString, logger: quiet }),
  enqueue,
  work,
});
