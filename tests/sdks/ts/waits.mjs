// The functions of apps/inngest_waits.py on the TypeScript SDK: they wait for events, signals, runs and requests. `create`
// and the rest are as in functions.mjs; `client` sends events outside of steps.

export function waitingFunctions({ create, client, referenceFunction, work }) {
  const on = (event) => [{ event }];
  const shown = (event) => event && { name: event.name, data: event.data, id: event.id, ts: event.ts };
  const waiting = (id, condition) =>
    create({ id }, on(`test/${id}`), async ({ step }) =>
      shown(await step.waitForEvent("paid", { event: "test/paid", timeout: "5m", ...condition })),
    );
  return [
    waiting("wait-any", {}),
    waiting("wait-if", { if: "async.data.order == event.data.order && async.data.cents > 100" }),
    waiting("wait-match", { match: "data.order" }),
    waiting("wait-broken", { if: "async.data.order ==" }),
    waiting("wait-long", { timeout: "400d" }),
    create({ id: "wait-sent" }, on("test/wait-sent"), async ({ step, event }) => {
      await step.sendEvent("send", { name: "test/paid", data: event.data });
      return shown(await step.waitForEvent("paid", { event: "test/paid", timeout: "5m", match: "data.order" }));
    }),
    create({ id: "wait-heavy" }, on("test/wait-heavy"), async ({ step, event }) => {
      const parts = [];
      for (let n = 0; n < event.data.parts; n++) parts.push(await step.run(`part ${n}`, () => "x".repeat(event.data.chars)));
      const found = await step.waitForEvent("paid", { event: "test/paid", timeout: "5m", match: "data.order" });
      return { lengths: parts.map((part) => part.length), cents: found.data.cents };
    }),

    create({ id: "parent", retries: 0 }, on("test/parent"), async ({ step, event }) => {
      const { app = "shop", child, data, timeout } = event.data;
      try {
        const reference = referenceFunction({ appId: app, functionId: child });
        return { result: await step.invoke("call", { function: reference, data, timeout }) };
      } catch (error) {
        return { caught: error.message };
      }
    }),
    create({ id: "parents" }, on("test/parents"), async ({ step }) => {
      const double = referenceFunction({ appId: "shop", functionId: "double" });
      return Promise.all([1, 2, 3].map((n) => step.invoke(`call ${n}`, { function: double, data: { n } })));
    }),
    create({ id: "double" }, on("test/double"), ({ step, event, ...ctx }) =>
      step.run("double", work.step(ctx, event.name, 2 * event.data.n)),
    ),
    create({ id: "boom", retries: 0 }, on("test/boom"), async () => {
      throw new Error("boom");
    }),
    create({ id: "patient" }, on("test/patient"), async ({ step }) => {
      await step.waitForEvent("never", { event: "test/never", timeout: "1d" });
      return "at last";
    }),
    create({ id: "rated", rateLimit: { limit: 1, period: "1h", key: "event.data.key" } }, on("test/rated"), async () => "ran"),
    create({ id: "lone", singleton: { mode: "skip", key: "event.data.key" } }, on("test/lone"), async ({ step, event }) => {
      if (event.data.waits) await step.waitForEvent("never", { event: "test/never", timeout: "5m" });
      return "ran";
    }),

    ...["finished", "failed", "cancelled"].map((how) => {
      const trigger = { event: `inngest/function.${how}`, if: "event.data.function_id in ['shop-boom', 'shop-patient']" };
      return create({ id: `when-${how}` }, [trigger], async ({ event, ...ctx }) => {
        work.add(event.data.run_id, how, ctx.attempt, event.data.error?.message ?? null);
      });
    }),

    // Told outside of a step: so it is sent again by each call.
    create({ id: "shout" }, on("test/shout"), async () => (await client.send({ name: "test/told", data: { n: 3 } })).ids),

    create({ id: "signalled", retries: 0 }, on("test/signalled"), async ({ step, event }) => {
      const { signal, onConflict = "fail" } = event.data;
      return step.waitForSignal("approval", { signal, timeout: "5m", onConflict });
    }),
    create({ id: "signal" }, on("test/signal"), async ({ step, event }) => {
      const { signal, data } = event.data;
      return step.sendSignal("approve", { signal, data });
    }),

    create({ id: "fetching", retries: 1 }, on("test/fetching"), async ({ step, event }) => {
      try {
        const headers = { "content-type": "text/plain", "x-order": "o1" };
        const response = await step.fetch(event.data.url, { method: "POST", headers, body: "hello" });
        return { status: response.status, header: response.headers.get("x-answer"), body: await response.text() };
      } catch (error) {
        return { caught: error.message };
      }
    }),
    create({ id: "inferring", retries: 1 }, on("test/inferring"), async ({ step, event }) => {
      try {
        const model = step.ai.models.openai({ model: "small-one", apiKey: "sk-of-tests", baseUrl: event.data.url });
        const body = { messages: [{ role: "user", content: "ping" }] };
        const answer = await step.ai.infer("ask", { model, body });
        return answer.choices[0].message.content;
      } catch (error) {
        return { caught: error.message };
      }
    }),
  ];
}
