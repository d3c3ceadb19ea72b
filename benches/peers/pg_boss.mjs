// pg-boss (Node.js). A job queue without durable steps: 'five steps' are five jobs, each adding the next.
//
// default  what work() has, but for the number of workers: each polls every 2 seconds and takes one job.
// best     https://pgboss.io/api/workers and https://pgboss.io/api/constructor: LISTEN/NOTIFY (`useListenNotify`, and
//          `notify` on the queue), 10 workers that take 100 jobs at a time and go on at once after a full batch
//          (`burstWhenBatchFull`), a pool of 20. A batch completes as a whole.
//
// Jobs are added with send() and insert(). A done job stays in the table.

import { Tally, commands, load, main, say, timed, versionOf } from "./protocol.mjs";

const QUEUE = "step";
const SETTINGS = {
  default: { constructor: {}, queue: {}, work: (concurrency) => ({ localConcurrency: Number(concurrency) }) },
  best: {
    constructor: { useListenNotify: true, max: 20 },
    queue: { notify: true },
    work: () => ({ localConcurrency: 10, batchSize: 100, burstWhenBatchFull: true }),
  },
};

const { PgBoss } = await load("pg-boss");

async function start(connectionString, setting) {
  const boss = new PgBoss({ connectionString, ...SETTINGS[setting].constructor });
  boss.on("error", (error) => console.error(error));
  boss.on("warning", (warning) => console.error(warning));
  await boss.start();
  return boss;
}

async function setup(url, setting) {
  const boss = await start(url, setting);
  await boss.createQueue(QUEUE, SETTINGS[setting].queue);
  await boss.stop();
}

async function enqueue(url, setting) {
  const boss = await start(url, setting);
  await boss.getQueue(QUEUE);
  say("ready");
  await commands({
    one: timed((job) => boss.send(QUEUE, { job, step: 1 })),
    many: async (count) => {
      for (let from = 0; from < Number(count); from += 5000) {
        const size = Math.min(5000, Number(count) - from);
        await boss.insert(QUEUE, Array.from({ length: size }, (_, index) => ({ data: { job: from + index, step: 1 } })));
      }
      say("enqueued");
    },
  });
}

async function work(url, setting, steps, concurrency, expect) {
  const boss = await start(url, setting);
  const tally = new Tally(Number(steps), Number(expect));
  await boss.work(QUEUE, SETTINGS[setting].work(concurrency), async (jobs) => {
    for (const { data } of jobs) tally.started(data.job, data.step);
    const next = jobs
      .filter(({ data }) => data.step < Number(steps))
      .map(({ data }) => ({ data: { job: data.job, step: data.step + 1 } }));
    if (next.length === 1) await boss.send(QUEUE, next[0].data);
    else if (next.length > 1) await boss.insert(QUEUE, next);
  });
  say("ready");
  await commands({ report: () => tally.report() });
}

main({
  describe: () => console.log(JSON.stringify({
    peer: "pg-boss",
    version: versionOf("pg-boss"),
    five_steps: "five jobs, each adds the next",
    has_steps: false,
    settings: {
      default: { text: "as work() has it (polls every 2 s), {concurrency} workers", poll_seconds: 2 },
      best: { text: "LISTEN/NOTIFY, 10 workers, batches of 100, burst, pool 20", poll_seconds: 0 },
    },
    pending: "SELECT EXISTS (SELECT FROM pgboss.job WHERE state < 'completed')",
    failed: "SELECT count(*) FROM pgboss.job WHERE state::text IN ('failed', 'cancelled', 'retry')",
  })),
  setup,
  enqueue,
  work,
});
