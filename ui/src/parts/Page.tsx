import { type ReactNode, useEffect } from "react";
import s from "./Page.module.css";

type Props = {
  title: string;
  /** Shown instead of the title, where a page's head holds more than words. */
  head?: ReactNode;
  actions?: ReactNode;
  /** A second row of the head: filters, tabs. */
  bar?: ReactNode;
  /** The content scrolls by itself, as virtual lists and panes do; else the page scrolls. */
  isFilled?: boolean;
  children: ReactNode;
};

/** A page: its title (the document's, too), its actions, its content. */
export function Page({ title, head, actions, bar, isFilled = false, children }: Props) {
  useEffect(() => {
    document.title = `${title} · Stepwell`;
  }, [title]);
  return (
    <div className={isFilled ? s.filled : s.page}>
      <header className={s.head}>
        <div className={s.top}>
          {head ?? <h1>{title}</h1>}
          <div className={s.actions}>{actions}</div>
        </div>
        {bar && <div className={s.bar}>{bar}</div>}
      </header>
      <div className={s.content}>{children}</div>
    </div>
  );
}
