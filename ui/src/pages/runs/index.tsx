import { Page } from "~/parts/Page";

export function RunsPage() {
  return <Page title="Runs">{null}</Page>;
}
