// The functions of apps/recorder.py on the TypeScript SDK. Its two major versions differ in how a function is created;
// each app passes `create(options, triggers, handler)` and its version's error classes.

export const HEAVY_CHARS = 1_500_000;
const HEAVY_STEPS = 3;

export class Recorder {
  entries = [];
  rooms = new Map();

  // Record an execution; return how many there are of it by now.
  add(run, step, attempt, value = null) {
    this.entries.push({ run, step, attempt, value, at: Date.now() });
    return this.entries.filter((entry) => entry.run === run && entry.step === step).length;
  }

  // Enter a room; wait, no longer than for `ms`, until `size` have been in it at once; leave. Return the most there were.
  async meet({ room, size, ms }) {
    const seen = this.rooms.get(room) ?? { inside: 0, most: 0 };
    this.rooms.set(room, seen);
    seen.inside += 1;
    seen.most = Math.max(seen.most, seen.inside);
    for (const until = Date.now() + ms; seen.most < size && Date.now() < until; ) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    seen.inside -= 1;
    return seen.most;
  }

  ofRun(run) {
    return this.entries.filter((entry) => run === null || entry.run === run);
  }

  // Return a step's work: it records itself, throws the first `failures` times, then returns `value`.
  step({ runId, attempt }, step, value = null, { failures = 0, error = () => new Error("not yet") } = {}) {
    return () => {
      if (this.add(runId, step, attempt, value) <= failures) throw error();
      return value;
    };
  }
}

export function shopFunctions({ create, parallelRace, NonRetriableError, RetryAfterError, StepError, work }) {
  const on = (event) => [{ event }];
  const fan = (id, failures) =>
    create({ id, retries: 1 }, on("test/fan"), ({ step, ...ctx }) =>
      step.run("work", work.step(ctx, "work", id, { failures })),
    );
  return [
    create({ id: "steps" }, on("test/steps"), async ({ step, ...ctx }) => {
      const a = await step.run("a", work.step(ctx, "a", 1));
      const addOne = async (number) => {
        work.add(ctx.runId, "b", ctx.attempt);
        return number + 1;
      };
      const b = await step.run("b", addOne, a);
      const again = [];
      for (const i of [0, 1]) again.push(await step.run("again", work.step(ctx, `again ${i}`, i)));
      return { a, b, again };
    }),
    create({ id: "parallel", retries: 2 }, on("test/parallel"), async ({ step, ...ctx }) => {
      const parts = await Promise.all([
        step.run("a", work.step(ctx, "a", "a")),
        step.run("b", work.step(ctx, "b", "b", { failures: 1 })),
        step.run("c", work.step(ctx, "c", "c")),
      ]);
      return step.run("join", work.step(ctx, "join", parts.join("")));
    }),
    create({ id: "mixed" }, on("test/mixed"), async ({ step, ...ctx }) => {
      const branch = async () => {
        const first = await step.run("b1", work.step(ctx, "b1", "b1"));
        return [first, await step.run("b2", work.step(ctx, "b2", "b2"))];
      };
      const [a, , branched] = await Promise.all([
        step.run("a", work.step(ctx, "a", "a")),
        step.sleep("nap", "1s"),
        branch(),
      ]);
      return [a, ...branched];
    }),
    create({ id: "race" }, on("test/race"), async ({ step, group, ...ctx }) => {
      const branch = async () => {
        await step.run("r1", work.step(ctx, "r1"));
        await step.run("r2", work.step(ctx, "r2"));
      };
      await parallelRace(group, () => Promise.all([branch(), step.sleep("nap", "2s")]));
    }),
    create({ id: "nap" }, on("test/nap"), async ({ step, event, ...ctx }) => {
      await step.run("before", work.step(ctx, "before"));
      await step.sleep("nap", event.data.nap_ms);
      await step.sleepUntil("alarm", event.data.alarm);
      await step.run("after", work.step(ctx, "after"));
    }),
    create({ id: "flaky", retries: 3 }, on("test/flaky"), async ({ step, ...ctx }) => {
      const done = await step.run("work", work.step(ctx, "work", "done", { failures: 2 }));
      return step.run("then", work.step(ctx, "then", `${done}, then`));
    }),
    create({ id: "catch", retries: 1 }, on("test/catch"), async ({ step, ...ctx }) => {
      const noStock = () => new Error("no stock");
      try {
        await step.run("doomed", work.step(ctx, "doomed", null, { failures: 99, error: noStock }));
      } catch (error) {
        if (!(error instanceof StepError)) throw error;
        return step.run("compensate", work.step(ctx, "compensate", `caught: ${error.message}`));
      }
    }),
    create(
      {
        id: "broken",
        retries: 1,
        onFailure: async ({ step, error, event, attempt }) => {
          const { name, data } = event.data.event;
          const value = { message: error.message, event: { name, data } };
          const failed = { runId: event.data.run_id, attempt };
          await step.run("report", work.step(failed, "on failure", value));
        },
      },
      on("test/broken"),
      async ({ step, ...ctx }) => {
        await step.run("first", work.step(ctx, "first"));
        work.add(ctx.runId, "raise", ctx.attempt);
        throw new Error("boom");
      },
    ),
    create({ id: "final", retries: 3 }, on("test/final"), async (ctx) => {
      work.add(ctx.runId, "raise", ctx.attempt);
      throw new NonRetriableError("never again");
    }),
    create({ id: "final-step", retries: 3 }, on("test/final-step"), async ({ step, ...ctx }) => {
      const never = () => new NonRetriableError("never again");
      await step.run("raise", work.step(ctx, "raise", null, { failures: 99, error: never }));
    }),
    create({ id: "later", retries: 1 }, on("test/later"), ({ step, ...ctx }) => {
      const in3s = () => new RetryAfterError("busy", "3s");
      return step.run("work", work.step(ctx, "work", "at last", { failures: 1, error: in3s }));
    }),
    create({ id: "tell" }, on("test/tell"), async ({ step }) => {
      const sent = await step.sendEvent(
        "tell",
        [1, 2].map((n) => ({ name: "test/told", data: { n } })),
      );
      return sent.ids;
    }),
    create({ id: "told" }, on("test/told"), async ({ event }) => event.data.n),
    fan("fan-a", 0),
    fan("fan-b", 1),
    fan("fan-c", 0),
    create({ id: "large" }, [{ event: "test/amount", if: "event.data.amount > 100" }], async ({ event }) => event.data.amount),
    create({ id: "any" }, on("test/wild.*"), async ({ event }) => event.name),
    create({ id: "either" }, [{ event: "test/this" }, { event: "test/that" }], async ({ event }) => event.name),
    create({ id: "echo" }, on("test/echo"), ({ step, event, ...ctx }) => step.run("copy", work.step(ctx, "copy", event.data))),
    create({ id: "heavy" }, on("test/heavy"), async ({ step, ...ctx }) => {
      const lengths = [];
      for (let n = 0; n < HEAVY_STEPS; n++) {
        const part = await step.run(`part ${n}`, work.step(ctx, `part ${n}`, String(n).repeat(HEAVY_CHARS)));
        lengths.push(part.length);
      }
      return lengths;
    }),
    create({ id: "tick" }, [{ cron: "* * * * *" }], ({ step, event, ...ctx }) =>
      step.run("tick", work.step(ctx, "tick", event.data)),
    ),
  ];
}

export function movingFunctions({ create }) {
  const event = { event: "moving/event" };
  return {
    first: [create({ id: "stays" }, [event], async () => "first"), create({ id: "goes" }, [event], async () => "first")],
    second: [
      create({ id: "stays" }, [event, { event: "moving/more" }], async () => "second"),
      create({ id: "comes" }, [event], async () => "second"),
    ],
  };
}
