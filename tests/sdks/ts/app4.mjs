// The newest TypeScript SDK under Node's own HTTP server.

import { Inngest, NonRetriableError, RetryAfterError, StepError, referenceFunction } from "inngest";
import { serve } from "inngest/node";

import { serveApp } from "./serving.mjs";

serveApp({
  makeClient: (id) => new Inngest({ id }),
  creator: (client) => (options, triggers, handler) => client.createFunction({ ...options, triggers }, handler),
  parallelRace: (group, branches) => group.parallel({ mode: "race" }, branches),
  serve,
  streaming: true,
  NonRetriableError,
  RetryAfterError,
  StepError,
  referenceFunction,
});
