import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { type ApiError, api } from "~/api/client";
import { Button } from "~/parts/Button";
import s from "./welcome.module.css";

/** Asks an app for its functions, where it doesn't register itself. */
export function SyncForm({ example }: { example: string }) {
  const [url, setUrl] = useState("");
  const sync = useMutation<unknown, ApiError>({
    mutationFn: () => api("POST /api/apps/sync", { body: { url } }),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    sync.mutate();
  };
  return (
    <form className={s.sync} onSubmit={submit}>
      <label>
        Where this server reaches your app
        <input type="url" required placeholder={example} value={url} onChange={(event) => setUrl(event.target.value)} />
      </label>
      <Button type="submit" isBusy={sync.isPending}>
        Fetch its functions
      </Button>
      {sync.error && (
        <p className={s.problem} role="alert">
          {sync.error.message}
        </p>
      )}
    </form>
  );
}
