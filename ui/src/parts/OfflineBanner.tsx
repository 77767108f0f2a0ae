import { CloudOff } from "lucide-react";
import { useLiveState } from "~/api/live";
import s from "./OfflineBanner.module.css";

/** Says that what is shown may be old; not for a connection that is back within a moment. */
export function OfflineBanner() {
  if (useLiveState() !== "offline") return null;
  return (
    <p className={s.banner} role="alert">
      <CloudOff size={14} aria-hidden />
      The server can't be reached. What is shown may be old; it goes on as soon as the server answers.
    </p>
  );
}
