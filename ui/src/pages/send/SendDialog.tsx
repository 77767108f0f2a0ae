import { lazy, Suspense, useState } from "react";
import { Dialog } from "~/parts/Dialog";
import { Skeleton } from "~/parts/ErrorState";
import { EVERYWHERE, useKeys } from "~/parts/useKeys";
import type { Language } from "./search";

const SendForm = lazy(() => import("./SendForm").then((module) => ({ default: module.SendForm })));

type Props = { isOpen: boolean; open: () => void; close: () => void };

/** Sending an event from anywhere: the key is bound here, as long as the frame is shown. */
export function SendDialog({ isOpen, open, close }: Props) {
  const [language, setLanguage] = useState<Language>("python");
  useKeys({ s: { does: "Send an event", act: open } }, !isOpen, EVERYWHERE);
  return (
    <Dialog title="Send an event" isOpen={isOpen} onClose={close} isWide>
      <Suspense fallback={<Skeleton lines={8} />}>
        <SendForm language={language} changeLanguage={setLanguage} onLeave={close} />
      </Suspense>
    </Dialog>
  );
}
