import { Tooltip as Base } from "@base-ui/react/tooltip";
import type { ReactElement, ReactNode } from "react";
import { Kbd } from "./Kbd";
import s from "./Tooltip.module.css";

type Props = { text: ReactNode; hotkey?: string; children: ReactElement; side?: "top" | "bottom" | "left" | "right" };

/** Words about its one child, shown on hover and focus. They explain; the child's own label must say enough. */
export function Tooltip({ text, hotkey, children, side = "top" }: Props) {
  return (
    <Base.Root>
      <Base.Trigger render={children} />
      <Base.Portal>
        <Base.Positioner sideOffset={6} side={side} className={s.place}>
          <Base.Popup className={s.tip}>
            {text}
            {hotkey && <Kbd keys={hotkey} />}
          </Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}
