import type { ReactNode } from "react";
import { type Tab as Part, Tabs } from "~/parts/Tabs";
import s from "./Pane.module.css";
import { TABS, type Tab } from "./search";

export type PaneTab = Part & { id: Tab };

type Props = { head: ReactNode; tabs: PaneTab[]; tab: Tab | undefined; onTab: (tab: Tab | undefined) => void };

/** The pane beside the waterfall: a head, and tabs of which only those that are filled are there. */
export function Pane({ head, tabs, tab, onTab }: Props) {
  return (
    <div className={s.pane}>
      <div className={s.head}>{head}</div>
      <div className={s.body}>
        <Tabs
          label="Details"
          tabs={tabs}
          active={tab ?? tabs[0]?.id ?? ""}
          onChange={(id) => onTab(TABS.find((it) => it === id))}
        />
      </div>
    </div>
  );
}
