// What the programs of Node's peers share; the protocol and its words are those of desk.py.
import { createRequire } from "node:module";
import { closeSync, openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const BULK = 1_000; // tasks a call
const GAP = [20, 80]; // milliseconds between single tasks for an idle worker

let executed = new BigInt64Array(1 << 16);
let startedAt = new BigInt64Array(1 << 16);
let count = 0;

export function note(i) {
  if (count === executed.length) {
    executed = doubled(executed);
    startedAt = doubled(startedAt);
  }
  executed[count] = BigInt(i);
  startedAt[count] = process.hrtime.bigint(); // CLOCK_MONOTONIC
  count += 1;
}

// Import a package from the directory into which the benchmark has installed it.
export function load(name) {
  const require = createRequire(`${process.env.PGQ_BENCH_NODE}/`);
  return import(pathToFileURL(require.resolve(name)).href);
}

export async function main({ install, work, door }) {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const hear = async () => {
    const { value, done } = await lines.next();
    return done ? "stop" : JSON.parse(value);
  };
  const order = await hear();
  const role = process.argv[2];
  if (role === "install") await install(order);
  else if (role === "work") await working(work, order, hear);
  else await producing(door, order, hear);
  process.exit(0);
}

async function working(work, order, hear) {
  say("ready");
  await hear(); // "go"
  const stop = await work(order);
  while ((await hear()) !== "stop") say(count);
  await stop();
  const file = openSync(order.notes, "w");
  for (const notes of [executed, startedAt]) {
    const bytes = new Uint8Array(notes.buffer, 0, 8 * count);
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
  }
  closeSync(file);
  say(count);
}

async function producing(door, order, hear) {
  const open = await door(order);
  say("ready");
  for (let command; (command = await hear()) !== "stop"; ) say(await produce(open, ...command));
  await open.close();
}

async function produce(door, how, first, much) {
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  if (how === "bulk") {
    for (let i = first; i < first + much; i += BULK) {
      const many = Math.min(BULK, first + much - i);
      await door.bulk(Array.from({ length: many }, (_, k) => i + k));
    }
    return seconds();
  }
  if (how === "single") {
    let tasks = 0;
    for (; seconds() < much; tasks += 1) await door.single(first + tasks);
    return [tasks, seconds()];
  }
  const began_at = [];
  for (let i = first; i < first + much; i += 1) {
    const [least, most] = GAP;
    await new Promise((resolve) => setTimeout(resolve, least + Math.random() * (most - least)));
    began_at.push(Number(process.hrtime.bigint())); // exact up to 104 days of uptime
    await door.single(i);
  }
  return began_at;
}

function doubled(notes) {
  const twice = new BigInt64Array(2 * notes.length);
  twice.set(notes);
  return twice;
}

function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
