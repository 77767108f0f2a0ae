// ⌘K: go anywhere by typing a part of its name, or an id.
import { useQuery } from "@tanstack/react-query";
import { useRouter } from "@tanstack/react-router";
import { type KeyboardEvent, useId, useState } from "react";
import { read } from "~/api/query";
import { Dialog } from "./Dialog";
import { destinations } from "./destinations";
import s from "./Palette.module.css";

export function Palette({ close }: { close: () => void }) {
  const router = useRouter();
  const listId = useId();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const functions = useQuery(read("GET /api/functions", {})).data?.items;
  const found = destinations(text, functions ?? []);
  const current = found[Math.min(at, found.length - 1)];
  const go = (href: string) => {
    close();
    router.history.push(href);
  };
  const press = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setAt((Math.min(at, found.length - 1) + step + found.length) % found.length);
    } else if (event.key === "Enter" && current) {
      event.preventDefault();
      go(current.href);
    }
  };
  return (
    <Dialog title="Go to" isOpen onClose={close}>
      <input
        className={s.field}
        role="combobox"
        aria-label="Page, function or id"
        aria-expanded
        aria-controls={listId}
        aria-activedescendant={current && `${listId}-${found.indexOf(current)}`}
        placeholder="A page, a function, or the id of a run or an event"
        spellCheck={false}
        autoComplete="off"
        autoFocus
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={press}
      />
      <div id={listId} className={s.list} role="listbox" aria-label="Destinations">
        {found.map((one, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the field above has the keys
          <div
            key={one.href}
            id={`${listId}-${index}`}
            className={s.row}
            role="option"
            tabIndex={-1}
            aria-selected={one === current}
            onPointerMove={() => setAt(index)}
            onClick={() => go(one.href)}
          >
            <span className={s.name}>
              <bdi>{one.name}</bdi> {one.detail && <small>{one.detail}</small>}
            </span>
            <span className={s.kind}>{one.kind}</span>
          </div>
        ))}
      </div>
    </Dialog>
  );
}
