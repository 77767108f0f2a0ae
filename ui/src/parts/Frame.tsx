// What stands around every page: navigation, the server's mode, whether news come in.
import { Link, Outlet, useLocation } from "@tanstack/react-router";
import { Activity, Boxes, List, ScrollText, Send } from "lucide-react";
import { type MouseEvent, useState } from "react";
import { useSession } from "~/api/session";
import { SendDialog } from "~/pages/send/SendDialog";
import s from "./Frame.module.css";
import { GoTo } from "./GoTo";
import { Kbd } from "./Kbd";
import { Keys } from "./Keys";
import { LiveDot } from "./LiveDot";
import { LogOut } from "./LogOut";
import { OfflineBanner } from "./OfflineBanner";
import { ThemeSwitch } from "./ThemeSwitch";
import { Toasts } from "./toast";

const PLACES = [
  { to: "/runs", name: "Runs", Icon: List },
  { to: "/events", name: "Events", Icon: Activity },
  { to: "/functions", name: "Functions", Icon: Boxes },
  { to: "/logs", name: "Logs", Icon: ScrollText },
] as const;
const BARE = ["/login", "/setup"];

export function Frame() {
  const { pathname } = useLocation();
  const [isSending, setSending] = useState(false);
  if (BARE.includes(pathname)) return <Outlet />;
  // A click opens it above the page that one is on; in a tab of its own it is a page.
  const send = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || pathname === "/send") return;
    event.preventDefault();
    setSending(true);
  };
  return (
    <div className={s.frame}>
      <a className={s.skip} href="#main">
        Skip to the page
      </a>
      <nav className={s.side} aria-label="Pages">
        <Link to="/" className={s.brand}>
          <img src="/icon.svg" alt="" width={20} height={20} />
          <span>Stepwell</span>
        </Link>
        <GoTo />
        <ul className={s.places}>
          {PLACES.map(({ to, name, Icon }) => (
            <li key={to}>
              <Link to={to} className={s.place} activeProps={{ className: s.here }}>
                <Icon size={16} strokeWidth={1.75} aria-hidden />
                <span>{name}</span>
              </Link>
            </li>
          ))}
          <li className={s.apart}>
            <Link to="/send" className={s.place} activeProps={{ className: s.here }} onClick={send}>
              <Send size={16} strokeWidth={1.75} aria-hidden />
              <span>Send event</span>
              {pathname !== "/send" && <Kbd keys="s" />}
            </Link>
          </li>
        </ul>
        <div className={s.foot}>
          <ModeBadge />
          <LiveDot />
          <span className={s.push} />
          <span className={s.keyed}>
            <Keys />
          </span>
          <LogOut />
          <ThemeSwitch />
        </div>
      </nav>
      <main id="main" className={s.main} tabIndex={-1}>
        <OfflineBanner />
        <Outlet />
      </main>
      {pathname !== "/send" && (
        <SendDialog isOpen={isSending} open={() => setSending(true)} close={() => setSending(false)} />
      )}
      <Toasts />
    </div>
  );
}

function ModeBadge() {
  const session = useSession();
  if (!session) return null;
  const isDev = session.mode === "dev";
  return (
    <span className={isDev ? s.dev : s.mode} title={`Stepwell ${session.version} at ${session.url}`}>
      {isDev ? "dev" : session.environment}
    </span>
  );
}
