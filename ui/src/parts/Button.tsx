import type { ButtonHTMLAttributes, ReactNode } from "react";
import s from "./Button.module.css";
import { Kbd } from "./Kbd";
import { Tooltip } from "./Tooltip";

type Props = ButtonHTMLAttributes<HTMLButtonElement> & {
  /** The key that does the same; shown, not bound: `useKeys` binds it. */
  hotkey?: string;
  look?: "plain" | "primary" | "danger" | "ghost";
  isBusy?: boolean;
};

/** A button with words, and the key that does the same. */
export function Button({ hotkey, look = "plain", isBusy = false, children, className = "", disabled, ...rest }: Props) {
  return (
    <button
      type="button"
      className={`${s.button} ${s[look] ?? ""} ${className}`}
      disabled={disabled || isBusy}
      aria-busy={isBusy || undefined}
      {...rest}
    >
      {children}
      {hotkey && <Kbd keys={hotkey} />}
    </button>
  );
}

type IconProps = ButtonHTMLAttributes<HTMLButtonElement> & { label: string; hotkey?: string; children: ReactNode };

/** A button that is an icon; its label is its accessible name and its tooltip. */
export function IconButton({ label, hotkey, children, className = "", ...rest }: IconProps) {
  return (
    <Tooltip text={label} hotkey={hotkey}>
      <button type="button" className={`${s.icon} ${className}`} aria-label={label} {...rest}>
        {children}
      </button>
    </Tooltip>
  );
}
