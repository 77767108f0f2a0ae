// The way to any page, function or run: at the top of the navigation, and ⌘K. Its code is fetched when first asked for.
import { Search } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import s from "./GoTo.module.css";
import { Kbd } from "./Kbd";
import { EVERYWHERE, useKeys } from "./useKeys";

const Palette = lazy(() => import("./Palette").then((module) => ({ default: module.Palette })));

export function GoTo() {
  const [isOpen, setOpen] = useState(false);
  const open = () => setOpen(true);
  useKeys({ "mod+k": { does: "Go to a page, a function, an id", act: open } }, true, EVERYWHERE);
  return (
    <>
      <button type="button" className={s.button} onClick={open}>
        <Search size={14} aria-hidden />
        <span>Go to</span>
        <Kbd keys="mod+k" />
      </button>
      <Suspense>{isOpen && <Palette close={() => setOpen(false)} />}</Suspense>
    </>
  );
}
