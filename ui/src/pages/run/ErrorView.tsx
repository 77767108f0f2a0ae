import { CopyButton } from "~/parts/CopyButton";
import { errorText } from "./copies";
import s from "./ErrorView.module.css";

interface Thrown {
  name: string;
  message: string;
  stack: string | null;
  cause: unknown;
}

/** How many causes of causes are shown. */
const CAUSES_MAX = 10;

/** An error with its traceback, and what caused it. */
export function ErrorView({ error }: { error: unknown }) {
  const chain: Thrown[] = [];
  for (let at = error; at !== null && at !== undefined && chain.length < CAUSES_MAX; ) {
    const thrown = read(at);
    chain.push(thrown);
    at = thrown.cause;
  }
  return (
    <ol className={s.chain}>
      {chain.map((thrown, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: an error's causes have no other identity
        <li key={index} className={s.error}>
          {index > 0 && <p className={s.cause}>caused by</p>}
          <div className={s.head}>
            <h3>{thrown.name}</h3>
            <CopyButton label="Copy error" text={() => errorText(thrown)} />
          </div>
          <p className={s.message}>{thrown.message}</p>
          {thrown.stack && <Stack text={thrown.stack} />}
        </li>
      ))}
    </ol>
  );
}

/** A traceback, with the frames of installed packages dimmed: the user's own are what they look for. */
function Stack({ text }: { text: string }) {
  let isForeign = false;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must be able to
    <pre className={s.stack} tabIndex={0}>
      {text
        .trimEnd()
        .split("\n")
        .map((line, index) => {
          if (/^\s*(File "|at )/.test(line))
            isForeign = /site-packages|node_modules|node:internal|[/\\]lib[/\\]python/.test(line);
          else if (!/^\s/.test(line)) isForeign = false;
          return (
            // biome-ignore lint/suspicious/noArrayIndexKey: lines of one text have no other identity
            <span key={index} data-foreign={isForeign || undefined}>
              {line}
              {"\n"}
            </span>
          );
        })}
    </pre>
  );
}

function read(error: unknown): Thrown {
  if (typeof error !== "object" || error === null) {
    return {
      name: "Error",
      message: typeof error === "string" ? error : JSON.stringify(error),
      stack: null,
      cause: null,
    };
  }
  const { name, message, stack, cause } = error as Record<string, unknown>;
  return {
    name: typeof name === "string" ? name : "Error",
    message: typeof message === "string" ? message : "",
    stack: typeof stack === "string" && stack ? stack : null,
    cause: cause ?? null,
  };
}
