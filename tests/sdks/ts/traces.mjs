// An app of the newest TypeScript SDK that exports its spans by the SDK's own means.

import http from "node:http";

import { Inngest } from "inngest";
import { extendedTracesMiddleware } from "inngest/experimental";
import { serve } from "inngest/node";

const traced = new Inngest({
  id: "traced",
  middleware: [extendedTracesMiddleware({ behaviour: "createProvider", instrumentations: [] })],
});

const pay = (id, checkpointing) =>
  traced.createFunction({ id, triggers: [{ event: `test/${id}` }], checkpointing }, async ({ step, tracer }) => {
    const work = (name) => () =>
      tracer.startActiveSpan(name, async (span) => {
        span.setAttribute("order.id", "o1");
        span.end();
        return name;
      });
    await step.run("first", work("ask the bank"));
    return step.run("second", work("write the book"));
  });

const handler = serve({ client: traced, functions: [pay("a-step-a-call", false), pay("all-in-one-call", true)] });

http
  .createServer((request, response) => (request.url === "/log" ? response.end("[]") : handler(request, response)))
  .listen(Number(process.argv[2]), "127.0.0.1");
