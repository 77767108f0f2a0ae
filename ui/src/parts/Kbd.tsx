import s from "./Kbd.module.css";

const IS_MAC = /Mac|iPhone|iPad/.test(navigator.platform);
const SIGNS: Record<string, string> = {
  mod: IS_MAC ? "⌘" : "Ctrl",
  shift: "⇧",
  enter: "↵",
  escape: "Esc",
  arrowup: "↑",
  arrowdown: "↓",
  arrowleft: "←",
  arrowright: "→",
  pageup: "PgUp",
  pagedown: "PgDn",
  home: "Home",
  end: "End",
};

/** The keys of an action, such as `mod+enter`, `g r` or `/`, as this machine's keyboard names them. */
export function Kbd({ keys }: { keys: string }) {
  const parts = keys === "+" ? [keys] : keys.split(/[+ ]/);
  return (
    <kbd className={s.kbd} aria-hidden>
      {parts.map((key) => SIGNS[key.toLowerCase()] ?? (key.length === 1 ? key.toUpperCase() : key)).join(" ")}
    </kbd>
  );
}
