import s from "./Status.module.css";

export type Status =
  | "queued"
  | "running"
  | "completed"
  | "failed"
  | "cancelled"
  | "skipped"
  | "sleeping"
  | "waiting"
  | "retrying"
  | "lost";

/** A status as a word on its colour. */
export function StatusBadge({ status }: { status: Status }) {
  return (
    <span className={s.badge} data-status={status}>
      <i className={s.dot} aria-hidden />
      {status}
    </span>
  );
}

/** A status as a dot, where its word stands beside or in the tooltip. */
export function StatusDot({ status }: { status: Status }) {
  return <i className={s.dot} data-status={status} role="img" aria-label={status} title={status} />;
}
