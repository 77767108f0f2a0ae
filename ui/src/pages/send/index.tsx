import { useNavigate, useSearch } from "@tanstack/react-router";
import { Page } from "~/parts/Page";
import { SendForm } from "./SendForm";

export function SendPage() {
  const { event, name, code } = useSearch({ from: "/send" });
  const navigate = useNavigate({ from: "/send" });
  return (
    <Page title="Send an event">
      <SendForm
        event={event}
        name={name}
        language={code ?? "python"}
        changeLanguage={(language) => navigate({ search: (old) => ({ ...old, code: language }), replace: true })}
      />
    </Page>
  );
}
