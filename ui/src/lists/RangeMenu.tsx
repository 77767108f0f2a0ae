import { Popover } from "@base-ui/react/popover";
import { ChevronDown } from "lucide-react";
import { type FormEvent, useState } from "react";
import { Button } from "~/parts/Button";
import { Kbd } from "~/parts/Kbd";
import { useKeys } from "~/parts/useKeys";
import s from "./Menu.module.css";
import { PRESETS, type Preset, type RangeSearch, rangeName } from "./range";

type Props = { range: RangeSearch; onPick: (range: RangeSearch) => void; isHotkeyOn?: boolean };

/** The time range: a preset, or from and until. */
export function RangeMenu({ range, onPick, isHotkeyOn = true }: Props) {
  const [isOpen, setOpen] = useState(false);
  useKeys({ t: { does: "Choose the time range", act: () => setOpen(true) } }, isHotkeyOn && !isOpen);
  const isSet = Boolean(range.range || range.from || range.until);
  const pick = (next: RangeSearch) => {
    setOpen(false);
    onPick(next);
  };
  return (
    <Popover.Root open={isOpen} onOpenChange={setOpen}>
      <Popover.Trigger className={s.trigger} data-set={isSet || undefined}>
        <span className={isSet ? s.value : s.name}>{isSet ? rangeName(range) : "Time"}</span>
        {isSet ? <ChevronDown size={13} aria-hidden /> : <Kbd keys="t" />}
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Positioner className={s.place} sideOffset={4} align="end">
          <Popover.Popup className={s.popup} aria-label="Time range">
            <button type="button" className={s.item} aria-pressed={!isSet} onClick={() => pick({})}>
              Any time
            </button>
            {(Object.keys(PRESETS) as Preset[]).map((preset) => (
              <button
                key={preset}
                type="button"
                className={s.item}
                aria-pressed={range.range === preset}
                onClick={() => pick({ range: preset })}
              >
                {PRESETS[preset].name}
              </button>
            ))}
            <Between range={range} onPick={pick} />
          </Popover.Popup>
        </Popover.Positioner>
      </Popover.Portal>
    </Popover.Root>
  );
}

function Between({ range, onPick }: Props) {
  const [from, setFrom] = useState(local(range.from));
  const [until, setUntil] = useState(local(range.until));
  const isEmpty = !from && !until;
  const isBackwards = Boolean(from && until && from >= until);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onPick({ ...(from && { from: iso(from) }), ...(until && { until: iso(until) }) });
  };
  return (
    <form className={s.between} onSubmit={submit}>
      <label>
        From
        <input type="datetime-local" step={1} value={from} onChange={(event) => setFrom(event.target.value)} />
      </label>
      <label>
        Until
        <input type="datetime-local" step={1} value={until} onChange={(event) => setUntil(event.target.value)} />
      </label>
      {isBackwards && <p role="alert">It must begin before it ends.</p>}
      <Button type="submit" look="primary" disabled={isEmpty || isBackwards}>
        Show
      </Button>
    </form>
  );
}

/** An instant as the browser's field writes it, in local time. */
function local(at: string | undefined): string {
  if (!at) return "";
  const date = new Date(at);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function iso(localTime: string): string {
  return new Date(localTime).toISOString();
}
