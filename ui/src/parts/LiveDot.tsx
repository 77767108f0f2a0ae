import { useLiveState } from "~/api/live";
import s from "./LiveDot.module.css";

const WORDS = {
  live: "Live: news come in as they happen",
  connecting: "Connecting",
  offline: "The server can't be reached; trying again",
  off: "This page has no live data",
};

/** Whether news come in. */
export function LiveDot() {
  const state = useLiveState();
  return (
    <span className={s.dot} data-state={state} role="status" title={WORDS[state]}>
      <span className="visually-hidden">{WORDS[state]}</span>
    </span>
  );
}
