import { describe, expect, test } from "vitest";
import { durationWords, plain, sentences } from "./sentences";

/** The sentences about one topic, as plain text. */
function said(config: object, topic: string): string[] {
  return (sentences(config).find((one) => one.topic === topic)?.sentences ?? []).map(plain);
}

test("a bare function says its triggers and its retries, and nothing else", () => {
  const config = { id: "a-b", triggers: [{ event: "user/created" }], steps: { step: { retries: { attempts: 2 } } } };
  expect(sentences(config).map(({ topic }) => topic)).toEqual(["Triggers", "Retries"]);
  expect(said(config, "Retries")).toEqual(["Each step that fails is tried again up to 2 times."]);
});

describe("triggers", () => {
  test("each has a sentence", () => {
    const triggers = [
      { event: "a/b", expression: "event.data.x > 1" },
      { cron: "TZ=Europe/Berlin 0 6 * * *", jitter: "30s" },
    ];
    expect(said({ triggers }, "Triggers")).toEqual([
      "Starts for each event a/b where event.data.x > 1.",
      "Starts on the schedule TZ=Europe/Berlin 0 6 * * *, up to 30 seconds later.",
    ]);
  });
  test("none at all means that it must be invoked", () => {
    expect(said({ triggers: [] }, "Triggers")).toEqual(["Starts only when it is invoked."]);
  });
});

describe("retries", () => {
  test("are said at the step, or at the top; else there are four", () => {
    expect(said({ retries: 1 }, "Retries")).toEqual(["Each step that fails is tried again once."]);
    expect(said({ steps: { step: { retries: { attempts: 0 } } } }, "Retries")).toEqual([
      "What fails is not tried again.",
    ]);
    expect(said({}, "Retries")).toEqual(["Each step that fails is tried again up to 4 times (nothing else was said)."]);
  });
});

describe("concurrency", () => {
  test("may be a number", () => {
    expect(said({ concurrency: 1 }, "Concurrency")).toEqual([
      "At most 1 step is running at a time; others wait in line.",
    ]);
  });
  test("says its key and its scope", () => {
    const concurrency = [{ limit: 5 }, { limit: 2, key: "event.data.tenant", scope: "env" }];
    expect(said({ concurrency }, "Concurrency")).toEqual([
      "At most 5 steps are running at a time; others wait in line.",
      "At most 2 steps are running at a time for each value of event.data.tenant, " +
        "counted over all functions of the environment that use this key; others wait in line.",
    ]);
  });
  test("of runs is told from that of steps, in both forms", () => {
    const runs = "At most 3 runs are under way at a time; others wait in line.";
    expect(said({ concurrency: { fn: [{ limit: 3 }], step: [] } }, "Concurrency")).toEqual([runs]);
    expect(said({ runConcurrency: { limit: 3 } }, "Concurrency")).toEqual([runs]);
  });
  test("of 0 is no limit", () => {
    expect(said({ concurrency: [{ limit: 0 }] }, "Concurrency")).toEqual([]);
  });
});

test("throttle says whether starts are spread or come in bursts", () => {
  expect(said({ throttle: { limit: 100, period: "1m" } }, "Throttle")).toEqual([
    "100 runs start in 1 minute, evenly spread; others wait.",
  ]);
  expect(said({ throttle: { limit: 1, period: "60s", burst: 3, key: "event.data.a" } }, "Throttle")).toEqual([
    "1 run starts in 60 seconds, 3 of them at once for each value of event.data.a; others wait.",
  ]);
});

test("every other rule has its sentence", () => {
  const config = {
    rateLimit: { limit: 10, period: "1h" },
    debounce: { period: "30s", key: "event.data.customer", timeout: "10m" },
    batchEvents: { maxSize: 50, timeout: "10s", if: "event.data.ok" },
    priority: { run: "event.data.vip ? 120 : 0" },
    idempotency: "event.data.order",
    cancel: [{ event: "order/gone", if: "event.data.id == async.data.id", timeout: "1d" }],
    timeouts: { start: "10m", finish: "1h30m" },
    singleton: { key: "event.data.customer", mode: 1 },
  };
  expect(said(config, "Rate limit")).toEqual(["At most 10 runs start within 1 hour; events beyond that are skipped."]);
  expect(said(config, "Debounce")).toEqual([
    "Starts once, with the last event, when no other came for 30 seconds for each value of event.data.customer, " +
      "but no longer than 10 minutes after the first.",
  ]);
  expect(said(config, "Batches")).toEqual([
    "One run takes up to 50 events, or those that came within 10 seconds of the first.",
    "Only events for which event.data.ok is true are gathered; others start runs of their own.",
  ]);
  expect(said(config, "Priority")).toEqual([
    "Goes ahead of other runs of this function by event.data.vip ? 120 : 0 seconds.",
  ]);
  expect(said(config, "Idempotency")).toEqual(["Starts once in 24 hours for each value of event.data.order."]);
  expect(said(config, "Cancelled by")).toEqual([
    "The event order/gone where event.data.id == async.data.id, until 1 day after the run was made.",
  ]);
  expect(said(config, "Time-outs")).toEqual([
    "Cancelled when it hasn't started after 10 minutes in line.",
    "Cancelled when it hasn't ended 1 hour 30 minutes after its start.",
  ]);
  expect(said(config, "Singleton")).toEqual([
    "One run at a time for each value of event.data.customer; a new one cancels the one before it.",
  ]);
});

test("durations are said as people do; what is none is left as it is", () => {
  expect(durationWords("1h30m")).toBe("1 hour 30 minutes");
  expect(durationWords("1s")).toBe("1 second");
  expect(durationWords("0s")).toBe("0 seconds");
  expect(durationWords("1h0m0s")).toBe("1 hour");
  expect(durationWords("soon")).toBe("soon");
});

test("nonsense breaks nothing", () => {
  expect(() => sentences(null)).not.toThrow();
  expect(() => sentences({ triggers: 3, concurrency: "x", cancel: {}, throttle: [] })).not.toThrow();
});
