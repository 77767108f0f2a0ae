import { Page } from "~/parts/Page";

export function EventPage() {
  return <Page title="Event">{null}</Page>;
}
