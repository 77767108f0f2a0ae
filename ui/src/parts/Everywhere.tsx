// What every page can open: the palette and the sheet of keys. Their code is fetched when first asked for.
import { Keyboard, Search } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import { IconButton } from "./Button";
import { EVERYWHERE, useKeys } from "./useKeys";

const Palette = lazy(() => import("./Palette").then((module) => ({ default: module.Palette })));
const KeySheet = lazy(() => import("./KeySheet").then((module) => ({ default: module.KeySheet })));

export function Everywhere() {
  const [shown, setShown] = useState<"palette" | "keys" | null>(null);
  const close = () => setShown(null);
  useKeys(
    {
      "mod+k": { does: "Go to a page, a function, an id", act: () => setShown("palette") },
      "?": { does: "Show these keys", act: () => setShown("keys") },
    },
    true,
    EVERYWHERE,
  );
  return (
    <>
      <IconButton label="Go to" hotkey="mod+k" onClick={() => setShown("palette")}>
        <Search size={15} aria-hidden />
      </IconButton>
      <IconButton label="Keys" hotkey="?" onClick={() => setShown("keys")}>
        <Keyboard size={15} aria-hidden />
      </IconButton>
      <Suspense>
        {shown === "palette" && <Palette close={close} />}
        {shown === "keys" && <KeySheet close={close} />}
      </Suspense>
    </>
  );
}
