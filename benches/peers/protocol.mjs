// What the programs in JavaScript share: the harness's line protocol (README.md, 'The protocol'; the same as protocol.py).

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// Date.now() shows whole milliseconds: the offset between it and the fine, monotonic clock is taken where it ticks.
const offset = (() => {
  let best = -Infinity;
  for (let tick = 0; tick < 5; tick += 1) {
    const before = Date.now();
    let fine;
    do fine = performance.now();
    while (Date.now() === before);
    best = Math.max(best, before + 1 - fine);
  }
  return best;
})();

/** Nanoseconds of the machine's clock, exact to a few microseconds. */
export const now = () => BigInt(Math.round((offset + performance.now()) * 1000)) * 1000n;

export const say = (...words) => process.stdout.write(words.join(" ") + "\n");

export const versionOf = (name) =>
  JSON.parse(readFileSync(`${process.env.BENCH_NODE_ROOT}/node_modules/${name}/package.json`, "utf8")).version;

/** A package of the directory that `run` installed into. */
export const load = (name) => import(createRequire(process.env.BENCH_NODE_ROOT + "/").resolve(name));

/** What has run. With `expect` 0 each last step is told at once; else only that `expect` steps have run. */
export class Tally {
  #steps; #expect; #count = 0; #first = 0n;
  constructor(steps, expect) { this.#steps = steps; this.#expect = expect; }
  /** To be called first thing in a handler. */
  started(job, step) {
    const at = now();
    if (this.#expect === 0) {
      if (step === this.#steps) say("started", job, at);
      return;
    }
    this.#count += 1;
    this.#first ||= at;
    if (this.#count === this.#expect) say("handled");
  }
  report() { say("report", this.#first, this.#count); }
}

/** Answers the lines of standard input one after another; its end ends the process. */
export async function commands(answers) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [verb, ...rest] = line.trim().split(/\s+/);
    await answers[verb](...rest);
  }
  process.exit(0);
}

/** `one JOB` → `committed JOB BEFORE AFTER`: the clock before the call, and when it had returned. */
export const timed = (enqueue) => async (job) => {
  const before = now();
  await enqueue(job);
  say("committed", job, before, now());
};

/** Runs the part that the command line names. */
export function main(parts) {
  const [verb, ...rest] = process.argv.slice(2);
  if (!(verb in parts)) {
    console.error(`usage: describe | setup URL SETTING | enqueue URL SETTING STEPS | work URL SETTING STEPS CONCURRENCY EXPECT`);
    process.exit(64);
  }
  Promise.resolve(parts[verb](...rest)).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}
