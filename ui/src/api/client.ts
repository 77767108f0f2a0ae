// The one way to talk to the server. Errors are of one class, whose `kind` says which look they get (parts/ErrorState).
import type { Endpoints } from "./api.gen";
import { parseAnswer } from "./json";

/** Requests that take longer are given up: the server itself stops a statement sooner. */
const TIMEOUT_MS = 20_000;

export type ErrorKind =
  | "unauthorised"
  | "not_found"
  | "beyond_retention"
  | "timeout"
  | "offline"
  | "refused"
  | "failed";

export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly path: string | null;
  /** After which the same may be asked again, where the server said so. */
  readonly retryAfterS: number | null;

  /** `status` is 0 when there was no answer. */
  constructor(
    status: number,
    code: string,
    message: string,
    path: string | null = null,
    retryAfterS: number | null = null,
  ) {
    super(message);
    this.retryAfterS = retryAfterS;
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.path = path;
  }

  get kind(): ErrorKind {
    if (this.code === "offline") return "offline";
    if (this.code === "timeout" || this.code.includes("timeout") || this.status === 504) return "timeout";
    if (this.status === 401) return "unauthorised";
    if (this.status === 410) return "beyond_retention";
    if (this.status === 404) return "not_found";
    return this.status >= 500 ? "failed" : "refused";
  }
}

type Empty = Record<string, never>;
type Part<Name extends string, T> = T extends undefined | Empty
  ? { [K in Name]?: undefined }
  : Partial<T> extends T
    ? { [K in Name]?: T }
    : { [K in Name]: T };
export type Endpoint = keyof Endpoints;
export type Answer<E extends Endpoint> = Endpoints[E]["answer"];
export type Query<E extends Endpoint> = Endpoints[E]["query"];
export type Parts<E extends Endpoint> = Part<"path", Endpoints[E]["path"]> &
  Part<"query", Endpoints[E]["query"]> &
  Part<"body", Endpoints[E]["body"]> & { signal?: AbortSignal };
type Rest<E extends Endpoint> = Empty extends Omit<Parts<E>, "signal"> ? [parts?: Parts<E>] : [parts: Parts<E>];

/** Ask one endpoint: `api("GET /api/runs/{id}", { path: { id } })`. Throws `ApiError`. */
export async function api<E extends Endpoint>(endpoint: E, ...parts: Rest<E>): Promise<Answer<E>> {
  const [{ path, query, body, signal } = {}] = parts as unknown as [Loose?]; // for the compiler a union of all endpoints
  const [method = "GET", template = ""] = endpoint.split(" ");
  return (await request(method, fill(template, path) + search(query), body, signal)) as Answer<E>;
}

type Loose = {
  path?: Record<string, unknown>;
  query?: Record<string, unknown>;
  body?: unknown;
  signal?: AbortSignal;
};

/** Put parameters into `/api/runs/{id}`. */
export function fill(template: string, values: Record<string, unknown> = {}): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(values[name])));
}

/** Make `?a=1&b=x`; what is undefined, null or empty is left out. */
export function search(values: Record<string, unknown> = {}): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && value !== "") pairs.set(name, String(value));
  }
  const text = pairs.toString();
  return text && `?${text}`;
}

async function request(method: string, url: string, body: unknown, signal?: AbortSignal): Promise<unknown> {
  const late = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method,
      signal: signal ? AbortSignal.any([signal, late]) : late,
      headers: body === undefined ? { Accept: "application/json" } : JSON_HEADERS,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error; // a query that nobody waits for any more
    if (late.aborted) {
      const said = `The server didn't answer within ${TIMEOUT_MS / 1000} s: narrow what you ask for, or try again.`;
      throw new ApiError(0, "timeout", said);
    }
    throw new ApiError(0, "offline", "The server can't be reached.");
  }
  if (!response.ok) throw refusal(response.status, text, response.headers.get("Retry-After"));
  return text ? parseAnswer(text) : undefined;
}

const JSON_HEADERS = { Accept: "application/json", "Content-Type": "application/json" };

/** Make the error of an answer that isn't 2xx; something before the server may have written it. */
export function refusal(status: number, text: string, retryAfter: string | null = null): ApiError {
  try {
    const { code, message, path } = JSON.parse(text).error;
    return new ApiError(status, String(code), String(message), path ?? null, Number(retryAfter) || null);
  } catch {
    return new ApiError(status, `http_${status}`, `The server answered ${status}, in a form that isn't its own.`);
  }
}
