import { Link } from "@tanstack/react-router";
import { PartyPopper } from "lucide-react";
import type { AppView, FunctionView } from "~/api/api.gen";
import s from "./welcome.module.css";

/** The app is here: what can be done with it next. */
export function Arrived({ apps, functions }: { apps: AppView[]; functions: FunctionView[] }) {
  const event = functions.flatMap((fn) => fn.triggers).find((trigger) => trigger.event)?.event;
  const count = functions.length;
  return (
    <section className={s.arrived} aria-label="Your app" aria-live="polite">
      <PartyPopper size={22} aria-hidden />
      <div>
        <h2>
          {apps.map((app) => app.name).join(", ")} {apps.length === 1 ? "is" : "are"} here, with {count}{" "}
          {count === 1 ? "function" : "functions"}
        </h2>
        <p>
          Now{" "}
          <Link to="/send" search={event ? { name: event } : {}}>
            send {event ? <code>{event}</code> : "an event"}
          </Link>
          , then watch <Link to="/runs">the runs</Link>. Or look at <Link to="/functions">the functions</Link> first.
        </p>
      </div>
    </section>
  );
}
