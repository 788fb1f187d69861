// graphile-worker through the desk, as its performance page sets it up: 24 at a time, a local queue of 500, batched ends.
import { load, main, note } from "./desk.mjs";

const { Logger, makeWorkerUtils, run, runMigrations } = await load("graphile-worker");
const logger = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") process.stderr.write(`graphile-worker: ${message}\n`);
});
const options = (order, more) => ({
  preset: { worker: { connectionString: order.url, logger, ...more } },
});

await main({
  install: (order) => runMigrations(options(order)),

  async work(order) {
    const batched = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
    const runner = await run({
      ...options(order, { concurrentJobs: 24, maxPoolSize: 25, ...batched }),
      noHandleSignals: true,
      taskList: { noop: ({ i }) => note(i) },
      parsedCronItems: [],
    });
    return () => runner.stop();
  },

  async door(order) {
    const utils = await makeWorkerUtils(options(order));
    return {
      single: (i) => utils.addJob("noop", { i }),
      bulk: (numbers) => utils.addJobs(numbers.map((i) => ({ identifier: "noop", payload: { i } }))),
      close: () => utils.release(),
    };
  },
});
