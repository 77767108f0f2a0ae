import { X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import type { FunctionView } from "~/api/api.gen";
import { PickMenu } from "~/lists/PickMenu";
import { RangeMenu } from "~/lists/RangeMenu";
import { IconButton } from "~/parts/Button";
import { SearchField } from "~/parts/SearchField";
import s from "./logs.module.css";
import { LEVELS, type Level, type LogsSearch } from "./search";

/** So long after the last key a search goes to the server. */
const TYPING_MS = 250;
const LEVEL_OPTIONS = LEVELS.map((level) => ({ value: level, name: level === "error" ? level : `${level} and up` }));

type Props = {
  search: LogsSearch;
  functions: readonly FunctionView[] | undefined;
  change: (part: Partial<LogsSearch>) => void;
};

export function Filters({ search, functions = [], change }: Props) {
  const { range, from, until } = search;
  return (
    <>
      <PickMenu
        name="Level"
        hotkey="l"
        value={search.level}
        options={LEVEL_OPTIONS}
        onPick={(level) => change({ level: level as Level | undefined })}
      />
      <PickMenu
        name="Function"
        hotkey="f"
        value={search.fn}
        options={functions.map(({ slug, name, app }) => ({ value: slug, name, detail: app }))}
        onPick={(fn) => change({ fn })}
      />
      <RangeMenu
        range={{ range, from, until }}
        onPick={(next) => change({ range: undefined, from: undefined, until: undefined, ...next })}
      />
      {search.run && (
        <span className={s.chip}>
          run …{search.run.slice(-6)}
          <IconButton label="Lines of all runs" onClick={() => change({ run: undefined })}>
            <X size={12} aria-hidden />
          </IconButton>
        </span>
      )}
      <label className={s.check}>
        <input
          type="checkbox"
          checked={search.replayed === true}
          onChange={(event) => change({ replayed: event.target.checked || undefined })}
        />
        Replayed
      </label>
    </>
  );
}

/** What a line says, as it is typed. */
export function TextFilter({ text, change }: { text: string; change: (text: string) => void }) {
  const [typed, setTyped] = useState(text);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => setTyped(text), [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (value: string) => {
    setTyped(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => change(value), TYPING_MS);
  };
  return <SearchField label="Text" placeholder="Text of a line" value={typed} onChange={type} />;
}
