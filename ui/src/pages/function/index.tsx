import { Page } from "~/parts/Page";

export function FunctionPage() {
  return <Page title="Function">{null}</Page>;
}
