import { useMutation, useQuery } from "@tanstack/react-query";
import { Navigate, useRouter, useSearch } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { type ApiError, api } from "~/api/client";
import { queryClient } from "~/api/query";
import { sessionQuery } from "~/api/session";
import { Button } from "~/parts/Button";
import { ErrorState, Skeleton } from "~/parts/ErrorState";
import { safePath } from "./back";
import { Door } from "./Door";
import s from "./Door.module.css";
import { PasswordField } from "./PasswordField";
import { useCountdown } from "./useCountdown";

/** Asks for the account's password, then goes back to where one came from. */
export function LoginPage() {
  const { back } = useSearch({ from: "/login" });
  const session = useQuery(sessionQuery);
  if (session.isPending) return <Waiting />;
  if (session.isError) {
    return (
      <Door title="Log in">
        <ErrorState error={session.error} retry={() => session.refetch()} />
      </Door>
    );
  }
  if (session.data.is_authenticated) return <Navigate to={safePath(back)} replace />;
  if (session.data.needs_setup) return <NotSetUp />;
  if (session.data.login_refused) {
    return (
      <Door title="Log in">
        <p className={s.error} role="alert">
          {session.data.login_refused}
        </p>
      </Door>
    );
  }
  return <LoginForm back={safePath(back)} />;
}

function LoginForm({ back }: { back: string }) {
  const router = useRouter();
  const [password, setPassword] = useState("");
  const { left, start } = useCountdown();
  const login = useMutation({
    mutationFn: () => api("POST /api/session", { body: { password } }),
    onSuccess: async () => {
      queryClient.clear(); // what was refused before is asked for again
      await router.navigate({ to: back, replace: true });
    },
    onError: (error: ApiError) => {
      if (error.retryAfterS) start(error.retryAfterS);
      setPassword("");
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (left === 0) login.mutate();
  };
  return (
    <Door title="Log in">
      <form className={s.form} onSubmit={submit}>
        <input type="text" name="username" value="admin" autoComplete="username" hidden readOnly />
        <PasswordField
          label="Password"
          value={password}
          change={setPassword}
          autoComplete="current-password"
          isInvalid={login.isError}
          isFirst
        />
        {login.isError && (
          <p className={s.error} role="alert">
            {login.error.message}
          </p>
        )}
        <Button look="primary" type="submit" className={s.submit} isBusy={login.isPending} disabled={left > 0}>
          {left > 0 ? `Again in ${left} s` : "Log in"}
        </Button>
      </form>
      <p className={s.hint}>
        Forgotten? On the server's machine, <code>stepwell account reset</code> prints a new set-up link.
      </p>
    </Door>
  );
}

function NotSetUp() {
  return (
    <Door title="No account yet">
      <p className={s.words}>
        This server has no account so far. Open the set-up link that it printed when it started; a restart prints a new
        one.
      </p>
    </Door>
  );
}

function Waiting() {
  return (
    <Door title="Log in">
      <Skeleton lines={3} />
    </Door>
  );
}
