import { Link } from "@tanstack/react-router";
import type { RunSummary } from "~/api/api.gen";
import { NoList } from "~/lists/NoList";
import type { Feed } from "~/lists/useFeed";
import { Button } from "~/parts/Button";

type Props = {
  feed: Feed<RunSummary>;
  isFiltered: boolean;
  /** Undefined until it is known. */
  hasFunctions: boolean | undefined;
  onClear: () => void;
  onLastDay: () => void;
};

/** In place of the list of runs. */
export function NoRows({ hasFunctions, onLastDay, ...rest }: Props) {
  return (
    <NoList
      noun="run"
      example={'event.data.total > 100 && run.status == "failed"'}
      whenLate={<Button onClick={onLastDay}>Only the last 24 hours</Button>}
      {...rest}
    >
      {hasFunctions === false ? (
        <p>
          No app has registered its functions yet. <Link to="/welcome">Write the first function</Link>
        </p>
      ) : (
        <p>
          Runs start when events come in. <Link to="/send">Send an event</Link>
        </p>
      )}
    </NoList>
  );
}
