import { LogOut as Icon } from "lucide-react";
import { queryClient } from "~/api/query";
import { useSession } from "~/api/session";
import { IconButton } from "./Button";

/** Ends the session; only where there is one to end. */
export function LogOut() {
  const session = useSession();
  if (session?.mode !== "start" || !session.is_authenticated) return null;
  const leave = async () => {
    await fetch("/api/session", { method: "DELETE" });
    queryClient.clear();
    location.assign("/login");
  };
  return (
    <IconButton label="Log out" onClick={leave}>
      <Icon size={15} />
    </IconButton>
  );
}
