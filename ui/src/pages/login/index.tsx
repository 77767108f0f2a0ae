import { Page } from "~/parts/Page";

export function LoginPage() {
  return <Page title="Log in">{null}</Page>;
}
