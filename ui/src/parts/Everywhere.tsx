// What keys open on every page: the palette and the sheet of keys. Their code is fetched when first asked for.
import { lazy, Suspense, useState } from "react";
import { useKeys } from "./useKeys";

const Palette = lazy(() => import("./Palette").then((module) => ({ default: module.Palette })));
const KeySheet = lazy(() => import("./KeySheet").then((module) => ({ default: module.KeySheet })));

export function Everywhere() {
  const [shown, setShown] = useState<"palette" | "keys" | null>(null);
  const close = () => setShown(null);
  useKeys({ "mod+k": () => setShown("palette"), "?": () => setShown("keys") });
  return (
    <Suspense>
      {shown === "palette" && <Palette close={close} />}
      {shown === "keys" && <KeySheet close={close} />}
    </Suspense>
  );
}
