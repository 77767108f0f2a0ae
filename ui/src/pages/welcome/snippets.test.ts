import { expect, test } from "vitest";
import { KITS } from "./search";
import { snippets } from "./snippets";

const run = (kit: (typeof KITS)[number], server: { url: string; isDev: boolean }) => snippets(kit, server)[2]?.code;

test("on a dev server the command names the server that the page is of", () => {
  const usual = { url: "http://127.0.0.1:8288", isDev: true };
  const other = { url: "http://127.0.0.1:9000", isDev: true };
  expect(run("stepwell", usual)).toBe("STEPWELL_DEV=1 uvicorn app:app --port 8000");
  expect(run("stepwell", other)).toBe("STEPWELL_DEV=http://127.0.0.1:9000 uvicorn app:app --port 8000");
  expect(run("inngest-python", other)).toBe("INNGEST_DEV=http://127.0.0.1:9000 uvicorn app:app --port 8000");
  expect(run("inngest-typescript", other)).toBe("INNGEST_DEV=http://127.0.0.1:9000 node app.mjs");
});

test("in production it has the server's URL, and places for the keys", () => {
  const server = { url: "https://stepwell.example", isDev: false };
  expect(run("stepwell", server)).toContain("STEPWELL_URL=https://stepwell.example \\\n");
  expect(run("inngest-python", server)).toContain("INNGEST_BASE_URL=https://stepwell.example \\\nINNGEST_EVENT_KEY=…");
});

test("every kit is installed, written and run", () => {
  for (const kit of KITS) {
    expect(snippets(kit, { url: "http://x", isDev: true }).map(({ code }) => code.length > 10)).toEqual([
      true,
      true,
      true,
    ]);
  }
});
