// Every address of the dashboard. A page's code is fetched when it is first shown; its search parameters are checked here.
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect } from "@tanstack/react-router";
import { queryClient, read } from "./api/query";
import { sessionQuery } from "./api/session";
import { checkEventSearch } from "./pages/event/search";
import { checkEventsSearch } from "./pages/events/search";
import { checkFunctionSearch } from "./pages/function/search";
import { checkFunctionsSearch } from "./pages/functions/search";
import { checkLoginSearch } from "./pages/login/search";
import { checkLogsSearch } from "./pages/logs/search";
import { checkRunSearch } from "./pages/run/search";
import { checkRunsSearch } from "./pages/runs/search";
import { checkSendSearch } from "./pages/send/search";
import { checkSetupSearch } from "./pages/setup/search";
import { checkWelcomeSearch } from "./pages/welcome/search";
import { NoPage, PageFailure } from "./parts/Failures";
import { Frame } from "./parts/Frame";

const OPEN = ["/login", "/setup"];

const root = createRootRoute({
  component: Frame,
  notFoundComponent: NoPage,
  beforeLoad: async ({ location }) => {
    if (OPEN.includes(location.pathname)) return;
    // Where it can't be had, the page itself says why.
    const session = await queryClient.ensureQueryData(sessionQuery).catch(() => null);
    if (session?.is_authenticated === false) throw redirect({ to: "/login", search: { back: location.href } });
  },
});

const home = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: async () => {
    const apps = await queryClient.fetchQuery(read("GET /api/apps", {})).catch(() => null);
    throw redirect({ to: apps?.items.length === 0 ? "/welcome" : "/runs" });
  },
});
const runs = createRoute({
  getParentRoute: () => root,
  path: "/runs",
  validateSearch: checkRunsSearch,
  component: lazyRouteComponent(() => import("./pages/runs"), "RunsPage"),
});
const run = createRoute({
  getParentRoute: () => root,
  path: "/runs/$id",
  validateSearch: checkRunSearch,
  component: lazyRouteComponent(() => import("./pages/run"), "RunPage"),
});
const functions = createRoute({
  getParentRoute: () => root,
  path: "/functions",
  validateSearch: checkFunctionsSearch,
  component: lazyRouteComponent(() => import("./pages/functions"), "FunctionsPage"),
});
const functionPage = createRoute({
  getParentRoute: () => root,
  path: "/functions/$slug",
  validateSearch: checkFunctionSearch,
  component: lazyRouteComponent(() => import("./pages/function"), "FunctionPage"),
});
const events = createRoute({
  getParentRoute: () => root,
  path: "/events",
  validateSearch: checkEventsSearch,
  component: lazyRouteComponent(() => import("./pages/events"), "EventsPage"),
});
const event = createRoute({
  getParentRoute: () => root,
  path: "/events/$id",
  validateSearch: checkEventSearch,
  component: lazyRouteComponent(() => import("./pages/event"), "EventPage"),
});
const send = createRoute({
  getParentRoute: () => root,
  path: "/send",
  validateSearch: checkSendSearch,
  component: lazyRouteComponent(() => import("./pages/send"), "SendPage"),
});
const logs = createRoute({
  getParentRoute: () => root,
  path: "/logs",
  validateSearch: checkLogsSearch,
  component: lazyRouteComponent(() => import("./pages/logs"), "LogsPage"),
});
const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: checkLoginSearch,
  component: lazyRouteComponent(() => import("./pages/login"), "LoginPage"),
});
const setup = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  validateSearch: checkSetupSearch,
  component: lazyRouteComponent(() => import("./pages/setup"), "SetupPage"),
});
const welcome = createRoute({
  getParentRoute: () => root,
  path: "/welcome",
  validateSearch: checkWelcomeSearch,
  component: lazyRouteComponent(() => import("./pages/welcome"), "WelcomePage"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    home,
    runs,
    run,
    functions,
    functionPage,
    events,
    event,
    send,
    logs,
    login,
    setup,
    welcome,
  ]),
  defaultPreload: "intent",
  defaultErrorComponent: PageFailure,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
