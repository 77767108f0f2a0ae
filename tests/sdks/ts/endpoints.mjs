// Durable endpoints of the TypeScript SDK under Node's own HTTP server: handlers whose runs begin in the app.

import http from "node:http";

import { Inngest, NonRetriableError, step } from "inngest";
import { endpointAdapter, serveEndpoint } from "inngest/node";

const record = [];

function did(name) {
  record.push(name);
  return record.filter((other) => other === name).length;
}

function client(options) {
  return new Inngest({ id: "api", endpointAdapter: endpointAdapter.withOptions(options) });
}

const endpoints = {
  "/steps": async (request) => {
    const order = await request.json();
    const a = await step.run("a", () => order.cents + 1);
    const b = await step.run("b", () => a + 1);
    return { a, b, query: new URL(request.url).searchParams.get("q") };
  },
  "/sleep": async (request) => {
    const order = await request.json();
    const a = await step.run("a", () => ({ times: did(`a${order.id}`) }));
    await step.sleep("nap", "1s");
    const b = await step.run("b", () => ({ times: did(`b${order.id}`) }));
    return { a, b, id: order.id };
  },
  "/flaky": async () => {
    const times = await step.run("flaky", () => {
      if (did("flaky") < 3) throw new Error("not yet");
      return record.filter((other) => other === "flaky").length;
    });
    return { times };
  },
  "/parallel": async () => {
    const both = await Promise.all([step.run("l", () => did("l")), step.run("r", () => did("r"))]);
    return { both };
  },
  "/broken": async () => {
    await step.run("a", () => 1);
    await step.sleep("nap", "1s");
    throw new NonRetriableError("for good");
  },
  "/refuses": async () => {
    await step.run("a", () => 1);
    throw new NonRetriableError("for good");
  },
  "/dies": async () => {
    const a = await step.run("a", () => 1);
    const b = await step.run("b", () => {
      if (process.argv[3] === "dying") process.kill(process.pid, "SIGKILL");
      return a + 1;
    });
    return { b };
  },
};

// The SDK reads a request's body before the handler could: it gets a copy.
function copying(handler) {
  return (request) => {
    const copy = request.clone();
    // The adapter keeps the options that it was given last, whatever the client: so each request gives its own.
    const asyncResponse = new URL(request.url).searchParams.get("answer") ?? "redirect";
    return client({ asyncResponse }).endpoint(() => handler(copy))(request);
  };
}

const listeners = Object.fromEntries(
  Object.entries(endpoints).map(([path, handler]) => [path, serveEndpoint(copying(handler))]),
);

http
  .createServer((request, response) => {
    const url = new URL(request.url, "http://app");
    const listener = listeners[url.pathname];
    if (listener) return listener(request, response);
    response.statusCode = url.pathname === "/log" ? 200 : 404;
    response.end(JSON.stringify(record));
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
