import { Page } from "~/parts/Page";

export function SetupPage() {
  return <Page title="Set up">{null}</Page>;
}
