import { Dialog as Base } from "@base-ui/react/dialog";
import { X } from "lucide-react";
import { type ReactNode, useRef } from "react";
import { Button, IconButton } from "./Button";
import s from "./Dialog.module.css";

type Props = {
  title: string;
  isOpen: boolean;
  onClose: () => void;
  children: ReactNode;
  /** Buttons at the bottom. */
  actions?: ReactNode;
  isWide?: boolean;
};

/** A window above the page. Escape and a click beside it close it; the focus goes in, and back afterwards. */
export function Dialog({ title, isOpen, onClose, children, actions, isWide = false }: Props) {
  const popup = useRef<HTMLDivElement>(null);
  // On the window itself, unless its content takes it: on the first button, it would show that button's tooltip.
  const focus = () => (popup.current?.contains(document.activeElement) ? false : popup.current);
  return (
    <Base.Root open={isOpen} onOpenChange={(open) => !open && onClose()}>
      <Base.Portal>
        <Base.Backdrop className={s.behind} />
        <Base.Popup ref={popup} initialFocus={focus} className={isWide ? `${s.dialog} ${s.wide}` : s.dialog}>
          <header className={s.head}>
            <Base.Title className={s.title}>{title}</Base.Title>
            <IconButton label="Close" onClick={onClose}>
              <X size={16} aria-hidden />
            </IconButton>
          </header>
          <div className={s.body}>{children}</div>
          {actions && <footer className={s.actions}>{actions}</footer>}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}

type ConfirmProps = {
  title: string;
  /** What the button that does it says: a verb, as the button that asked. */
  verb: string;
  isOpen: boolean;
  isBusy?: boolean;
  isDangerous?: boolean;
  onConfirm: () => void;
  onClose: () => void;
  children: ReactNode;
};

/** A question before something that can't be taken back. */
export function Confirm({ verb, isBusy, isDangerous = false, onConfirm, onClose, ...dialog }: ConfirmProps) {
  return (
    <Dialog
      {...dialog}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Back</Button>
          <Button look={isDangerous ? "danger" : "primary"} isBusy={isBusy} onClick={onConfirm} autoFocus>
            {verb}
          </Button>
        </>
      }
    />
  );
}
