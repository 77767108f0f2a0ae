import type { ReactNode } from "react";
import { useEffect } from "react";
import s from "./Door.module.css";

type Props = { title: string; children: ReactNode };

/** The card in the middle of the pages that stand before the dashboard. */
export function Door({ title, children }: Props) {
  useEffect(() => {
    document.title = `${title} · Stepwell`;
  }, [title]);
  return (
    <main className={s.place} id="main">
      <div className={s.card}>
        <div className={s.brand}>
          <img src="/icon.svg" alt="" width={28} height={28} />
          <span>Stepwell</span>
        </div>
        <h1>{title}</h1>
        {children}
      </div>
    </main>
  );
}
