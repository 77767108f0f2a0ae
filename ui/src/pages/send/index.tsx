import { useNavigate, useSearch } from "@tanstack/react-router";
import { Page } from "~/parts/Page";
import { SendForm } from "./SendForm";
import s from "./send.module.css";

export function SendPage() {
  const { event, name, code } = useSearch({ from: "/send" });
  const navigate = useNavigate({ from: "/send" });
  return (
    <Page title="Send an event">
      <div className={s.page}>
        <SendForm
          event={event}
          name={name}
          language={code ?? "python"}
          changeLanguage={(language) => navigate({ search: (old) => ({ ...old, code: language }), replace: true })}
        />
      </div>
    </Page>
  );
}
