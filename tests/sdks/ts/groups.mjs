// The functions of apps/inngest_groups.py on the TypeScript SDK: steps beside each other, and many in one call. Each call of
// a function records "call", so that tests see how many there were.

export function groupFunctions({ create, parallelRace, referenceFunction, work }) {
  const on = (event) => [{ event }];
  const line = (id, options, count, body) =>
    create({ id, ...options }, on(`test/${id}`), async ({ step, ...ctx }) => {
      work.add(ctx.runId, "call", ctx.attempt);
      for (let n = 0; n < count; n++) await step.run(`s${n}`, body(ctx, n));
      return "done";
    });
  const plain = (ctx, n) => work.step(ctx, `s${n}`, n);
  return [
    create({ id: "nested" }, on("test/nested"), async ({ step, ...ctx }) => {
      const run = (id) => step.run(id, work.step(ctx, id, id));
      const inner = async () => [await run("a"), await Promise.all([run("b"), run("c")])];
      return Promise.all([inner(), run("d"), Promise.all([run("e"), run("f")])]);
    }),
    create({ id: "namesakes" }, on("test/namesakes"), async ({ step, ...ctx }) => {
      const same = (n) => step.run("same", work.step(ctx, `same ${n}`, n));
      return [...(await Promise.all([0, 1, 2].map(same))), await same(3)];
    }),
    create({ id: "wide" }, on("test/wide"), async ({ step, ...ctx }) => {
      const numbers = await Promise.all(Array.from({ length: 40 }, (_, n) => step.run(`w${n}`, work.step(ctx, "w", n))));
      return numbers.reduce((sum, n) => sum + n, 0);
    }),
    create({ id: "kinds" }, on("test/kinds"), async ({ step, ...ctx }) => {
      const double = referenceFunction({ appId: "shop", functionId: "double" });
      const [found, doubled, , own] = await Promise.all([
        step.waitForEvent("paid", { event: "test/paid", timeout: "5m", match: "data.order" }),
        step.invoke("call", { function: double, data: { n: 4 } }),
        step.sleep("nap", "1s"),
        step.run("own", work.step(ctx, "own", "own")),
      ]);
      return [found.data.cents, doubled, own, await step.run("then", work.step(ctx, "then", "then"))];
    }),
    create({ id: "settled", retries: 1 }, on("test/settled"), async ({ step, ...ctx }) => {
      const failing = work.step(ctx, "bad", null, { failures: 99, error: () => new Error("no stock") });
      const outcome = (promise) => promise.catch((error) => error.message);
      const both = await Promise.all([step.run("good", work.step(ctx, "good", "good")), outcome(step.run("bad", failing))]);
      return [...both, await step.run("then", work.step(ctx, "then", "then"))];
    }),
    create({ id: "promise-race" }, on("test/promise-race"), async ({ step, ...ctx }) =>
      Promise.race([
        step.run("fast", work.step(ctx, "fast", "fast")),
        step.waitForEvent("never", { event: "test/never", timeout: "3m" }),
      ]),
    ),
    create({ id: "first-of" }, on("test/first-of"), async ({ step, group, ...ctx }) => {
      const first = await parallelRace(group, () =>
        Promise.race([
          step.run("fast", work.step(ctx, "fast", "fast")),
          step.waitForEvent("never", { event: "test/never", timeout: "1d" }),
        ]),
      );
      return step.run("then", work.step(ctx, "then", `${first}, then`));
    }),

    line("line", {}, 12, plain),
    line("buffered", { checkpointing: { bufferedSteps: 4 } }, 10, plain),
    line("marathon", { checkpointing: { maxRuntime: "300ms" } }, 5, (ctx, n) => async () => {
      work.add(ctx.runId, `s${n}`, ctx.attempt);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }),
    line("stumble", { retries: 1 }, 5, (ctx, n) => work.step(ctx, `s${n}`, n, { failures: n === 2 ? 1 : 0 })),
    line("hurdles", { retries: 1 }, 3, (ctx, n) => work.step(ctx, `s${n}`, n, { failures: 1 })),
    line("endless", {}, 1000, plain),
    create({ id: "fork" }, on("test/fork"), async ({ step, ...ctx }) => {
      const run = (id) => step.run(id, work.step(ctx, id, id));
      const first = [await run("a"), await run("b")];
      await step.sleep("nap", 1000);
      const both = await Promise.all([run("c"), run("d")]);
      return [...first, ...both, await run("e")].join("");
    }),
  ];
}
