// The TypeScript SDK of the major version before, under Node's own HTTP server.

import { Inngest, NonRetriableError, RetryAfterError, StepError, referenceFunction } from "inngest3";
import { serve } from "inngest3/node";

import { serveApp } from "./serving.mjs";

serveApp({
  makeClient: (id) => new Inngest({ id }),
  creator: (client) => (options, triggers, handler) => client.createFunction(options, triggers, handler),
  // This version has no groups: its server goes on after each step of Promise.all.
  parallelRace: (_group, branches) => branches(),
  serve,
  streaming: "force",
  NonRetriableError,
  RetryAfterError,
  StepError,
  referenceFunction,
});
