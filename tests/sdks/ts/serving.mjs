// Serves an app of the TypeScript SDK to its test, as apps/serving.py does for Python: the functions, the record, the
// controls. Not part of any SDK.

import http from "node:http";

import { flowFunctions } from "./flow.mjs";
import { Recorder, movingFunctions, shopFunctions } from "./functions.mjs";
import { groupFunctions } from "./groups.mjs";
import { waitingFunctions } from "./waits.mjs";

// `makeClient(id)` makes a client, `creator(client)` its way to create a function; `serve` and the rest are the SDK's;
// `streaming` is what its version calls the option to stream whatever happens.
export function serveApp({ makeClient, creator, serve, streaming, ...sdk }) {
  const work = new Recorder();
  const shop = makeClient("shop");
  const tools = { create: creator(shop), client: shop, work, ...sdk };
  const functions = [shopFunctions, waitingFunctions, groupFunctions, flowFunctions].flatMap((make) => make(tools));
  const serveShop = serve({ client: shop, functions });
  const moving = makeClient("moving");
  const variants = Object.fromEntries(
    Object.entries(movingFunctions({ create: creator(moving) })).map(([variant, functions]) => [
      variant,
      // This one streams its answers: 201, then spaces while the function runs, then the answer (protocol 4.7).
      serve({ client: moving, functions, streaming }),
    ]),
  );
  let serveMoving = variants.first;
  const streamed = makeClient("streamed");
  const createStreamed = (options, triggers, handler) =>
    creator(streamed)(
      options,
      triggers.map(({ event }) => ({ event: event.replace("test/", "streamed/") })),
      handler,
    );
  const streamedFunctions = groupFunctions({ ...tools, create: createStreamed });
  const serveStreamed = serve({ client: streamed, functions: streamedFunctions, streaming });

  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url, "http://app");
    if (url.pathname.startsWith("/moving/")) return serveMoving(request, response);
    if (url.pathname.startsWith("/streamed/")) return serveStreamed(request, response);
    if (url.pathname === "/api/inngest") return serveShop(request, response);
    let answer = null;
    if (url.pathname === "/log") {
      answer = work.ofRun(url.searchParams.get("run"));
    } else if (url.pathname === "/send") {
      const parts = [];
      for await (const part of request) parts.push(part);
      answer = (await shop.send(JSON.parse(Buffer.concat(parts)))).ids;
    } else if (url.pathname.startsWith("/turn/")) {
      serveMoving = variants[url.pathname.slice("/turn/".length)];
    } else {
      response.statusCode = 404;
    }
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(answer));
  });
  server.listen(Number(process.argv[2]), "127.0.0.1");
}
