import { Page } from "~/parts/Page";

export function SendPage() {
  return <Page title="Send event">{null}</Page>;
}
