// A function's configuration in words. Pure: what the app has registered goes in, sentences come out.

/** A sentence; its pieces of code (expressions, event names) stand apart. */
export type Sentence = (string | { code: string })[];

export interface Said {
  /** What the sentences are about, such as "Concurrency". */
  topic: string;
  sentences: Sentence[];
}

type Fields = Record<string, unknown>;

const RETRIES_DEFAULT = 4;
const UNITS: Record<string, string> = {
  ns: "nanosecond",
  us: "microsecond",
  ms: "millisecond",
  s: "second",
  m: "minute",
  h: "hour",
  d: "day",
  w: "week",
};

/** Say all that a configuration lays down, topic by topic; what isn't limited isn't mentioned. */
export function sentences(config: unknown): Said[] {
  const c = fields(config);
  return [
    { topic: "Triggers", sentences: triggers(c.triggers) },
    { topic: "Retries", sentences: [retries(c)] },
    { topic: "Concurrency", sentences: concurrency(c) },
    { topic: "Throttle", sentences: throttle(c.throttle) },
    { topic: "Rate limit", sentences: rateLimit(c.rateLimit) },
    { topic: "Debounce", sentences: debounce(c.debounce) },
    { topic: "Batches", sentences: batch(c.batchEvents) },
    { topic: "Priority", sentences: priority(c.priority) },
    { topic: "Singleton", sentences: singleton(c.singleton) },
    { topic: "Idempotency", sentences: idempotency(c.idempotency) },
    { topic: "Cancelled by", sentences: list(c.cancel).map(cancel) },
    { topic: "Time-outs", sentences: timeouts(c.timeouts) },
  ].filter((said) => said.sentences.length > 0);
}

/** Say a duration of the protocol (`1h30m`) as people do: "1 hour 30 minutes". What is none is given back. */
export function durationWords(text: string): string {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w)/g)];
  if (parts.map(([part]) => part).join("") !== text || parts.length === 0) return text;
  return parts
    .map(([, count = "", unit = ""]) => [Number(count), UNITS[unit.replace("µ", "u")]] as const)
    .filter(([count], _, all) => count !== 0 || all.length === 1)
    .map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`)
    .join(" ");
}

/** Put a sentence together as plain text. */
export function plain(sentence: Sentence): string {
  return sentence.map((part) => (typeof part === "string" ? part : part.code)).join("");
}

function triggers(raw: unknown): Sentence[] {
  const all = list(raw);
  if (all.length === 0) return [["Starts only when it is invoked."]];
  return all.map((trigger) => {
    const { event, expression, cron, jitter } = trigger;
    if (typeof cron === "string") {
      return ["Starts on the schedule ", { code: cron }, ...(jitter ? [`, up to ${duration(jitter)} later`] : []), "."];
    }
    return ["Starts for each event ", { code: String(event) }, ...where(expression), "."];
  });
}

function retries(c: Fields): Sentence {
  const step = fields(fields(c.steps).step);
  const said = fields(step.retries).attempts ?? c.retries;
  const count = typeof said === "number" ? said : RETRIES_DEFAULT;
  const rest = typeof said === "number" ? "" : " (nothing else was said)";
  if (count === 0) return ["What fails is not tried again."];
  return [`Each step that fails is tried again ${count === 1 ? "once" : `up to ${count} times`}${rest}.`];
}

function concurrency(c: Fields): Sentence[] {
  const form = c.concurrency;
  const isSplit = !Array.isArray(form) && (fields(form).fn !== undefined || fields(form).step !== undefined);
  const calls = isSplit ? fields(form).step : form;
  const runs = [...rules(isSplit ? fields(form).fn : undefined), ...rules(c.runConcurrency)];
  return [...rules(calls).map((rule) => slots(rule, "step")), ...runs.map((rule) => slots(rule, "run"))];
}

/** The rules of any form: a number, one rule, or a list of them. 0 is no limit. */
function rules(form: unknown): Fields[] {
  const all =
    typeof form === "number" ? [{ limit: form }] : Array.isArray(form) ? list(form) : form ? [fields(form)] : [];
  return all.filter((rule) => rule.limit !== 0 && rule.limit !== undefined);
}

function slots(rule: Fields, what: string): Sentence {
  const limit = Number(rule.limit);
  const counted = what === "run" ? "under way" : "running";
  return [
    `At most ${limit} ${what}${limit === 1 ? "" : "s"} ${limit === 1 ? "is" : "are"} ${counted} at a time`,
    ...each(rule.key),
    ...shared(rule.scope),
    "; others wait in line.",
  ];
}

function shared(scope: unknown): Sentence {
  const word = typeof scope === "string" ? scope.toLowerCase() : scope;
  if (word === "env" || word === 1) return [", counted over all functions of the environment that use this key"];
  if (word === "account" || word === 2) return [", counted over all functions of all environments that use this key"];
  return [];
}

function throttle(raw: unknown): Sentence[] {
  if (!raw) return [];
  const { limit, period, burst, key } = fields(raw);
  const extra = typeof burst === "number" && burst > 1 ? [`, ${burst} of them at once`] : [];
  const spread = extra.length > 0 ? "" : ", evenly spread";
  return [
    [
      `${limit} ${runs(limit)} ${limit === 1 ? "starts" : "start"} in ${duration(period)}`,
      spread,
      ...extra,
      ...each(key),
      "; others wait.",
    ],
  ];
}

function rateLimit(raw: unknown): Sentence[] {
  if (!raw) return [];
  const { limit, period, key } = fields(raw);
  return [
    [
      `At most ${limit} ${runs(limit)} ${limit === 1 ? "starts" : "start"} within ${duration(period)}`,
      ...each(key),
      "; events beyond that are skipped.",
    ],
  ];
}

function debounce(raw: unknown): Sentence[] {
  if (!raw) return [];
  const { period, key, timeout } = fields(raw);
  const latest = timeout ? [`, but no longer than ${duration(timeout)} after the first`] : [];
  return [
    ["Starts once, with the last event, when no other came for ", duration(period), ...each(key), ...latest, "."],
  ];
}

function batch(raw: unknown): Sentence[] {
  if (!raw) return [];
  const { maxSize, timeout, key, if: condition } = fields(raw);
  const said: Sentence[] = [
    [
      `One run takes up to ${maxSize} events, or those that came within ${duration(timeout)} of the first`,
      ...each(key),
      ".",
    ],
  ];
  if (condition)
    said.push([
      "Only events for which ",
      { code: String(condition) },
      " is true are gathered; others start runs of their own.",
    ]);
  return said;
}

function priority(raw: unknown): Sentence[] {
  const { run } = fields(raw);
  return run ? [["Goes ahead of other runs of this function by ", { code: String(run) }, " seconds."]] : [];
}

function singleton(raw: unknown): Sentence[] {
  if (!raw) return [];
  const { mode, key } = fields(raw);
  const cancels = mode === 1 || String(mode).toLowerCase() === "cancel";
  return [
    [
      "One run at a time",
      ...each(key),
      cancels ? "; a new one cancels the one before it." : "; while it is under way, new ones are skipped.",
    ],
  ];
}

function idempotency(raw: unknown): Sentence[] {
  return raw ? [["Starts once in 24 hours for each value of ", { code: String(raw) }, "."]] : [];
}

function cancel({ event, if: condition, timeout }: Fields): Sentence {
  const until = timeout ? [`, until ${duration(timeout)} after the run was made`] : [];
  return ["The event ", { code: String(event) }, ...where(condition), ...until, "."];
}

function timeouts(raw: unknown): Sentence[] {
  const { start, finish } = fields(raw);
  const said: Sentence[] = [];
  if (start) said.push([`Cancelled when it hasn't started after ${duration(start)} in line.`]);
  if (finish) said.push([`Cancelled when it hasn't ended ${duration(finish)} after its start.`]);
  return said;
}

function each(key: unknown): Sentence {
  return key ? [" for each value of ", { code: String(key) }] : [];
}

function where(condition: unknown): Sentence {
  return condition ? [" where ", { code: String(condition) }] : [];
}

function duration(raw: unknown): string {
  return durationWords(String(raw));
}

function runs(limit: unknown): string {
  return limit === 1 ? "run" : "runs";
}

function fields(raw: unknown): Fields {
  return raw !== null && typeof raw === "object" && !Array.isArray(raw) ? (raw as Fields) : {};
}

function list(raw: unknown): Fields[] {
  return Array.isArray(raw) ? raw.map(fields) : [];
}
