import { Search } from "lucide-react";
import { type InputHTMLAttributes, useRef } from "react";
import { Kbd } from "./Kbd";
import s from "./SearchField.module.css";
import { useKeys } from "./useKeys";

type Props = Omit<InputHTMLAttributes<HTMLInputElement>, "onChange"> & {
  /** Its accessible name. */
  label: string;
  value: string;
  onChange: (text: string) => void;
};

/** A field that narrows what is shown below it; `/` leads into it, Escape out of it. */
export function SearchField({ label, onChange, className = "", ...rest }: Props) {
  const field = useRef<HTMLInputElement>(null);
  useKeys({ "/": { does: "Search", act: () => field.current?.focus() } });
  return (
    <label className={`${s.search} ${className}`}>
      <Search size={14} aria-hidden />
      <input
        ref={field}
        type="search"
        aria-label={label}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        {...rest}
      />
      <Kbd keys="/" />
    </label>
  );
}
