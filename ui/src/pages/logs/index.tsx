import { Page } from "~/parts/Page";

export function LogsPage() {
  return <Page title="Logs">{null}</Page>;
}
