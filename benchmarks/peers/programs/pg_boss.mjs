// pg-boss through the desk: two workers a process, batches of 500, one handler call a batch, LISTEN/NOTIFY on.
import { load, main, note } from "./desk.mjs";

const { PgBoss } = await load("pg-boss");
const QUEUE = "bench";

async function started(order, options) {
  const boss = new PgBoss({ connectionString: order.url, schedule: false, ...options });
  boss.on("error", (error) => process.stderr.write(`pg-boss: ${error}\n`));
  await boss.start();
  return boss;
}

await main({
  async install(order) {
    const boss = await started(order, { supervise: false });
    await boss.createQueue(QUEUE, { notify: true });
    await boss.stop({ graceful: false });
  },

  async work(order) {
    const boss = await started(order, { useListenNotify: true });
    const options = { batchSize: 500, localConcurrency: 2, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
    await boss.work(QUEUE, options, async (jobs) => {
      for (const job of jobs) note(job.data.i);
    });
    return () => boss.stop({ graceful: true, timeout: 10_000 });
  },

  async door(order) {
    const boss = await started(order, { supervise: false });
    return {
      single: (i) => boss.send(QUEUE, { i }),
      bulk: (numbers) => boss.insert(QUEUE, numbers.map((i) => ({ data: { i } }))),
      close: () => boss.stop({ graceful: false }),
    };
  },
});
