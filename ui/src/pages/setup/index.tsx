import { useMutation } from "@tanstack/react-query";
import { Link, useRouter } from "@tanstack/react-router";
import { type FormEvent, useEffect, useState } from "react";
import { type ApiError, api } from "~/api/client";
import { queryClient } from "~/api/query";
import { Button } from "~/parts/Button";
import { Door } from "../login/Door";
import s from "../login/Door.module.css";
import { PasswordField } from "../login/PasswordField";
import { tokenOf } from "./token";

/** As the server has it: said before it is asked. */
const PASSWORD_CHARS_MIN = 10;

/** Makes the admin account. The link works once; its token is taken out of the address bar and of the history. */
export function SetupPage() {
  const [token] = useState(() => tokenOf(location.hash));
  useEffect(() => {
    if (location.hash) history.replaceState(history.state, "", location.pathname);
  }, []);
  if (!token) return <Unusable why="The address has no token: copy the whole link that the server printed." />;
  return <SetupForm token={token} />;
}

function SetupForm({ token }: { token: string }) {
  const router = useRouter();
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [refusal, setRefusal] = useState("");
  const setup = useMutation({
    mutationFn: () => api("POST /api/setup", { body: { token, password } }),
    onSuccess: async () => {
      queryClient.clear();
      await router.navigate({ to: "/", replace: true });
    },
    onError: (error: ApiError) => setRefusal(error.message),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const problem = problemOf(password, again);
    setRefusal(problem);
    if (!problem) setup.mutate();
  };
  const error = setup.error;
  if (error?.code === "invalid_setup_link") {
    return <Unusable why={error.message} />;
  }
  return (
    <Door title="Choose a password">
      <p className={s.words}>It is the one admin account of this server. You stay logged in on this device.</p>
      <form className={s.form} onSubmit={submit}>
        <input type="text" name="username" value="admin" autoComplete="username" hidden readOnly />
        <PasswordField
          label="Password"
          value={password}
          change={setPassword}
          autoComplete="new-password"
          hint={`At least ${PASSWORD_CHARS_MIN} characters. A sentence is good.`}
          isInvalid={refusal !== ""}
          isFirst
        />
        <PasswordField label="The same again" value={again} change={setAgain} autoComplete="new-password" />
        {refusal && (
          <p className={s.error} role="alert">
            {refusal}
          </p>
        )}
        <Button look="primary" type="submit" className={s.submit} isBusy={setup.isPending}>
          Set up
        </Button>
      </form>
    </Door>
  );
}

function problemOf(password: string, again: string): string {
  if (password.length < PASSWORD_CHARS_MIN) {
    return `The password has ${password.length} characters; it must have ${PASSWORD_CHARS_MIN} or more.`;
  }
  return password === again ? "" : "The two passwords differ.";
}

function Unusable({ why }: { why: string }) {
  return (
    <Door title="This link doesn't work">
      <p className={s.words}>{why}</p>
      <p className={s.words}>
        A set-up link works once, within 24 hours. If the account is there already, <Link to="/login">log in</Link>.
      </p>
    </Door>
  );
}
