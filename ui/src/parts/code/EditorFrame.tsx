import type { ReactNode } from "react";
import s from "./EditorFrame.module.css";

/** What stands around an editor that one writes in, also while it is on its way. */
export function EditorFrame({ children }: { children: ReactNode }) {
  return <div className={s.frame}>{children}</div>;
}
