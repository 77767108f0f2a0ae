// How to write the first function with each SDK, exact for this server. Pure.
import type { Kit } from "./search";

export interface Snippet {
  title: string;
  code: string;
}

export interface Server {
  url: string;
  isDev: boolean;
}

const DEFAULT_URL = "http://127.0.0.1:8288";

export const KIT_NAMES: Record<Kit, string> = {
  stepwell: "Stepwell",
  "inngest-python": "Inngest SDK, Python",
  "inngest-typescript": "Inngest SDK, TypeScript",
};

/** Where the app of a kit's snippets answers. */
export const APP_URLS: Record<Kit, string> = {
  stepwell: "http://localhost:8000",
  "inngest-python": "http://localhost:8000/api/inngest",
  "inngest-typescript": "http://localhost:3000/api/inngest",
};

export function snippets(kit: Kit, server: Server): Snippet[] {
  switch (kit) {
    case "stepwell":
      return [
        { title: "Install", code: "pip install stepwell uvicorn" },
        { title: "app.py", code: STEPWELL },
        { title: "Run", code: `${stepwellEnvironment(server)}uvicorn app:app --port 8000` },
      ];
    case "inngest-python":
      return [
        { title: "Install", code: "pip install inngest fastapi uvicorn" },
        { title: "app.py", code: INNGEST_PYTHON },
        { title: "Run", code: `${inngestEnvironment(server)}uvicorn app:app --port 8000` },
      ];
    case "inngest-typescript":
      return [
        { title: "Install", code: "npm install inngest" },
        { title: "app.mjs", code: INNGEST_TYPESCRIPT },
        { title: "Run", code: `${inngestEnvironment(server)}node app.mjs` },
      ];
  }
}

function stepwellEnvironment({ url, isDev }: Server): string {
  if (isDev) return `STEPWELL_DEV=${url === DEFAULT_URL ? "1" : url} `;
  return lines(`STEPWELL_URL=${url}`, "STEPWELL_EVENT_KEY=…", "STEPWELL_SIGNING_KEY=…");
}

function inngestEnvironment({ url, isDev }: Server): string {
  if (isDev) return `INNGEST_DEV=${url} `;
  return lines("INNGEST_DEV=0", `INNGEST_BASE_URL=${url}`, "INNGEST_EVENT_KEY=…", "INNGEST_SIGNING_KEY=…");
}

function lines(...variables: string[]): string {
  return variables.map((variable) => `${variable} \\\n`).join("");
}

const STEPWELL = `from stepwell import Event, Step, Stepwell

sw = Stepwell("acme")


@sw.function("welcome", on="user.signedup")
async def welcome(event: Event, step: Step) -> str:
    name = await step.run("load-user", load_user, event.data["userId"])
    await step.sleep("a-moment", "10s")
    await step.run("send-mail", print, f"Welcome, {name}!")
    return f"{name} was welcomed"


def load_user(user_id: int) -> str:
    return f"user {user_id}"


app = sw.asgi()
`;

const INNGEST_PYTHON = `import datetime

import fastapi
import inngest
import inngest.fast_api

client = inngest.Inngest(app_id="acme")


@client.create_function(fn_id="welcome", trigger=inngest.TriggerEvent(event="user.signedup"))
async def welcome(ctx: inngest.Context) -> str:
    async def load_user() -> str:
        return f"user {ctx.event.data['userId']}"

    name = await ctx.step.run("load-user", load_user)
    await ctx.step.sleep("a-moment", datetime.timedelta(seconds=10))
    return f"{name} was welcomed"


app = fastapi.FastAPI()
inngest.fast_api.serve(app, client, [welcome])
`;

const INNGEST_TYPESCRIPT = `import { createServer } from "node:http";
import { Inngest } from "inngest";
import { serve } from "inngest/node";

const inngest = new Inngest({ id: "acme" });

const welcome = inngest.createFunction(
  { id: "welcome", triggers: [{ event: "user.signedup" }] },
  async ({ event, step }) => {
    const name = await step.run("load-user", () => \`user \${event.data.userId}\`);
    await step.sleep("a-moment", "10s");
    return \`\${name} was welcomed\`;
  },
);

createServer(serve({ client: inngest, functions: [welcome] })).listen(3000);
`;
