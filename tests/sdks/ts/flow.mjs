// The functions of apps/inngest_flow.py on the TypeScript SDK: how many may run, how often, in which order, until when.

export function flowFunctions({ create, work }) {
  const on = (event) => [{ event }];
  const key = "event.data.key";
  const start = async ({ step, event, ...ctx }) => step.run("start", work.step(ctx, "start", event.data.n));
  const flow = (id, options, handler = start) => create({ id, ...options }, on(`test/${id}`), handler);
  const waits = async ({ step, event, ...ctx }) => {
    await step.run("start", work.step(ctx, "start", event.data.n));
    await step.waitForEvent("never", { event: "test/never", timeout: "5m" });
    return "waited";
  };
  const crowd = async ({ step, event }) => step.run("crowd", () => work.meet(event.data));
  return [
    flow("limited", { concurrency: 2 }, crowd),
    flow("keyed", { concurrency: { limit: 1, key } }, crowd),
    flow("shared-a", { concurrency: { limit: 1, key, scope: "env" } }, crowd),
    flow("shared-b", { concurrency: { limit: 1, key, scope: "env" } }, crowd),
    flow("doubly", { concurrency: [{ limit: 2 }, { limit: 1, key, scope: "account" }] }, crowd),
    flow("throttled", { throttle: { limit: 1, period: "1m", key } }),
    flow("rationed", { rateLimit: { limit: 2, period: "1h", key } }),
    flow("debounced", { debounce: { period: "1m", key } }),
    flow("debounced-at-most", { debounce: { period: "1m", key, timeout: "90s" } }),
    flow("batched", { batchEvents: { maxSize: 3, timeout: "30s", key, if: "event.data.n < 100" } }, async ({ events }) =>
      events.map(({ data }) => data.n),
    ),
    flow("ranked", { throttle: { limit: 1, period: "1m" }, priority: { run: "event.data.rank" } }),
    flow("single-skip", { singleton: { mode: "skip", key } }, waits),
    flow("single-cancel", { singleton: { mode: "cancel", key } }, waits),
    flow("once", { idempotency: key }),
    flow("stopped-if", { cancelOn: [{ event: "test/stop", if: "event.data.key == async.data.key", timeout: "2m" }] }, waits),
    flow("stopped-match", { cancelOn: [{ event: "test/stop", match: "data.key" }] }, waits),
    flow("late", { throttle: { limit: 1, period: "10m", key }, timeouts: { start: "1m" } }),
    flow("long", { timeouts: { finish: "1m" } }, waits),
  ];
}
