import { Link } from "@tanstack/react-router";
import { Pause, Play, Zap } from "lucide-react";
import type { FunctionDetail } from "~/api/api.gen";
import { Button } from "~/parts/Button";
import s from "./function.module.css";

type Props = { fn: FunctionDetail; invoke: () => void; pause: () => void };

export function Actions({ fn, invoke, pause }: Props) {
  return (
    <>
      <Link to="/runs" search={{ function: fn.slug }} className={s.toRuns}>
        All its runs
      </Link>
      {!fn.is_archived && (
        <>
          <Button hotkey="p" onClick={pause}>
            {fn.pause ? <Play size={14} aria-hidden /> : <Pause size={14} aria-hidden />}
            {fn.pause ? "Resume" : "Pause"}
          </Button>
          <Button look="primary" hotkey="i" onClick={invoke}>
            <Zap size={14} aria-hidden />
            Invoke
          </Button>
        </>
      )}
    </>
  );
}
