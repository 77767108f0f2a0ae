import type { RunStatus, RunsTotals } from "~/api/api.gen";
import { count } from "~/lists/format";
import { Kbd } from "~/parts/Kbd";
import { StatusDot } from "~/parts/StatusBadge";
import { useKeys } from "~/parts/useKeys";
import s from "./StatusChips.module.css";
import { STATUSES } from "./search";

type Props = {
  chosen: readonly RunStatus[];
  totals: RunsTotals | undefined;
  /** Of which time the counts are. */
  span: string;
  /** Without counts: they would be of more runs than the list. */
  isSearched: boolean;
  onToggle: (status: RunStatus) => void;
  isHotkeyOn: boolean;
};

/** The statuses with their counts; each is a switch. Open runs are counted as they are now, ended ones in the time shown. */
export function StatusChips({ chosen, totals, span, isSearched, onToggle, isHotkeyOn }: Props) {
  const does = `Filter by status, from ${STATUSES[0]} to ${STATUSES.at(-1)}`;
  useKeys(
    Object.fromEntries(STATUSES.map((status, at) => [String(at + 1), { does, act: () => onToggle(status) }])),
    isHotkeyOn,
  );
  return (
    <fieldset className={s.chips}>
      <legend className="visually-hidden">Status</legend>
      {STATUSES.map((status, at) => {
        const isOpen = status === "queued" || status === "running";
        const number = totals?.[status];
        return (
          <button
            key={status}
            type="button"
            className={s.chip}
            data-status={status}
            aria-pressed={chosen.includes(status)}
            title={isSearched ? undefined : isOpen ? `${status} now` : `${status}: ${span.toLowerCase()}`}
            onClick={() => onToggle(status)}
          >
            <span aria-hidden>
              <StatusDot status={status} />
            </span>
            {status}
            {!isSearched && <span className={s.count}>{number === undefined ? "–" : count(number)}</span>}
            <Kbd keys={String(at + 1)} />
          </button>
        );
      })}
    </fieldset>
  );
}
