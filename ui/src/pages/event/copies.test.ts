import { expect, it } from "vitest";
import { asCurl, asPython } from "./copies";

const EVENT = { name: "order.created", data: { id: 7, paid: true, note: "it's", tags: [] }, user: {}, v: null };

it("is a command that a shell takes as it is", () => {
  expect(asCurl(EVENT, "http://127.0.0.1:8288", false)).toBe(
    `curl -X POST 'http://127.0.0.1:8288/api/events' \\
  -H 'Content-Type: application/json' \\
  -d '{"name":"order.created","data":{"id":7,"paid":true,"note":"it'\\''s","tags":[]}}'
`,
  );
  expect(asCurl(EVENT, "https://x", true)).toContain("$STEPWELL_API_TOKEN");
});

it("is a call that Python takes as it is", () => {
  expect(asPython({ ...EVENT, user: { id: null } })).toBe(`await sw.send(
    "order.created",
    {
        "id": 7,
        "paid": True,
        "note": "it's",
        "tags": [],
    },
    user={
        "id": None,
    },
)
`);
});
