import { Eye, EyeOff } from "lucide-react";
import { type KeyboardEvent, useId, useState } from "react";
import { IconButton } from "~/parts/Button";
import s from "./Door.module.css";

type Props = {
  label: string;
  value: string;
  change: (value: string) => void;
  /** What a password manager is told: the one that is there, or one that it may make. */
  autoComplete: "current-password" | "new-password";
  hint?: string;
  isInvalid?: boolean;
  isFirst?: boolean;
};

/** A password that can be looked at, and a word when caps lock is on. */
export function PasswordField({ label, value, change, autoComplete, hint, isInvalid, isFirst }: Props) {
  const id = useId();
  const [isShown, setShown] = useState(false);
  const [hasCaps, setCaps] = useState(false);
  const look = (event: KeyboardEvent) => setCaps(event.getModifierState("CapsLock"));
  return (
    <div className={s.field}>
      <label htmlFor={id}>{label}</label>
      <div className={s.input}>
        <input
          id={id}
          type={isShown ? "text" : "password"}
          value={value}
          onChange={(event) => change(event.target.value)}
          onKeyDown={look}
          onKeyUp={look}
          onBlur={() => setCaps(false)}
          autoComplete={autoComplete}
          autoCapitalize="none"
          spellCheck={false}
          aria-invalid={isInvalid || undefined}
          aria-describedby={`${id}-hint`}
          // biome-ignore lint/a11y/noAutofocus: the only thing that the page is for
          autoFocus={isFirst}
          required
        />
        <IconButton label={isShown ? "Hide the password" : "Show the password"} onClick={() => setShown(!isShown)}>
          {isShown ? <EyeOff size={15} /> : <Eye size={15} />}
        </IconButton>
      </div>
      <div id={`${id}-hint`}>
        {hint && <p className={s.hint}>{hint}</p>}
        {hasCaps && (
          <p className={s.caps} role="status">
            Caps lock is on.
          </p>
        )}
      </div>
    </div>
  );
}
