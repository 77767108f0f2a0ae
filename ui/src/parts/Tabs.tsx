import { Tabs as Base } from "@base-ui/react/tabs";
import type { ReactNode } from "react";
import s from "./Tabs.module.css";

export type Tab = { id: string; name: ReactNode; content: ReactNode };

type Props = { label: string; tabs: Tab[]; active: string; onChange: (id: string) => void };

/** Tabs; which is shown is the caller's, so that it can be in the URL. */
export function Tabs({ label, tabs, active, onChange }: Props) {
  const shown = tabs.some(({ id }) => id === active) ? active : tabs[0]?.id;
  return (
    <Base.Root value={shown} onValueChange={(id) => onChange(String(id))} className={s.tabs}>
      <Base.List className={s.list} aria-label={label}>
        {tabs.map(({ id, name }) => (
          <Base.Tab key={id} value={id} className={s.tab}>
            {name}
          </Base.Tab>
        ))}
      </Base.List>
      {tabs.map(({ id, content }) => (
        <Base.Panel key={id} value={id} className={s.panel}>
          {content}
        </Base.Panel>
      ))}
    </Base.Root>
  );
}
