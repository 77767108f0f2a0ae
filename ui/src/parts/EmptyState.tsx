import type { ReactNode } from "react";
import s from "./State.module.css";

/** Nothing is there, and that is no fault; `children` say what would put something there. */
export function EmptyState({ title, icon, children }: { title: string; icon?: ReactNode; children?: ReactNode }) {
  return (
    <div className={s.state} data-kind="empty">
      {icon && <div className={s.icon}>{icon}</div>}
      <h2>{title}</h2>
      <div className={s.words}>{children}</div>
    </div>
  );
}
