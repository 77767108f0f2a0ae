import { Page } from "~/parts/Page";

export function EventsPage() {
  return <Page title="Events">{null}</Page>;
}
