// Payloads that are fetched when they are looked at, and large ones when they are asked for.
import { type ReactNode, useState } from "react";
import { Button } from "~/parts/Button";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import s from "./Pane.module.css";
import { bytes } from "./words";

/** Payloads above this are fetched only when they are asked for. */
export const LAZY_BYTES = 256 * 1024;

export function Waiting({ error }: { error: Error | null }) {
  return error ? <ErrorState error={error} /> : <Skeleton lines={4} />;
}

type LargeProps = { what: "event" | "output"; size: number; href: string; onLoad: () => void };

export function Large({ what, size, href, onLoad }: LargeProps) {
  return (
    <div className={s.large}>
      <p>
        This {what} has {bytes(size)}: it isn’t loaded until you ask for it.
      </p>
      <Button onClick={onLoad}>Load all</Button>
      <a href={href} download={`${what}.json`}>
        Download
      </a>
    </div>
  );
}

type Props = Omit<LargeProps, "onLoad"> & { children: ReactNode };

/** Shows its children, which fetch the payload; where it is large, when somebody wants it. */
export function Lazy({ children, ...large }: Props) {
  const [isAsked, setAsked] = useState(large.size <= LAZY_BYTES);
  return isAsked ? children : <Large {...large} onLoad={() => setAsked(true)} />;
}
