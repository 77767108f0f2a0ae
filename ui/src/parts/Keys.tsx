import { Keyboard } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import { IconButton } from "./Button";
import { EVERYWHERE, useKeys } from "./useKeys";

const KeySheet = lazy(() => import("./KeySheet").then((module) => ({ default: module.KeySheet })));

/** Opens the sheet of keys, as `?` does. Its code is fetched when first asked for. */
export function Keys() {
  const [isOpen, setOpen] = useState(false);
  const open = () => setOpen(true);
  useKeys({ "?": { does: "Show these keys", act: open } }, true, EVERYWHERE);
  return (
    <>
      <IconButton label="Keys" hotkey="?" onClick={open}>
        <Keyboard size={15} aria-hidden />
      </IconButton>
      <Suspense>{isOpen && <KeySheet close={() => setOpen(false)} />}</Suspense>
    </>
  );
}
