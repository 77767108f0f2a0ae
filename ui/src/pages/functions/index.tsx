import { Page } from "~/parts/Page";

export function FunctionsPage() {
  return <Page title="Functions">{null}</Page>;
}
