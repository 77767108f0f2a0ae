import { Link } from "@tanstack/react-router";
import s from "./Up.module.css";

/** The list that what a page shows is of, before its name. */
export function Up({ to, name }: { to: "/runs" | "/events" | "/functions"; name: string }) {
  return (
    <span className={s.up}>
      <Link to={to}>{name}</Link>
      <span aria-hidden>/</span>
    </span>
  );
}
