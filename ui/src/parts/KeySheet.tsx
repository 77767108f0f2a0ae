// `?`: every key of the dashboard, those of the page one is on first.
import { useLocation } from "@tanstack/react-router";
import { Dialog } from "./Dialog";
import { Kbd } from "./Kbd";
import s from "./KeySheet.module.css";

type Sheet = { title: string; path: RegExp; keys: [keys: string[], does: string][] };

const LIST: Sheet["keys"] = [
  [["/"], "Search"],
  [["t"], "Choose the time range"],
  [["j", "k"], "Next, previous"],
  [["enter"], "Open"],
  [["n"], "Show what is new"],
];
const SHEETS: Sheet[] = [
  {
    title: "Runs",
    path: /^\/runs$/,
    keys: [
      ...LIST,
      [["a", "f"], "Filter by app, by function"],
      [["1", "6"], "Filter by status, from queued to skipped"],
      [["x"], "Select; with shift, all up to here"],
      [["c", "r"], "Cancel, rerun what is selected"],
    ],
  },
  {
    title: "A run",
    path: /^\/runs\/./,
    keys: [
      [["c", "r"], "Cancel, rerun"],
      [["e", "w"], "Expand all, collapse all"],
      [["x"], "Errors only"],
      [["/"], "Find a step"],
      [["0"], "Show all of the time"],
      [["k"], "End a sleep now, on a dev server"],
      [["escape"], "Close the details"],
    ],
  },
  { title: "Events", path: /^\/events$/, keys: [...LIST, [["i"], "Show events of the server itself"]] },
  {
    title: "An event",
    path: /^\/events\/./,
    keys: [
      [["r"], "Send it again"],
      [["u", "p"], "Copy as curl, as Python"],
    ],
  },
  {
    title: "Functions",
    path: /^\/functions$/,
    keys: [
      [["/"], "Search"],
      [["j", "k"], "Next, previous"],
    ],
  },
  {
    title: "A function",
    path: /^\/functions\/./,
    keys: [
      [["i"], "Invoke"],
      [["p"], "Pause, resume"],
    ],
  },
  {
    title: "Logs",
    path: /^\/logs$/,
    keys: [
      [["/"], "Search"],
      [["f"], "Follow"],
      [["end"], "To the newest line"],
    ],
  },
  {
    title: "Everywhere",
    path: /^/,
    keys: [
      [["mod+k"], "Go to a page, a function, an id"],
      [["s"], "Send an event"],
      [["mod+enter"], "Send or invoke what is in the editor"],
      [["?"], "Show these keys"],
    ],
  },
];

export function KeySheet({ close }: { close: () => void }) {
  const { pathname } = useLocation();
  const isHere = (sheet: Sheet) => sheet.path.test(pathname);
  const ordered = [...SHEETS.filter(isHere), ...SHEETS.filter((sheet) => !isHere(sheet))];
  return (
    <Dialog title="Keys" isOpen isWide onClose={close}>
      <div className={s.sheets}>
        {ordered.map((sheet) => (
          <section key={sheet.title} data-here={isHere(sheet) || undefined}>
            <h3>{sheet.title}</h3>
            <dl>
              {sheet.keys.map(([keys, does]) => (
                <div key={does} className={s.row}>
                  <dt>
                    {keys.map((key) => (
                      <Kbd key={key} keys={key} />
                    ))}
                    <span className="visually-hidden">{keys.join(", ")}</span>
                  </dt>
                  <dd>{does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
