import { Ban, Clock, CloudOff, History, KeyRound, SearchX, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { ApiError, type ErrorKind } from "~/api/client";
import { Button } from "./Button";
import s from "./State.module.css";

const LOOKS: Record<ErrorKind, { title: string; Icon: typeof Ban; next: string }> = {
  unauthorised: { title: "You aren't logged in", Icon: KeyRound, next: "Log in to see this." },
  not_found: { title: "Not found", Icon: SearchX, next: "Its address may be wrong, or it was removed by retention." },
  beyond_retention: { title: "Beyond retention", Icon: History, next: "It is older than this server keeps history." },
  timeout: { title: "This took too long", Icon: Clock, next: "" },
  offline: { title: "The server can't be reached", Icon: CloudOff, next: "It is shown again as soon as it answers." },
  refused: { title: "The server refused this", Icon: Ban, next: "" },
  failed: { title: "Something broke", Icon: TriangleAlert, next: "The server's log has the details." },
};

type Props = {
  error: unknown;
  retry?: () => void;
  /** More words. */
  children?: ReactNode;
  /** Buttons that lead out of it. */
  ways?: ReactNode;
};

/** A failure, by its kind: each looks different, and it or the error's message says what to do next. */
export function ErrorState({ error, retry, children, ways }: Props) {
  const kind = error instanceof ApiError ? error.kind : "failed";
  const { title, Icon, next } = LOOKS[kind];
  const message = error instanceof Error ? error.message : String(error);
  return (
    <div className={s.state} data-kind={kind} role="alert">
      <div className={s.icon}>
        <Icon size={20} strokeWidth={1.75} aria-hidden />
      </div>
      <h2>{title}</h2>
      <div className={s.words}>
        <p className={s.message}>{message}</p>
        {next && <p>{next}</p>}
        {children}
      </div>
      <div className={s.ways}>
        {ways}
        {retry && kind !== "unauthorised" && <Button onClick={retry}>Try again</Button>}
      </div>
    </div>
  );
}

const NOTES = {
  partial: "Only a part is shown",
  truncated: "Cut off here",
  retention: "Older ones were removed by retention",
};

/** A line in or under something incomplete: `partial` has more to come, `truncated` was cut, `retention` is gone. */
export function Note({ kind, children }: { kind: keyof typeof NOTES; children?: ReactNode }) {
  return (
    <p className={s.note} data-kind={kind} role="note">
      <strong>{NOTES[kind]}.</strong> {children}
    </p>
  );
}

/** Grey bars where lines will be. */
export function Skeleton({ lines = 6 }: { lines?: number }) {
  return (
    <div className={s.skeleton} role="status" aria-label="Loading">
      {Array.from({ length: lines }, (_, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: bars that are all alike
        <div key={i} className={s.bone} style={{ width: `${92 - ((i * 17) % 41)}%` }} />
      ))}
    </div>
  );
}
