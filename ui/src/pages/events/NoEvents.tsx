import { Link } from "@tanstack/react-router";
import type { EventSummary } from "~/api/api.gen";
import { NoList } from "~/lists/NoList";
import type { Feed } from "~/lists/useFeed";
import { Button } from "~/parts/Button";

type Props = {
  feed: Feed<EventSummary>;
  isFiltered: boolean;
  /** The name that is searched for, and triggers like it. */
  near: readonly string[];
  onName: (name: string) => void;
  onClear: () => void;
  onLastDay: () => void;
};

/** In place of the list of events. */
export function NoEvents({ near, onName, onLastDay, ...rest }: Props) {
  return (
    <NoList
      noun="event"
      example={'event.data.total > 100 && event.name == "order.created"'}
      whenLate={<Button onClick={onLastDay}>Only the last 24 hours</Button>}
      guesses={near.map((name) => (
        <p key={name}>
          Did you mean{" "}
          <Button look="ghost" onClick={() => onName(name)}>
            {name}
          </Button>
        </p>
      ))}
      {...rest}
    >
      <p>
        Events that apps send are shown here as they come. <Link to="/send">Send one</Link>
      </p>
    </NoList>
  );
}
