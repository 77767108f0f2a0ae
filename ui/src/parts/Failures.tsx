// What stands in place of a page that isn't there or broke.
import { type ErrorComponentProps, Link } from "@tanstack/react-router";
import { Button } from "./Button";
import { EmptyState } from "./EmptyState";
import { ErrorState } from "./ErrorState";
import { Page } from "./Page";

export function NoPage() {
  return (
    <Page title="No such page">
      <EmptyState title="There is no such page">
        The address names no page of the dashboard. <Link to="/runs">To the runs</Link>
      </EmptyState>
    </Page>
  );
}

export function PageFailure({ error, reset }: ErrorComponentProps) {
  return (
    <Page title="Error" actions={<Button onClick={reset}>Try again</Button>}>
      <ErrorState error={error} />
    </Page>
  );
}
