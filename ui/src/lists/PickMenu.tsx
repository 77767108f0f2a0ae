import { Menu } from "@base-ui/react/menu";
import { Check, ChevronDown } from "lucide-react";
import { useState } from "react";
import { Kbd } from "~/parts/Kbd";
import { useKeys } from "~/parts/useKeys";
import s from "./Menu.module.css";

type Props = {
  /** What is chosen: "Function". */
  name: string;
  /** Opens it. */
  hotkey: string;
  options: readonly { value: string; name: string; detail?: string }[];
  value?: string;
  onPick: (value: string | undefined) => void;
  isHotkeyOn?: boolean;
};

const ANY = "";

/** A filter with one value of several, or none. Typing finds an option by its beginning. */
export function PickMenu({ name, hotkey, options, value, onPick, isHotkeyOn = true }: Props) {
  const [isOpen, setOpen] = useState(false);
  useKeys({ [hotkey]: { does: `Filter by ${name.toLowerCase()}`, act: () => setOpen(true) } }, isHotkeyOn && !isOpen);
  const chosen = options.find((option) => option.value === value);
  return (
    <Menu.Root open={isOpen} onOpenChange={setOpen} modal={false}>
      <Menu.Trigger className={s.trigger} data-set={value !== undefined || undefined}>
        <span className={s.name}>{name}</span>
        {value !== undefined && <span className={s.value}>{chosen?.name ?? value}</span>}
        {value === undefined ? <Kbd keys={hotkey} /> : <ChevronDown size={13} aria-hidden />}
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Positioner className={s.place} sideOffset={4} align="start">
          <Menu.Popup className={s.popup} aria-label={name}>
            <Menu.RadioGroup
              value={value ?? ANY}
              onValueChange={(picked: string) => onPick(picked === ANY ? undefined : picked)}
            >
              <Menu.RadioItem value={ANY} className={s.item} closeOnClick>
                <span className={s.tick}>{value === undefined && <Check size={13} aria-hidden />}</span>
                Any
              </Menu.RadioItem>
              {options.map((option) => (
                <Menu.RadioItem
                  key={option.value}
                  value={option.value}
                  className={s.item}
                  label={option.name}
                  closeOnClick
                >
                  <span className={s.tick}>{value === option.value && <Check size={13} aria-hidden />}</span>
                  <span className={s.option}>{option.name}</span>
                  {option.detail && <span className={s.detail}>{option.detail}</span>}
                </Menu.RadioItem>
              ))}
            </Menu.RadioGroup>
          </Menu.Popup>
        </Menu.Positioner>
      </Menu.Portal>
    </Menu.Root>
  );
}
