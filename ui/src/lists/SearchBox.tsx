// One box for all that is searched by. How it was understood stands under it, and goes away with a click.
import { Search, X } from "lucide-react";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { Kbd } from "~/parts/Kbd";
import { useKeys } from "~/parts/useKeys";
import s from "./SearchBox.module.css";
import { inWords, type Understood, whereOf } from "./understand";

type Props = {
  label: string;
  placeholder: string;
  value: string;
  read: (text: string) => Understood | null;
  onSearch: (text: string) => void;
  /** What the server has to say against it. */
  error?: string;
  isHotkeyOn?: boolean;
};

const PLACE = /^line (\d+), column (\d+): (.*)$/s;

export function SearchBox({ label, placeholder, value, read, onSearch, error, isHotkeyOn = true }: Props) {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useKeys({ "/": { does: "Search", act: () => input.current?.select() } }, isHotkeyOn);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    onSearch(text.trim());
  };
  const clear = () => {
    setText("");
    onSearch("");
    input.current?.focus();
  };
  const isTyped = text.trim() !== value.trim();
  const found = read(text);
  return (
    <search className={s.search}>
      <form onSubmit={submit} className={s.form} data-bad={error ? true : undefined}>
        <Search size={14} aria-hidden className={s.glass} />
        <input
          ref={input}
          className={s.input}
          type="text"
          inputMode="search"
          aria-label={label}
          aria-invalid={error ? true : undefined}
          aria-describedby={error ? "search-error" : undefined}
          placeholder={placeholder}
          value={text}
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          enterKeyHint="search"
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key !== "Escape") return;
            if (isTyped) setText(value);
            else event.currentTarget.blur();
          }}
        />
        {text ? (
          <button type="button" className={s.clear} aria-label="Clear the search" onClick={clear}>
            <X size={13} />
          </button>
        ) : (
          <Kbd keys="/" />
        )}
      </form>
      {isTyped && found && (
        <p className={s.hint} role="status">
          <Kbd keys="enter" /> {found.kind === "id" ? "opens" : "finds"} {inWords(found)}
        </p>
      )}
      {error && !isTyped && <Mistake text={whereOf(found) ?? value} error={error} />}
    </search>
  );
}

/** What is wrong with an expression, with a mark where. */
function Mistake({ text, error }: { text: string; error: string }) {
  const [, line, column, words] = PLACE.exec(error) ?? [];
  const before = line === "1" && column ? Math.min(Number(column) - 1, text.length) : undefined;
  return (
    <div className={s.mistake} id="search-error" role="alert">
      {before !== undefined && (
        <code className={s.place} aria-hidden>
          {text.slice(0, before)}
          <mark>{text.slice(before, before + 1) || " "}</mark>
          {text.slice(before + 1)}
        </code>
      )}
      <span>
        {words
          ? `At ${before !== undefined ? `character ${column}` : `line ${line}, column ${column}`}: ${words}`
          : error}
      </span>
    </div>
  );
}

/** How a search, or a filter, is understood; it goes away with a click. */
export function Chip({ text, onRemove }: { text: string; onRemove: () => void }) {
  return (
    <span className={s.chip}>
      <span className={s.words}>{text}</span>
      <button type="button" aria-label={`Remove: ${text}`} onClick={onRemove}>
        <X size={12} />
      </button>
    </span>
  );
}
