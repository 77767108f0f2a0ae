import { CircleAlert, FoldVertical, RotateCcw, Search, UnfoldVertical, ZoomOut } from "lucide-react";
import { type RefObject, useSyncExternalStore } from "react";
import { IconButton } from "~/parts/Button";
import { Kbd } from "~/parts/Kbd";
import type { Frame } from "./frame";
import type { Model } from "./layout";
import type { RunSearch } from "./search";
import s from "./Toolbar.module.css";

type Props = {
  model: Model;
  frame: Frame;
  search: RunSearch;
  change: (search: Partial<RunSearch>) => void;
  onFold: (fold: "all" | "none") => void;
  onReset: () => void;
  input: RefObject<HTMLInputElement | null>;
};

/** What of a run the waterfall shows. */
export function Toolbar({ model, frame, search, change, onFold, onReset, input }: Props) {
  const isZoomed = useSyncExternalStore(frame.subscribe, () => frame.chosen !== null);
  const hasReplays = model.groups.some((group) => group.isReplay);
  return (
    <div className={s.bar} role="toolbar" aria-label="Waterfall">
      <label className={s.find}>
        <Search size={13} aria-hidden />
        <input
          ref={input}
          type="search"
          aria-label="Find steps"
          placeholder="Find steps"
          value={search.q ?? ""}
          onChange={(event) => change({ q: event.target.value || undefined })}
        />
        <Kbd keys="/" />
      </label>
      <IconButton
        label={`Errors only (${model.errors})`}
        hotkey="x"
        aria-pressed={search.errors === true}
        disabled={model.errors === 0 && !search.errors}
        onClick={() => change({ errors: search.errors ? undefined : true })}
      >
        <CircleAlert size={15} />
      </IconButton>
      {hasReplays && (
        <IconButton
          label="Show calls that only asked what is next"
          aria-pressed={search.replays !== false}
          onClick={() => change({ replays: search.replays === false ? undefined : false })}
        >
          <RotateCcw size={15} />
        </IconButton>
      )}
      <IconButton label="Expand all" hotkey="e" onClick={() => onFold("none")}>
        <UnfoldVertical size={15} />
      </IconButton>
      <IconButton label="Collapse all" hotkey="w" onClick={() => onFold("all")}>
        <FoldVertical size={15} />
      </IconButton>
      {isZoomed && (
        <IconButton label="Show all of the time" hotkey="0" onClick={onReset}>
          <ZoomOut size={15} />
        </IconButton>
      )}
      <Legend />
    </div>
  );
}

function Legend() {
  return (
    <ul className={s.legend} aria-label="Legend">
      <li>
        <i data-pattern="work" aria-hidden /> working
      </li>
      <li>
        <i data-pattern="wait" aria-hidden /> waiting or asleep
      </li>
      <li>
        <i data-pattern="queued" aria-hidden /> queued
      </li>
    </ul>
  );
}
