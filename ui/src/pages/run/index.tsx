import { getRouteApi } from "@tanstack/react-router";
import { useState } from "react";
import { useLive } from "~/api/live";
import { Skeleton } from "~/parts/ErrorState";
import { Page } from "~/parts/Page";
import { Actions } from "./Actions";
import { Frame } from "./frame";
import { Title } from "./Head";
import { Missing } from "./Missing";
import { useLogs } from "./useLogs";
import { useTimeline } from "./useTimeline";
import { View } from "./View";

const route = getRouteApi("/runs/$id");

/** One run: what it did, does, and why it doesn't go on. */
export function RunPage() {
  const { id } = route.useParams();
  return <Run key={id} id={id} />;
}

function Run({ id }: { id: string }) {
  const { timeline, why, hasChanged } = useTimeline(id);
  const { log, add, catchUp } = useLogs(id);
  useLive([`run:${id}`, `logs:${id}`], {
    changes: (changes) => {
      if (changes.runs?.some((run) => run.id === id)) void hasChanged();
      const lines = changes.logs?.filter((line) => line.run_id === id) ?? [];
      if (lines.length > 0) add(lines);
      if (changes.is_partial) {
        void hasChanged();
        void catchUp();
      }
    },
    reset: () => {
      void timeline.refetch();
      void hasChanged();
      void catchUp();
    },
  });
  const [frame] = useState(() => new Frame());
  if (timeline.error && !timeline.data) {
    return (
      <Page title="Run">
        <Missing id={id} error={timeline.error} retry={() => timeline.refetch()} />
      </Page>
    );
  }
  if (!timeline.data) {
    return (
      <Page title="Run">
        <Skeleton lines={12} />
      </Page>
    );
  }
  const { run, rows } = timeline.data;
  const changed = () => void hasChanged();
  return (
    <Page
      title={`${run.function_name} ${run.status}`}
      head={<Title run={run} />}
      actions={<Actions run={run} rows={rows} hasChanged={changed} />}
      isFilled
    >
      <View timeline={timeline.data} frame={frame} log={log} why={why} hasChanged={changed} />
    </Page>
  );
}
